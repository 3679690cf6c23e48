"""Checks that every reader makes, and the messages where they fail."""

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
TRUNCATED_MESSAGE = "{} is truncated: it holds fewer voxels than its header says; upload it again."
TIME_POINTS_MESSAGE = (
    "{} has 4 dimensions: {} time points, directions or contrasts. Save the one volume you want as a separate image "
    "and upload that."
)
_deadline: ContextVar[float] = ContextVar("_deadline", default=math.inf)


def safe_text(text: Path | str, length: int = 60) -> str:
    """Return the name of a file, or any text from outside, fit for a message.

    Folders, control characters and markup are removed, and at most `length` characters are kept.
    """
    if isinstance(text, Path):
        text = text.name
    text = re.sub(r"[^\w .,;:()+#=*%&'-]", "_", "".join(c for c in text if c.isprintable())).strip()
    return text if len(text) <= length else text[: length - 1] + "…"


def is_disk_full(error: BaseException) -> bool:
    """Tell whether the error means that the disk is full, which is not the file's fault."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def translate_errors(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library raises inside into an InputError; running out of memory or disk is passed on."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if is_disk_full(error):
            raise
        raise InputError(
            f"{safe_text(path)} could not be read as {kind}: it is damaged, truncated or of an unusual kind; export "
            "it again, or as NIfTI."
        ) from error


@contextmanager
def time_limit(seconds: float = MAX_READ_SECONDS) -> Iterator[None]:
    """Make `check_time` raise, in the code inside, once `seconds` have passed."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def check_time() -> None:
    """Raise InputError if the deadline of the surrounding `time_limit` has passed."""
    if time.monotonic() > _deadline.get():
        raise InputError(READ_TIMEOUT_MESSAGE)


class LimitedReader(io.BufferedReader):
    """A file that raises InputError with the text `refusal` when more than `most` bytes are read at once.

    For libraries that would allocate or unpack as much memory as a file tells them to. Reading all the rest without
    giving its size has a limit of its own, `rest`.
    """

    def __init__(self, path: Path, refusal: str, *, most: float = math.inf, rest: float = 0) -> None:
        """Open the file at `path`; both limits are in bytes."""
        super().__init__(io.FileIO(path))
        self.refusal, self.most, self.rest = refusal, most, rest

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, or the rest of the file. Raises InputError beyond the limit."""
        if size is None or size < 0:
            margin = self.rest - (os.fstat(self.fileno()).st_size - self.tell())
        else:
            margin = self.most - size
        if margin < 0:
            raise InputError(self.refusal)
        return super().read(size)


def check_shape(shape: Sequence[int], path: Path) -> None:
    """Raise InputError if an image of `shape` is empty or too large; called before its voxels are read."""
    sizes = [int(n) for n in shape]
    if not sizes or min(sizes) < 1:
        raise InputError(f"{safe_text(path)} holds no voxels; export the image again.")
    count = 1
    for n in sizes:
        count *= n
    if count > MAX_VOXELS or max(sizes) > MAX_AXIS_VOXELS:
        size = " × ".join(map(str, sizes))
        raise InputError(
            f"{safe_text(path)} is too large: it has {size} voxels, the limit is {MAX_VOXELS // 10**6} million and "
            f"{MAX_AXIS_VOXELS} along one axis; crop it or resample it to larger voxels."
        )


def spatial_shape(shape: Sequence[int], path: Path) -> tuple[int, int, int]:
    """Return (I, J, K) of an image whose further dimensions are 1. Raises InputError if they are larger."""
    check_shape(shape, path)
    sizes = [*map(int, shape), 1, 1]
    if any(n > 1 for n in sizes[4:]):
        raise InputError(
            f"{safe_text(path)} holds a vector or matrix at every voxel, such as a deformation field; upload an image."
        )
    if any(n > 1 for n in sizes[3:]):
        raise InputError(TIME_POINTS_MESSAGE.format(safe_text(path), sizes[3]))
    return sizes[0], sizes[1], sizes[2]


def to_image_dtype(array: np.ndarray, path: Path) -> np.ndarray:
    """Return bool as uint8, floats as float32 and integers as they are, all in the machine's byte order.

    NaN and infinite values stay, see `missing_values`. Raises InputError for complex numbers, for other types, and for
    implausibly large values.
    """
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind in "iu":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind != "f":
        content = "complex numbers" if array.dtype.kind == "c" else f"values of an unusual type ({array.dtype})"
        raise InputError(
            f"{safe_text(path)} holds {content}, not the values of an image; save its magnitude as float32."
        )
    is_finite = np.isfinite(array)
    low, high = (float(f(array, initial=0, where=is_finite)) for f in (np.min, np.max))
    largest = max(high, -low)
    if largest > MAX_VOXEL_VALUE:
        raise InputError(
            f"{safe_text(path)} holds values as large as {largest:.1g}: it is damaged, or its byte order is wrong; "
            "export it again."
        )
    return array.astype(np.float32, copy=False)


def is_valid_affine(affine: np.ndarray) -> bool:
    """Tell whether `affine` (4, 4) is invertible, with plausible voxel sizes and origin (in mm)."""
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > MAX_ORIGIN_MM:
        return False
    sizes = voxel_sizes(affine)
    if sizes.min() < MIN_VOXEL_MM or sizes.max() > MAX_VOXEL_MM:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / sizes)) > 1e-3)
