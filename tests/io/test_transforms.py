"""Deformations and affines are written and read as ITK and Learn2Reg do."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from deformation_fields import AFFINE, FIXED, MOVING, asymmetric_image, smooth_deformation
from scipy import ndimage

from medapp.errors import InputError
from medapp.io.files import write
from medapp.io.transforms import (
    RAS_TO_LPS,
    STEPS_PER_MM,
    read_affine,
    read_displacement,
    read_learn2reg,
    write_affine,
    write_displacement,
    write_learn2reg,
)


def test_itk_files_round_trip(tmp_path):
    deformation = smooth_deformation(FIXED)
    path = write_displacement(deformation, tmp_path / "d.nii.gz")
    image = nib.load(path)
    assert image.shape == (*FIXED.shape, 1, 3) and int(image.header["intent_code"]) == 1007
    back = read_displacement(path)
    np.testing.assert_allclose(back.vectors, deformation.vectors, atol=0.5001 / STEPS_PER_MM)
    assert back.grid.is_same(FIXED)
    np.testing.assert_allclose(read_affine(write_affine(AFFINE, tmp_path / "a.tfm")), AFFINE, atol=1e-9)
    euler = sitk.Euler3DTransform((10.0, 20.0, -5.0), 0.1, 0.2, 0.3, (1.0, 2.0, 3.0))
    sitk.WriteTransform(euler, str(tmp_path / "e.tfm"))
    point = np.array([7.0, -3.0, 2.0, 1.0])
    np.testing.assert_allclose(
        (RAS_TO_LPS @ read_affine(tmp_path / "e.tfm") @ RAS_TO_LPS @ point)[:3],
        euler.TransformPoint(point[:3].tolist()),
    )


@pytest.mark.parametrize(("name", "tolerance"), [("d.npz", 0.1), ("d.nii.gz", 1e-4)])
def test_learn2reg_files_round_trip(tmp_path, name, tolerance):
    deformation = smooth_deformation(FIXED)
    back = read_learn2reg(write_learn2reg(deformation, tmp_path / name), FIXED)
    assert np.abs(back.vectors - deformation.vectors)[:, 8:-8, 8:-8, 8:-8].max() < tolerance
    with pytest.raises(InputError, match="voxels"):
        read_learn2reg(tmp_path / name, MOVING)


def test_learn2reg_evaluation_warps_alike(tmp_path):
    moving = asymmetric_image(FIXED)
    deformation = smooth_deformation(FIXED)
    field = np.moveaxis(nib.load(write_learn2reg(deformation, tmp_path / "d.nii.gz")).get_fdata(), -1, 0)
    theirs = ndimage.map_coordinates(moving.array, np.indices(FIXED.shape) + field, order=1)
    ours = deformation.warp(moving).array
    np.testing.assert_allclose(ours[6:-6, 6:-6, 6:-6], theirs[6:-6, 6:-6, 6:-6], atol=1e-4)


def test_other_files_are_refused(tmp_path):
    path = write(asymmetric_image(FIXED), tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match="not an ITK displacement field"):
        read_displacement(path)
    (tmp_path / "a.tfm").write_text("nothing")
    with pytest.raises(InputError, match="could not be read"):
        read_affine(tmp_path / "a.tfm")
    with pytest.raises(ValueError, match=r"\.nii"):
        write_displacement(smooth_deformation(FIXED), tmp_path / "d.mha")
