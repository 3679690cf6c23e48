"""Windows, label colours and outlines."""

import numpy as np

from medapp.rendering import colour


def test_the_automatic_window_leaves_out_air_and_bright_specks():
    rng = np.random.default_rng(0)
    array = np.zeros((60, 60, 60), np.float32)
    array[15:45, 15:45, 15:45] = rng.uniform(100, 200, (30, 30, 30))
    array[0, 0, :3] = 1e6
    low, high = colour.find_window(array)
    assert 99 < low < 110 and 190 < high < 201
    assert colour.find_window(array, "HU") == colour.CT_WINDOWS["soft tissue"]
    assert colour.to_grey(np.array([0, 150, 999]), colour.Window(100, 200)).tolist() == [0, 128, 255]


def test_label_colours_are_distinct_and_fixed():
    assert len(set(colour.LABEL_COLOURS)) == len(colour.LABEL_COLOURS)
    assert (
        colour.get_label_colour(1) == colour.get_label_colour(1 + len(colour.LABEL_COLOURS)) == colour.LABEL_COLOURS[0]
    )


def test_an_outline_lies_outside_its_label_and_is_as_wide_as_asked():
    labels = np.zeros((20, 20), int)
    labels[8:12, 8:12] = 3
    line = colour.trace_outline(labels, 1)
    assert (line[labels == 3] == 0).all() and (line == 3).sum() == 16
    assert (colour.trace_outline(labels, 2) == 3).sum() > 16
    assert colour.to_css((255, 110, 30)) == "#ff6e1e"
