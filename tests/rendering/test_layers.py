"""Layers painted on a slice."""

import numpy as np

from medapp.imaging.volume import Volume
from medapp.rendering import planes
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer

WHITE = Window(0, 1)


def test_a_contour_leaves_the_lesion_and_the_background_as_they_are():
    volume = Volume(np.full((20, 20, 20), 0.5, np.float32), np.eye(4))
    lesion = np.zeros((20, 20, 20), np.uint8)
    lesion[8:12, 8:12, 8:12] = 1
    mask = volume.new_like(lesion, labels={1: "lesion"})
    plain = planes.draw_plane([Layer(volume, window=WHITE)], "axial", (10, 10, 10))
    picture = planes.draw_plane([Layer(volume, window=WHITE), Layer(mask, "mask", contour=1)], "axial", (10, 10, 10))
    changed = (picture != plain).any(axis=-1)
    assert changed.sum() == 16  # a ring around 4 × 4 pixels, without its corners
    assert not changed[8:12, 8:12].any()


def test_values_that_are_not_numbers_are_black():
    volume = Volume(np.full((8, 8, 8), np.nan, np.float32), np.eye(4))
    assert not planes.draw_plane([Layer(volume)], "axial", (4, 4, 4)).any()
