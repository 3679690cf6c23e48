"""Two pictures in one, and the colours of differences."""

import numpy as np

from medapp.rendering import difference_maps, image_comparison


def test_two_pictures_in_one():
    first, second = (np.full((120, 60, 3), value, np.uint8) for value in (200, 100))
    assert np.ptp(image_comparison.draw_colour_overlay(first, first), axis=2).max() <= 1, "equal is grey"
    red, _, blue = image_comparison.draw_colour_overlay(first, second)[0, 0].astype(int)
    assert red > blue


def test_the_end_of_the_scale_is_a_round_number_above_nearly_all_values():
    assert difference_maps.find_scale_end(np.linspace(-7, 7, 1001)) == 8
    assert difference_maps.find_scale_end(np.zeros(5)) == 1
    orange, black, blue = difference_maps.colour_signed(np.array([0.6, 0.0, -0.6]), 1.0).astype(int)
    assert orange[0] > orange[2] and blue[2] > blue[0] and not black.any()
