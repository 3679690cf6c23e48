"""Units, sizes and positions that cannot be right are remarked upon or refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
from detached_files import nrrd_text, put, raw
from oblique import AFFINE, assert_refused, phantom, save_nifti

from medapp.io import files


def test_a_nifti_in_millimetres_whose_header_says_metres_or_micrometres(tmp_path: Path) -> None:
    for unit, word in (("meter", "metres"), ("micron", "micrometres")):
        image = nib.Nifti1Image(phantom(), AFFINE)
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / "a.nii")
        volume = files.read([tmp_path / "a.nii"])
        np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5)
        assert f"in {word}" in volume.remarks[0] and "taken as millimetres" in volume.remarks[0]


def test_voxels_of_micrometres_get_a_remark(tmp_path: Path) -> None:
    volume = files.read([save_nifti(tmp_path / "a.nii", phantom(), np.diag([1e-3, 1e-3, 4e-3, 1]) @ np.eye(4))])
    assert "0.001 × 0.001 × 0.004 mm" in volume.remarks[0] and "unit of length" in volume.remarks[0]


def test_impossible_sizes_ask_for_the_unit(tmp_path: Path) -> None:
    assert_refused(save_nifti(tmp_path / "a.nii", phantom(), np.diag([2000.0, 2000, 2000, 1])), words="unit")
    assert_refused(save_nifti(tmp_path / "a.nii", phantom(), np.diag([1e-6, 1e-6, 1e-6, 1])), words="unit")
    far = np.diag([1.0, 1, 1, 1])
    far[0, 3] = 5e5
    assert_refused(save_nifti(tmp_path / "a.nii", phantom(), far), words="from the scanner's centre")


def test_impossible_and_unknown_units(tmp_path: Path) -> None:
    head = nrrd_text('space units: "m" "m" "m"', "")
    volume = files.read(put(tmp_path, {"x.nrrd": head + raw()}))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert "in metres" in volume.remarks[0] and "1700 × 900 × 4000 mm" in volume.remarks[0]
    head = nrrd_text('space units: "furlong" "furlong" "furlong"', "")
    assert_refused(*put(tmp_path, {"x.nrrd": head + raw()}), words="unknown unit .furlong.")
