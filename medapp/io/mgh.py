"""Read FreeSurfer's MGH."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io.placement import NO_POSITION_REMARK, NO_SPACING_REMARK, check_affine
from medapp.io.validation import (
    TRUNCATED_MESSAGE,
    check_shape,
    safe_text,
    spatial_shape,
    to_image_dtype,
    translate_errors,
)

HEADER_BYTES = 284
GEOMETRY_FLAG = slice(28, 30)  # bytes that tell whether the sizes and directions behind them are valid


def is_mgh(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is an unpacked MGH file."""
    return head[:4] == b"\0\0\0\1" and len(head) >= HEADER_BYTES


def expected_bytes(head: bytes, path: Path) -> int:
    """Return the size of the file that begins with `head`, by its header. Raises InputError if it is too large."""
    with translate_errors(path, "MGH"):
        header = nib.freesurfer.mghformat.MGHHeader(head[:HEADER_BYTES], check=False)
        check_shape(header.get_data_shape(), path)
        return HEADER_BYTES + int(np.prod(header.get_data_shape(), dtype=np.int64)) * header.get_data_dtype().itemsize


def read(path: Path, companions: object = ()) -> Volume:
    """Read an unpacked .mgh file as a Volume (I, J, K), with remarks about a position that the file calls unknown.

    Raises InputError for a damaged or too large file, several frames, and an invalid position.
    """
    with translate_errors(path, "MGH"):
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        if path.stat().st_size < expected_bytes(head, path):
            raise InputError(TRUNCATED_MESSAGE.format(safe_text(path)))
        with path.open("rb") as file:  # opened here, since nibabel takes the format from the name
            image = nib.MGHImage.from_file_map(nib.MGHImage.make_file_map({"image": file}), mmap=False)
            shape = spatial_shape(image.shape, path)
            affine = check_affine(image.affine, path)
            array = to_image_dtype(image.dataobj.get_unscaled(), path).reshape(shape, order="F")
    return Volume(array, affine, remarks=() if any(head[GEOMETRY_FLAG]) else (NO_POSITION_REMARK, NO_SPACING_REMARK))
