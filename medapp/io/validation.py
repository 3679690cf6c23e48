"""What every reader asks of a file, and the words when the answer is no."""

import errno
import io
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes

from medapp.errors import InputError
from medapp.limits import (
    MAX_AXIS_VOXELS,
    MAX_ORIGIN_MM,
    MAX_READ_SECONDS,
    MAX_VOXEL_MM,
    MAX_VOXEL_VALUE,
    MAX_VOXELS,
    MIN_VOXEL_MM,
)

READ_TIMEOUT_MESSAGE = f"This upload takes longer than {MAX_READ_SECONDS} seconds to read; upload less at once."
DISK_FULL_MESSAGE = "The disk of this machine is full at the moment."
_deadline: ContextVar[float] = ContextVar("_until", default=math.inf)


def safe_text(text: Path | str, length: int = 60) -> str:
    """A file's basename, or any text of a stranger, fit for a sentence: no folders, control characters or markup."""
    if isinstance(text, Path):
        text = text.name
    text = re.sub(r"[^\w .,;:()+#=*%&'-]", "_", "".join(c for c in text if c.isprintable())).strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def is_disk_full(error: BaseException) -> bool:
    """Whether there was no room left on the disk, which is not the file's fault."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def translate_errors(path: Path, kind: str) -> Iterator[None]:
    """Whatever a library raises inside becomes one sentence; running out of memory or disk stays what it is."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if is_disk_full(error):
            raise
        raise InputError(
            f"{safe_text(path)} could not be read as {kind}: it is damaged, truncated or of an unusual kind; export "
            "it anew, or as NIfTI."
        ) from error


@contextmanager
def time_limit(seconds: float = MAX_READ_SECONDS) -> Iterator[None]:
    """What is read inside is given up after `seconds`, at the next `in_time`."""
    mark = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(mark)


def check_time() -> None:
    """Raise InputError if the reading that is going on takes too long."""
    if time.monotonic() > _deadline.get():
        raise InputError(READ_TIMEOUT_MESSAGE)


class LimitedReader(io.BufferedReader):
    """A file that is not given out by the gallon: reading more than `most` bytes at once raises `refusal`.

    For libraries that would hold in memory, or unpack there, as much as a file tells them to. Reading all the rest
    without saying how much that is has a limit of its own, `rest`.
    """

    def __init__(self, path: Path, refusal: str, *, most: float = math.inf, rest: float = 0) -> None:
        super().__init__(io.FileIO(path))
        self.refusal, self.most, self.rest = refusal, most, rest

    def read(self, size: int | None = -1) -> bytes:
        left = (
            self.rest - (os.fstat(self.fileno()).st_size - self.tell())
            if size is None or size < 0
            else self.most - size
        )
        if left < 0:
            raise InputError(self.refusal)
        return super().read(size)


def check_shape(shape: Sequence[int], path: Path) -> None:
    """Raise InputError if an image of `shape` is empty or beyond MAX_VOXELS; called before its voxels are read."""
    sizes = [int(n) for n in shape]
    if not sizes or min(sizes) < 1:
        raise InputError(f"{safe_text(path)} holds no voxels; export the image anew.")
    count = 1
    for n in sizes:
        count *= n
    if count > MAX_VOXELS or max(sizes) > MAX_AXIS_VOXELS:
        size = " × ".join(map(str, sizes))
        raise InputError(
            f"{safe_text(path)} is too large: {size} voxels, and at most {MAX_VOXELS // 10**6} million are taken, "
            f"{MAX_AXIS_VOXELS} along one axis; cut out the part you want, or make its voxels larger."
        )


def spatial_shape(shape: Sequence[int], path: Path) -> tuple[int, int, int]:
    """(I, J, K) of an image whose further dimensions are 1; InputError if it has real ones, or none at all."""
    check_shape(shape, path)
    sizes = [*map(int, shape), 1, 1]
    if any(n > 1 for n in sizes[4:]):
        raise InputError(
            f"{safe_text(path)} holds a vector or matrix at every voxel, such as a deformation field; upload an image."
        )
    if any(n > 1 for n in sizes[3:]):
        raise InputError(
            f"{safe_text(path)} has 4 dimensions: {sizes[3]} time points, directions or contrasts. "
            "Save the one volume you want as an image of its own and upload that."
        )
    return sizes[0], sizes[1], sizes[2]


def to_image_dtype(array: np.ndarray, path: Path) -> np.ndarray:
    """Integers as they are, truth values as uint8, fractions as float32; all in the machine's byte order.

    Values that are no numbers, or infinite, are left as they are, see `missing_values`. Raises InputError for
    complex numbers, for other types, and where a value is beyond all sense.
    """
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind != "f":
        what = "complex numbers" if array.dtype.kind == "c" else f"values of an unusual type ({array.dtype})"
        raise InputError(f"{safe_text(path)} holds {what}, not the values of an image; save its magnitude as float32.")
    there = np.isfinite(array)
    low, high = (float(f(array, initial=0, where=there)) for f in (np.min, np.max))
    if max(high, -low) > MAX_VOXEL_VALUE:
        raise InputError(
            f"{safe_text(path)} holds values as large as {max(high, -low):.1g}: it is damaged, or its byte order "
            "is wrong."
        )
    return array.astype(np.float32, copy=False)


def is_valid_affine(affine: np.ndarray) -> bool:
    """Whether `affine` (4, 4) spans a box that is not flat, of a size and at a place that can be meant."""
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > MAX_ORIGIN_MM:
        return False
    sizes = voxel_sizes(affine)
    if sizes.min() < MIN_VOXEL_MM or sizes.max() > MAX_VOXEL_MM:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-3)
