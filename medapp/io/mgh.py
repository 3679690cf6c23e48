"""FreeSurfer's MGH in."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io.placement import NO_POSITION, NO_SPACING, placed
from medapp.io.validation import parsing, plain_numbers, right_size, said, three_axes

HEADER = 284  # bytes
PLACED = slice(28, 30)  # bytes that say whether what follows of sizes and directions is valid


def is_mgh(head: bytes) -> bool:
    return head[:4] == b"\0\0\0\1" and len(head) >= HEADER


def promise(head: bytes, path: Path) -> int:
    """How many bytes the file should have that begins with `head`. Raises InputError if too many."""
    with parsing(path, "MGH"):
        header = nib.freesurfer.mghformat.MGHHeader(head[:HEADER], check=False)
        right_size(header.get_data_shape(), path)
        return HEADER + int(np.prod(header.get_data_shape(), dtype=np.int64)) * header.get_data_dtype().itemsize


def read(path: Path, companions: object = ()) -> Volume:
    """A .mgh file, not packed, as a Volume (I, J, K). What its flag calls unknown is among the remarks.

    Raises InputError for what is damaged, too large, has several frames, or lies nowhere.
    """
    with parsing(path, "MGH"):
        with path.open("rb") as file:
            head = file.read(HEADER)
        if path.stat().st_size < promise(head, path):
            raise InputError(f"{said(path)} is truncated: it holds fewer voxels than its header says; upload it again.")
        with path.open("rb") as file:  # opened here, since nibabel goes by the name
            image = nib.MGHImage.from_file_map(nib.MGHImage.make_file_map({"image": file}), mmap=False)
            shape = three_axes(image.shape, path)
            affine = placed(image.affine, path)
            array = plain_numbers(image.dataobj.get_unscaled(), path).reshape(shape, order="F")
    return Volume(array, affine, remarks=() if any(head[PLACED]) else (NO_POSITION, NO_SPACING))
