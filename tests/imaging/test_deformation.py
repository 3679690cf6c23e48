"""Deformations agree with SimpleITK on oblique grids with unequal voxels, go there and back, and are measured right."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nibabel.affines import from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medapp.errors import InputError
from medapp.imaging.deformation import Deformation, folding_percent, sdlogj, sdlogj_learn2reg
from medapp.imaging.volume import Grid, Volume
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


def grid(shape, spacing, angles, middle=(3.0, -5.0, 7.0)) -> Grid:
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.array(spacing)
    return Grid(shape, from_matvec(turn, np.array(middle) - turn @ ((np.array(shape) - 1) / 2)))


FIXED = grid((40, 36, 30), (1.1, 1.4, 1.9), (12, -18, 25))
MOVING = grid((44, 30, 36), (1.3, 1.7, 1.2), (-8, 14, 160))
AFFINE = from_matvec(
    Rotation.from_euler("xyz", (6, -9, 4), degrees=True).as_matrix() @ np.diag([1.05, 0.95, 1.0]), (2.0, -1.5, 1.0)
)


def smooth(where: Grid, size: float = 3.0, seed: int = 0) -> Deformation:
    """A field of waves of about 50 mm and at most `size` mm along each axis."""
    random = np.random.default_rng(seed)
    points = where.to_mm(np.moveaxis(np.indices(where.shape), 0, -1))
    waves = random.normal(0, 2 * np.pi / 80, (3, 3))
    return Deformation(
        size * np.sin(np.moveaxis(points @ waves, -1, 0) + random.uniform(0, 6, (3, 1, 1, 1))), where.affine
    )


def phantom(where: Grid) -> Volume:
    """An image that tells where a point is: smooth, without symmetry."""
    points = where.to_mm(np.moveaxis(np.indices(where.shape), 0, -1))
    return Volume(
        np.sin(points / (6, 8, 7)).sum(-1).astype(np.float32) + 0.02 * points[..., 0].astype(np.float32), where.affine
    )


def composite(folder, deformation) -> sitk.Transform:
    field = sitk.ReadImage(str(write_displacement(deformation, folder / "displacement.nii.gz")), sitk.sitkVectorFloat64)
    affine = sitk.ReadTransform(str(write_affine(AFFINE, folder / "affine.tfm")))
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)])


def test_simpleitk_sends_points_where_we_do(tmp_path):
    deformation = smooth(FIXED)
    transform = composite(tmp_path, deformation)
    points = FIXED.to_mm(np.random.default_rng(1).uniform(1, np.array(FIXED.shape) - 2, (200, 3)))
    theirs = np.array([transform.TransformPoint((p * (-1, -1, 1)).tolist()) for p in points]) * (-1, -1, 1)
    ours = deformation.transform_points(points) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    assert np.abs(ours - theirs).max() < 0.05 * MOVING.spacing.min() / 10


@pytest.mark.parametrize("kind", ["image", "labels"])
def test_simpleitk_warps_as_we_do(tmp_path, kind):
    moving, deformation = phantom(MOVING), smooth(FIXED)
    if kind == "labels":
        moving = moving.new_like((moving.array > 0.3).astype(np.uint8) + 1, labels={1: "a", 2: "b"})
    transform = composite(tmp_path, deformation)
    image = sitk.ReadImage(str(write(moving, tmp_path / "moving.nii.gz")))
    fixed = sitk.ReadImage(str(write(phantom(FIXED), tmp_path / "fixed.nii.gz")))
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
    array = np.stack([phantom(MOVING).array] * 3, -1)
    drawn = smooth(FIXED).warp(Volume(array, MOVING.affine))
    np.testing.assert_allclose(drawn.array[..., 1], smooth(FIXED).warp(phantom(MOVING)).array)


def test_resampled_onto_another_grid_it_is_the_same_field():
    fine = grid((60, 60, 60), (0.7, 0.7, 0.7), (12, -18, 25))
    there = smooth(FIXED).resample(fine)
    points = FIXED.to_mm(np.random.default_rng(1).uniform(12, 18, (100, 3)))
    np.testing.assert_allclose(there.transform_points(points), smooth(FIXED).transform_points(points), atol=0.05)
    assert np.abs(there.resample(FIXED, order=3).vectors - smooth(FIXED).vectors)[:, 12:18, 12:18, 12:18].max() < 0.05


def test_composed_is_one_after_the_other():
    first, second = smooth(FIXED), smooth(grid((50, 50, 50), (1.5, 1.5, 1.5), (40, 0, 0)), seed=3)
    points = FIXED.to_mm(np.argwhere(np.ones(FIXED.shape))[::997])
    np.testing.assert_allclose(
        first.compose(second).transform_points(points),
        second.transform_points(first.transform_points(points)),
        atol=1e-4,
    )
    affinely = first.transform_points(points) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    np.testing.assert_allclose(first.compose(AFFINE).transform_points(points), affinely, atol=1e-4)


def test_inverted_it_leads_back():
    where = grid((70, 66, 64), (1.1, 1.2, 1.4), (12, -18, 25))
    deformation = smooth(where)
    back, left = deformation.invert()
    assert left.max() <= 0.01
    points = where.to_mm(np.random.default_rng(1).uniform(8, 56, (500, 3)))
    assert np.linalg.norm(back.transform_points(deformation.transform_points(points)) - points, axis=1).max() < 0.03


def test_a_fold_is_said_not_hidden():
    vectors = np.zeros((3, 20, 20, 20), np.float32)
    vectors[0] = -1.5 * (np.arange(20) - 9.5)[:, None, None] * (np.abs(np.arange(20) - 9.5) < 4)[:, None, None]
    deformation = Deformation(vectors, np.eye(4))
    assert folding_percent(deformation.jacobian_determinant()) > 10
    assert deformation.invert()[1].max() > 0.1


def test_measures_on_fields_that_are_known():
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


def test_sdlogj_is_learn2regs():
    deformation = smooth(FIXED)
    voxels = np.tensordot(np.linalg.inv(FIXED.affine[:3, :3]), deformation.vectors, 1)
    gradient = np.stack([[ndimage.correlate1d(v, [-0.5, 0, 0.5], axis=a) for a in range(3)] for v in voxels])
    matrices = np.moveaxis(gradient, (0, 1), (-2, -1))[2:-2, 2:-2, 2:-2] + np.eye(3)
    theirs = np.log((np.linalg.det(matrices) + 3).clip(1e-9, 1e9)).std()
    assert sdlogj_learn2reg(deformation.jacobian_determinant()) == pytest.approx(theirs, rel=1e-4)


def test_itk_files_come_back(tmp_path):
    deformation = smooth(FIXED)
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
def test_learn2reg_files_come_back(tmp_path, name, tolerance):
    deformation = smooth(FIXED)
    back = read_learn2reg(write_learn2reg(deformation, tmp_path / name), FIXED)
    assert np.abs(back.vectors - deformation.vectors)[:, 8:-8, 8:-8, 8:-8].max() < tolerance
    with pytest.raises(InputError, match="voxels"):
        read_learn2reg(tmp_path / name, MOVING)


def test_learn2regs_evaluation_warps_as_we_do(tmp_path):
    moving = phantom(FIXED)
    deformation = smooth(FIXED)
    field = np.moveaxis(nib.load(write_learn2reg(deformation, tmp_path / "d.nii.gz")).get_fdata(), -1, 0)
    theirs = ndimage.map_coordinates(moving.array, np.indices(FIXED.shape) + field, order=1)
    ours = deformation.warp(moving).array
    np.testing.assert_allclose(ours[6:-6, 6:-6, 6:-6], theirs[6:-6, 6:-6, 6:-6], atol=1e-4)


def test_other_files_are_refused(tmp_path):
    path = write(phantom(FIXED), tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match="not an ITK displacement field"):
        read_displacement(path)
    (tmp_path / "a.tfm").write_text("nothing")
    with pytest.raises(InputError, match="could not be read"):
        read_affine(tmp_path / "a.tfm")
    with pytest.raises(ValueError, match=r"\.nii"):
        write_displacement(smooth(FIXED), tmp_path / "d.mha")
