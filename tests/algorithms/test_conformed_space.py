"""A brain lies in the middle of the conformed box, whatever its own grid, and upright."""

import numpy as np
import pytest

from medapp.algorithms.conformed_space import CONFORMED_SHAPE, make_conformed_grid, scale_intensity
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume


def test_the_brain_lies_in_the_middle():
    array = np.zeros((50, 60, 40), np.float32)
    array[10:40, 5:50, 8:30] = 100
    affine = np.array([[-2.0, 0, 0, 30], [0, 0, 3, -80], [0, 2, 0, 15], [0, 0, 0, 1]])
    brain = Volume(array, affine)
    grid = make_conformed_grid(brain)
    assert grid.shape == CONFORMED_SHAPE and np.allclose(np.abs(grid.affine[:3, :3]).sum(0), 1)
    there = np.argwhere(resample(brain, grid).array > 50)
    assert np.abs((there.min(0) + there.max(0)) / 2 - (np.array(CONFORMED_SHAPE) - 1) / 2).max() <= 2


def test_axes_run_to_the_left_down_and_to_the_front():
    grid = make_conformed_grid(Volume(np.ones((4, 4, 4), np.float32), np.eye(4)))
    assert np.allclose(grid.affine[:3, :3], [[-1, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.mark.parametrize("size", [(30, 41, 22), (31, 40, 23)])
def test_an_image_of_1_mm_keeps_its_voxels_and_its_labels_are_not_shifted(size):
    array = np.zeros((50, 60, 40), np.float32)
    array[tuple(slice(5, 5 + n) for n in size)] = 100
    brain = Volume(array, np.array([[-1.0, 0, 0, 30.3], [0, 0, 1, -80.6], [0, 1, 0, 15.2], [0, 0, 0, 1]]))
    labels = brain.new_like((array > 0).astype(np.uint8), labels={1: "brain"})
    grid = make_conformed_grid(brain)
    there = resample(brain, grid).array
    assert (np.minimum(np.abs(there), np.abs(there - 100)) < 0.01).all()
    np.testing.assert_array_equal(there > 50, resample(labels, grid).array > 0)


def test_an_empty_scan_is_refused():
    with pytest.raises(InputError, match="empty"):
        make_conformed_grid(Volume(np.zeros((4, 4, 4), np.float32), np.eye(4)))


def test_intensities_run_from_0_to_1():
    array = np.r_[np.zeros(100), np.linspace(1, 900, 1000), 1e6].reshape(-1, 1, 1)
    made = scale_intensity(array)
    assert made.dtype == np.float32 and made.min() == 0 and made.max() == 1 and 0.4 < np.median(made[100:]) < 0.6
    assert not scale_intensity(np.zeros((2, 2, 2))).any()
