"""Voxels without a number become background, and the user is told; what is mostly holes is refused."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from oblique import AFFINE, assert_refused, save_nifti, sitk_image

from medapp.imaging.volume import Volume
from medapp.io import files, sandbox
from medapp.io.missing_values import fill_missing


def ball(radius: float = 8, size: int = 24) -> np.ndarray:
    """(I, J, K) bool, a ball within a box that is longer along its last axis."""
    index = np.indices((size, size + 2, size + 4)).reshape(3, -1).T - [size / 2, size / 2 + 1, size / 2 + 2]
    return (np.linalg.norm(index, axis=1) < radius).reshape(size, size + 2, size + 4)


def scan(low: float = -40.5) -> np.ndarray:
    """(I, J, K) float32: noise from `low` on in a ball, NaN around it."""
    noise = np.random.default_rng(0).uniform(low + 1, 900, ball().shape)
    noise[12, 13, 14] = low
    return np.where(ball(), noise, np.nan).astype(np.float32)


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha", "a.nrrd", "a.mgz", "a.tif"])
def test_a_background_of_nan_gets_the_smallest_value(tmp_path: Path, name: str, nothing: float) -> None:
    array = scan()
    array[~ball()] = nothing
    path = tmp_path / name
    if name.endswith(("mha", "nrrd")):
        sitk.WriteImage(sitk_image(array), path)
    elif name == "a.mgz":
        nib.save(nib.MGHImage(array, AFFINE), path)
    elif name == "a.tif":
        tifffile.imwrite(path, array.transpose(2, 1, 0), photometric="minisblack")
    else:
        save_nifti(path, array)
    volume = files.read([path], name="FLAIR")
    expected = np.where(ball(), array, np.float32(-40.5))
    np.testing.assert_array_equal(volume.array, expected)
    (remark,) = (r for r in volume.remarks if "NaN" in r)
    share = 1 - ball().mean()
    assert remark.startswith(f"FLAIR: {share:.0%} of the voxels") and "-40.5, as background." in remark


def test_a_mask_of_ones_and_nothing_stays_a_mask(tmp_path: Path) -> None:
    mask = np.where(ball(3), 1, np.nan)
    save_nifti(tmp_path / "mask.nii", mask)
    for labels in (True, False):
        volume = files.read([tmp_path / "mask.nii"], name="reference", labels=labels)
        np.testing.assert_array_equal(volume.array, ball(3))
        assert volume.remarks[0].startswith("Reference: ") and "set to 0" in volume.remarks[0]
    save_nifti(tmp_path / "soft.nii", np.where(ball(3), 0.7, np.nan))
    soft = sandbox.read([tmp_path / "soft.nii"], name="reference", labels=True)
    np.testing.assert_array_equal(soft.array > 0, ball(3))


def test_holes_get_a_remark_and_many_are_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).random(ball().shape)
    for share in (0.1, 0.4):
        holed = np.where(noise < share, np.nan, scan(0))
        assert "within the object" in files.read([save_nifti(tmp_path / "a.nii", holed)]).remarks[0]
    assert_refused(save_nifti(tmp_path / "a.nii", np.where(noise < 0.7, np.nan, scan(0))), words="within the object")
    flat = np.where(noise < 0.7, np.nan, scan(0))[:, :, 14:15]
    assert_refused(save_nifti(tmp_path / "a.nii", flat), words="within the object")
    assert_refused(save_nifti(tmp_path / "a.nii", np.full((9, 8, 6), np.nan)), words="all voxels")
    assert_refused(save_nifti(tmp_path / "a.nii", np.full((9, 8, 6), np.inf)), words="all voxels")


def test_a_small_object_in_a_large_field_is_found(tmp_path: Path) -> None:
    array = np.full((300, 280, 3), np.nan, np.float32)
    array[201:204, 77:79, 1] = 5.5
    volume = files.read([save_nifti(tmp_path / "a.nii", array)])
    np.testing.assert_array_equal(volume.array > 0, np.isfinite(array))


def test_an_image_without_missing_values_is_unchanged() -> None:
    volume = Volume(np.zeros((3, 3, 3), np.float32), AFFINE)
    assert fill_missing(volume) is volume
