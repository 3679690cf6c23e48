"""Volumes move between grids through millimetres: there and back, in any orientation."""

import numpy as np
import pytest

from medapp.errors import InputError
from medapp.imaging.geometry import crop_grid, pad_grid, reorient, resample, with_isotropic_spacing, with_spacing
from medapp.imaging.volume import Grid, Volume

TILT = np.array([[0.96, -0.05, 0.27], [0.08, 0.99, -0.10], [-0.26, 0.12, 0.95]])


def oblique(shape=(20, 24, 9), spacing=(1.0, 0.8, 4.0), axes=(0, 1, 2), signs=(1, 1, 1)) -> Grid:
    q, _ = np.linalg.qr(TILT)
    q *= np.sign(np.diag(q))
    affine = np.eye(4)
    affine[:3, :3] = (q * np.array(signs) @ np.diag(spacing))[:, list(axes)]
    affine[:3, 3] = (-31, 12, 44)
    return Grid(tuple(np.array(shape)[list(axes)]), affine)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("codes", ["RAS", "LPS"])
def test_reorienting_there_and_back_changes_no_voxel(axes, signs, codes):
    grid = oblique(axes=axes, signs=signs)
    volume = Volume(np.random.default_rng(0).normal(size=grid.shape).astype(np.float32), grid.affine)
    turned = resample(volume, reorient(grid, codes))
    assert turned.axis_codes == codes
    np.testing.assert_allclose(resample(turned, grid).array, volume.array, atol=1e-4)


def test_a_point_keeps_its_millimetres():
    grid = oblique()
    array = np.zeros(grid.shape, np.float32)
    array[13, 6, 4] = 1
    volume = Volume(array, grid.affine)
    for target in (
        reorient(grid, "LPS"),
        pad_grid(reorient(grid, "LPS"), 16, (0, 1)),
        crop_grid(grid, np.array([5, 2, 1]), np.array([18, 20, 8])),
    ):
        moved = resample(volume, target)
        index = np.array(np.unravel_index(moved.array.argmax(), moved.shape))
        np.testing.assert_allclose(target.to_mm(index), grid.to_mm(np.array([13, 6, 4])), atol=1e-3)


def test_a_smooth_image_survives_a_coarser_grid_and_keeps_its_place():
    grid = oblique((40, 40, 30), (1, 1, 1))
    centre = grid.to_mm(np.array([19, 22, 14]))
    mm = grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1))
    blob = np.exp(-((mm - centre) ** 2).sum(-1) / 2 / 5**2).astype(np.float32)
    back = resample(resample(Volume(blob, grid.affine), with_isotropic_spacing(grid, 2.0)), grid)
    inner = (slice(4, -4),) * 3
    assert np.abs(back.array - blob)[inner].max() < 0.1
    weight = blob[inner].sum()
    shift = (mm[inner] * back.array[inner][..., None]).reshape(-1, 3).sum(0) / back.array[inner].sum()
    np.testing.assert_allclose(shift, (mm[inner] * blob[inner][..., None]).reshape(-1, 3).sum(0) / weight, atol=0.05)


def test_labels_stay_labels():
    grid = oblique()
    labels = Volume(
        (np.arange(np.prod(grid.shape)) % 3).reshape(grid.shape).astype(np.uint8), grid.affine, {1: "a", 2: "b"}
    )
    moved = resample(labels, with_isotropic_spacing(grid, 1.3))
    assert moved.array.dtype == np.uint8 and set(np.unique(moved.array)) <= {0, 1, 2}


def test_coarser_pixels_do_not_alias():
    stripes = np.zeros((64, 64, 1), np.float32)
    stripes[::2] = 1
    small = resample(Volume(stripes, np.eye(4)), with_spacing(Grid((64, 64, 1), np.eye(4)), (4, 4, 1)))
    assert small.array[1:-1, 1:-1].std() < 0.05 and abs(small.array[2:-2].mean() - 0.5) < 0.02


def test_too_large_an_extent_is_refused():
    with pytest.raises(InputError, match="18000 × 18000 × 900 mm"):
        with_isotropic_spacing(Grid((20, 20, 1), np.diag([900.0, 900, 900, 1])), 1.0)


def test_with_spacing_keeps_the_outer_faces():
    grid = Grid((10, 12, 5), np.diag([2.0, 1.0, 5.0, 1]))
    new = with_spacing(grid, (1.0, 2.0, 5.0))
    assert new.shape == (20, 6, 5)
    np.testing.assert_allclose(new.to_mm(np.array([-0.5] * 3)), grid.to_mm(np.array([-0.5] * 3)))
    np.testing.assert_allclose(new.to_mm(np.array(new.shape) - 0.5), grid.to_mm(np.array(grid.shape) - 0.5))


def test_a_mask_on_the_border_survives_rounding():
    grid = oblique((30, 30, 30), (1, 1, 1))
    mask = Volume(np.ones(grid.shape, np.uint8), grid.affine, {1: "all"})
    assert resample(mask, reorient(grid, "LPS")).array.all()
    nudged = Grid(grid.shape, grid.affine + np.pad(np.full((3, 1), 1e-3), ((0, 1), (3, 0))))
    assert resample(mask, nudged).array.all()
