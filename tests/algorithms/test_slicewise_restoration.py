"""Slicewise restoration: where an uploaded region map lies, and what is reported of the time left."""

import numpy as np
import pytest

from medapp.algorithms.slicewise_restoration import SliceClock, place_region_map
from medapp.errors import InputError
from medapp.imaging.geometry import reorient, to_display_slices
from medapp.imaging.volume import Volume
from tests.helpers.restoration_scans import body


def test_upright_agrees_with_the_grid_that_points_the_same_way():
    image = body()
    view = to_display_slices(image.array, image.grid, 2)
    target = reorient(image.grid, "LPS")
    index = np.array([[3, 5, 1], [30, 20, 3]])
    own = np.rint(image.grid.to_index(target.to_mm(index))).astype(int)
    np.testing.assert_array_equal([view[k, j, i] for i, j, k in index], [image.array[tuple(o)] for o in own])


def test_the_time_left_is_told_after_a_slice():
    reports = []
    clock = SliceClock(lambda fraction, stage: reports.append((fraction, stage)), 10)
    clock.begun -= 60
    clock.report(5, 0.0, "Restoring")
    assert reports == [(pytest.approx(0.525), "Restoring, slice 6 of 10, about 60 s left")]


def test_a_region_map_on_another_grid_is_placed_by_its_header():
    image = body(shape=(48, 40, 2))
    own = np.zeros(image.shape, np.float64)
    own[:24], own[:, :20] = 7, 9
    placed = place_region_map(Volume(own, image.affine), image.grid)[0]
    flipped = Volume(own[::-1], image.affine @ np.array([[-1.0, 0, 0, 47], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    np.testing.assert_array_equal(place_region_map(flipped, image.grid)[0], placed)


def test_bad_regions_are_refused():
    image = body(shape=(48, 40, 1))
    for array, words in ((image.array + 0.5, "fractions"), (np.arange(4900).reshape(70, 70, 1), "at most")):
        with pytest.raises(InputError, match=words):
            place_region_map(Volume(array, image.affine), image.grid)
    far = image.affine.copy()
    far[0, 3] += 500
    with pytest.raises(InputError, match="covers only"):
        place_region_map(Volume(np.ones((20, 20, 1)), far), image.grid)


def test_coloured_regions_count_by_colour():
    picture = np.zeros((48, 40, 1, 3), np.uint8)
    picture[:10], picture[10:20] = (255, 0, 0), (0, 255, 0)
    image = body(shape=(48, 40, 1))
    assert len(np.unique(place_region_map(Volume(picture, np.eye(4)), image.grid)[0])) == 3
