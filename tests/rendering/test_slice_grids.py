"""Slice grids through the patient."""

import numpy as np
from nibabel.affines import from_matvec

from medapp.imaging.volume import Grid
from medapp.rendering.slice_grids import find_corners, find_direction_letter, make_slice_grid

RAS = Grid((40, 50, 30), from_matvec(np.diag([2.0, 1.5, 3.0]), (-40, -37, -45)))


def test_pixels_are_square_and_the_slice_spans_the_scan():
    s = make_slice_grid(RAS, "coronal", (0, 0, 0))
    assert np.allclose(s.spacing, (1.5, 1.5, 1))
    assert s.shape == (60, 53, 1)  # 30 × 3 mm high, 40 × 2 mm wide
    assert np.allclose(s.to_mm(np.array([0, 0, 0]))[1], 0, atol=1e-3)


def test_corners_are_those_of_the_voxels_and_letters_those_of_the_nearest_direction():
    corners = find_corners(RAS)
    np.testing.assert_allclose(np.ptp(corners, axis=0), (80, 75, 90))
    letters = [find_direction_letter(np.array(way)) for way in ((1, 0.2, 0), (-1, 0, 0), (0, 1, 0), (0, 0.1, -1))]
    assert letters == ["R", "L", "A", "I"]
