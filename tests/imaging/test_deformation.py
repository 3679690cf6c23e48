"""Deformations agree with SimpleITK on oblique grids with unequal voxels, and their inverses and measures are right."""

import numpy as np
import pytest
import SimpleITK as sitk
from deformation_fields import AFFINE, FIXED, MOVING, asymmetric_image, itk_transform, rotated_grid, smooth_deformation
from nibabel.affines import from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medapp.imaging.deformation import Deformation, folding_percent, sdlogj, sdlogj_learn2reg
from medapp.imaging.volume import Volume
from medapp.io.files import write


def test_points_are_mapped_as_by_simpleitk(tmp_path):
    deformation = smooth_deformation(FIXED)
    transform = itk_transform(tmp_path, deformation)
    points = FIXED.to_mm(np.random.default_rng(1).uniform(1, np.array(FIXED.shape) - 2, (200, 3)))
    theirs = np.array([transform.TransformPoint((p * (-1, -1, 1)).tolist()) for p in points]) * (-1, -1, 1)
    ours = deformation.transform_points(points) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    assert np.abs(ours - theirs).max() < 0.05 * MOVING.spacing.min() / 10


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_images_are_warped_as_by_simpleitk(tmp_path, kind):
    moving, deformation = asymmetric_image(MOVING), smooth_deformation(FIXED)
    if kind == "labels":
        moving = moving.new_like((moving.array > 0.3).astype(np.uint8) + 1, labels={1: "a", 2: "b"})
    transform = itk_transform(tmp_path, deformation)
    image = sitk.ReadImage(str(write(moving, tmp_path / "moving.nii.gz")))
    fixed = sitk.ReadImage(str(write(asymmetric_image(FIXED), tmp_path / "fixed.nii.gz")))
    how = sitk.sitkNearestNeighbor if kind == "labels" else sitk.sitkLinear
    theirs = sitk.GetArrayFromImage(sitk.Resample(image, fixed, transform, how, 0.0)).transpose(2, 1, 0)
    ours = deformation.warp(moving, AFFINE)
    assert ours.grid.is_same(FIXED) and ours.array.dtype == (np.uint8 if kind == "labels" else np.float32)
    inside = deformation.compose(AFFINE).warp(Volume(np.ones(MOVING.shape, np.float32), MOVING.affine)).array > 0.999
    assert inside.mean() > 0.3
    if kind == "labels":
        assert (theirs == ours.array)[inside].mean() > 0.999
    else:
        assert np.abs(theirs - ours.array)[inside].max() < 1e-3


def test_colour_is_warped_too():
    array = np.stack([asymmetric_image(MOVING).array] * 3, -1)
    drawn = smooth_deformation(FIXED).warp(Volume(array, MOVING.affine))
    np.testing.assert_allclose(drawn.array[..., 1], smooth_deformation(FIXED).warp(asymmetric_image(MOVING)).array)


def test_resampling_keeps_the_field():
    fine = rotated_grid((60, 60, 60), (0.7, 0.7, 0.7), (12, -18, 25))
    resampled = smooth_deformation(FIXED).resample(fine)
    points = FIXED.to_mm(np.random.default_rng(1).uniform(12, 18, (100, 3)))
    np.testing.assert_allclose(
        resampled.transform_points(points), smooth_deformation(FIXED).transform_points(points), atol=0.05
    )
    assert (
        np.abs(resampled.resample(FIXED, order=3).vectors - smooth_deformation(FIXED).vectors)[
            :, 12:18, 12:18, 12:18
        ].max()
        < 0.05
    )


def test_composition_is_one_after_the_other():
    first, second = (
        smooth_deformation(FIXED),
        smooth_deformation(rotated_grid((50, 50, 50), (1.5, 1.5, 1.5), (40, 0, 0)), seed=3),
    )
    points = FIXED.to_mm(np.argwhere(np.ones(FIXED.shape))[::997])
    np.testing.assert_allclose(
        first.compose(second).transform_points(points),
        second.transform_points(first.transform_points(points)),
        atol=1e-4,
    )
    affinely = first.transform_points(points) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    np.testing.assert_allclose(first.compose(AFFINE).transform_points(points), affinely, atol=1e-4)


def test_the_inverse_maps_back():
    where = rotated_grid((70, 66, 64), (1.1, 1.2, 1.4), (12, -18, 25))
    deformation = smooth_deformation(where)
    back, left = deformation.invert()
    assert left.max() <= 0.01
    points = where.to_mm(np.random.default_rng(1).uniform(8, 56, (500, 3)))
    assert np.linalg.norm(back.transform_points(deformation.transform_points(points)) - points, axis=1).max() < 0.03


def test_folding_shows_in_the_error_of_the_inverse():
    vectors = np.zeros((3, 20, 20, 20), np.float32)
    vectors[0] = -1.5 * (np.arange(20) - 9.5)[:, None, None] * (np.abs(np.arange(20) - 9.5) < 4)[:, None, None]
    deformation = Deformation(vectors, np.eye(4))
    assert folding_percent(deformation.jacobian_determinant()) > 10
    assert deformation.invert()[1].max() > 0.1


def test_measures_of_known_fields():
    matrix = from_matvec(Rotation.from_euler("z", 10, degrees=True).as_matrix() @ np.diag([1.2, 0.9, 1.1]))
    linear = Deformation.from_affine(matrix, FIXED)
    determinant = linear.jacobian_determinant()
    np.testing.assert_allclose(determinant, 1.2 * 0.9 * 1.1, rtol=1e-4)
    assert folding_percent(determinant) == 0
    assert sdlogj(determinant) < 1e-4 and linear.bending_energy() < 1e-8
    points = FIXED.to_mm(np.moveaxis(np.indices(FIXED.shape), 0, -1))
    bent = Deformation(np.stack([0.01 * points[..., 1] ** 2, *np.zeros((2, *FIXED.shape))]), FIXED.affine)
    inner = np.zeros(FIXED.shape, bool)
    inner[2:-2, 2:-2, 2:-2] = True
    assert bent.bending_energy(inner) == pytest.approx(0.02**2, rel=1e-3)
    np.testing.assert_allclose(
        linear.magnitude, np.linalg.norm(points @ (matrix - np.eye(4))[:3, :3].T, axis=-1), rtol=1e-3
    )


def test_sdlogj_is_that_of_learn2reg():
    deformation = smooth_deformation(FIXED)
    voxels = np.tensordot(np.linalg.inv(FIXED.affine[:3, :3]), deformation.vectors, 1)
    gradient = np.stack([[ndimage.correlate1d(v, [-0.5, 0, 0.5], axis=a) for a in range(3)] for v in voxels])
    matrices = np.moveaxis(gradient, (0, 1), (-2, -1))[2:-2, 2:-2, 2:-2] + np.eye(3)
    theirs = np.log((np.linalg.det(matrices) + 3).clip(1e-9, 1e9)).std()
    assert sdlogj_learn2reg(deformation.jacobian_determinant()) == pytest.approx(theirs, rel=1e-4)
