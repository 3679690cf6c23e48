"""The same part of several pictures, magnified."""

import numpy as np

from medapp.imaging.volume import Grid
from medapp.rendering import inset
from medapp.rendering.slices import make_frame


def test_a_part_is_zoomed_and_stays_inside():
    rows, columns = inset.select_part((100, 80), 0.99, 0.01, 4)
    assert rows.start == 0 and columns.stop == 80 and rows.stop - rows.start == columns.stop - columns.start == 25
    rows, columns = inset.select_part((20, 20), 0.5, 0.5, 100)
    assert rows.stop - rows.start == 8


def test_panels_are_of_one_size_and_the_part_is_framed():
    picture = np.full((10, 10, 3), 200, np.uint8)
    panels = inset.draw_panels({"a": picture, "b": picture, "c": picture}, 2)
    assert panels.shape[0] == 2 * (inset.PANEL_PIXELS + inset.CAPTION_PIXELS + 6)
    frame = make_frame(Grid((40, 40, 3), np.diag([1.0, 1, 4, 1])), 1)
    framed = inset.draw_frame(np.zeros((frame.height, frame.width, 3), np.uint8), frame, (slice(5, 15), slice(5, 15)))
    assert (framed == inset.FRAME_COLOUR).all(axis=2).any()
