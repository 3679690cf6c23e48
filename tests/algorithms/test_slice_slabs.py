"""Thick slices become slabs that keep what a slice shows, and slabs become the same slices again."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.algorithms.slice_slabs import join_slices, split_slices
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.volume import Volume


def oblique(spacing: tuple[float, float, float], shape: tuple[int, int, int] = (24, 20, 8)) -> Volume:
    turn = Rotation.from_euler("xyz", (17, -8, 5), degrees=True).as_matrix()
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    return Volume(array, from_matvec(turn * np.array(spacing), (-40, 12, 30)))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (2, 0, 1)])
def test_slices_are_split_and_joined_again(order):
    spacing, shape = (np.array(values)[list(order)] for values in ((0.9, 0.9, 6.5), (24, 20, 8)))
    volume = oblique(tuple(spacing), tuple(shape))
    thin = split_slices(volume)
    assert max(thin.spacing) < 1.2 and thin.array.size == 6 * volume.array.size
    assert thin.grid.voxel_ml == pytest.approx(volume.grid.voxel_ml / 6)
    corner = [-0.5] * 3
    np.testing.assert_allclose(thin.grid.to_mm(np.array(corner)), volume.grid.to_mm(np.array(corner)), atol=1e-4)
    np.testing.assert_allclose(join_slices(thin, volume.grid).array, volume.array, atol=1e-5)


def test_what_one_slice_shows_keeps_its_brightness_on_the_way_to_a_network_and_back():
    shown = np.zeros((24, 20, 8), np.float32)
    shown[8:14, 8:14, 4] = 1
    volume = oblique((1, 1, 7)).new_like(shown)
    grid = with_isotropic_spacing(volume.grid, 1.0)
    working = resample(split_slices(volume), grid)
    assert (working.array > 0.9).sum() > 0.8 * 7 * 36 > 5 * (resample(volume, grid).array > 0.9).sum()
    back = join_slices(working, volume.grid).array
    assert back[8:14, 8:14, 4].min() > 0.8 and back[..., [2, 3, 5, 6]].max() < 0.1


def test_thin_slices_stay():
    volume = oblique((1, 1, 2))
    assert split_slices(volume) is volume
    np.testing.assert_array_equal(join_slices(volume, volume.grid).array, volume.array)
