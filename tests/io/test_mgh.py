"""FreeSurfer's MGH: a position that its flag calls unknown."""

from pathlib import Path

import nibabel as nib
from detached_files import put
from oblique import AFFINE, phantom

from medapp.io import files
from medapp.io.placement import NO_POSITION_REMARK, NO_SPACING_REMARK


def remarks(folder: Path, name: str, data: bytes) -> tuple[str, ...]:
    return files.read(put(folder, {name: data})).remarks


def test_mgh_without_valid_geometry_gets_remarks(tmp_path: Path) -> None:
    data = bytearray(nib.MGHImage(phantom(), AFFINE).to_bytes())
    assert not remarks(tmp_path, "x.mgh", bytes(data))
    data[28:30] = bytes(2)
    assert remarks(tmp_path, "x.mgh", bytes(data)) == (NO_POSITION_REMARK, NO_SPACING_REMARK)
