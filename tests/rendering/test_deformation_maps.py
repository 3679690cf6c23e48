"""Pictures of a deformation show what is known of a made-up one, in every plane and on oblique grids."""

import numpy as np
import pytest
from tilted_box import BOX, TILT, cut, shifted

from medapp.imaging.volume import Grid, Volume
from medapp.rendering import deformation_maps
from medapp.rendering.slice_grids import PLANES


def middle(picture: np.ndarray, part: int = 4) -> np.ndarray:
    h, w = picture.shape[0] // part, picture.shape[1] // part
    return picture[h:-h, w:-w]


@pytest.mark.parametrize("plane", PLANES)
def test_a_field_that_does_nothing_leaves_the_grid_straight(plane):
    onto, black = cut(plane)
    drawn = middle(deformation_maps.draw_grid(black, onto, shifted(0, 0, 0), step=8.0)).max(axis=2) > 130
    rows, columns = drawn.mean(axis=1) > 0.9, drawn.mean(axis=0) > 0.9
    assert rows.any() and columns.any()
    np.testing.assert_array_equal(drawn, rows[:, None] | columns[None])
    at = onto.to_mm(np.array([[r + drawn_from(onto), 0, 0] for r in np.flatnonzero(rows)], float))
    axis = deformation_maps.find_sheet_axes(onto)[0]
    assert np.abs(at[:, axis] / 8 - np.rint(at[:, axis] / 8)).max() * 8 < 1.0, "lines lie at multiples of 8 mm"


def drawn_from(onto: Grid) -> int:
    return onto.shape[0] // 4


def test_the_grid_goes_against_the_field():
    onto, black = cut()
    columns = {}
    for name, field in (("still", shifted(0, 0, 0)), ("left", shifted(-3, 0, 0))):
        ink = middle(deformation_maps.draw_grid(black, onto, field, step=8.0))[..., 0].astype(float).mean(axis=0)
        columns[name] = ink - ink.mean()
    lags = np.arange(-8, 9)
    best = lags[np.argmax([(np.roll(columns["still"], lag) * columns["left"]).sum() for lag in lags])]
    assert best == -6, "3 mm to the patient's left are 6 pixels to the right"


@pytest.mark.parametrize("plane", PLANES)
def test_the_maps_have_the_colour_of_their_value_everywhere(plane):
    onto, black = cut(plane)
    log = Volume(np.zeros(BOX.shape, np.float32), TILT)
    for value, strongest in ((0.5, 0), (-0.5, 2)):
        drawn = middle(deformation_maps.draw_jacobian(black, onto, log.new_like(log.array + np.float32(value)), 1.0))
        assert (drawn.argmax(axis=2) == strongest).all()


def test_a_fold_is_loud_and_told_from_strong_shrinking():
    onto, black = cut()
    determinant = np.ones(BOX.shape, np.float32)
    determinant[20:24] = -0.3
    determinant[30:34] = 0.05
    log = Volume(deformation_maps.compute_log_jacobian(determinant), TILT)
    assert np.isfinite(log.array).all()
    drawn = deformation_maps.draw_jacobian(black, onto, log, 1.0)
    loud = (drawn == deformation_maps.FOLDING_COLOUR).all(axis=2)
    assert 0.05 < loud.mean() < 0.15
