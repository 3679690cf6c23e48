"""Attention comes back from its table and is drawn as it is."""

import numpy as np

from medapp.analysis.ms_lesions import PLANE_AXES, make_attention_table, read_attention
from medapp.rendering.attention_maps import plot_attention


def test_attention_is_kept_and_drawn_as_it_is():
    at = [-20.0, -4.0, 12.0, 28.0]
    weights = np.full((4, 4), 0.1) + 0.6 * np.eye(4)[[3, 0, 1, 2]]
    table = make_attention_table(weights, at)
    again, positions = read_attention(table)
    np.testing.assert_allclose(again, weights, atol=1e-4)
    np.testing.assert_allclose(positions, at)
    heat = plot_attention({plane: table for plane in PLANE_AXES}).data
    assert [one.name for one in heat] == list(PLANE_AXES)
    np.testing.assert_allclose(heat[0].z, weights, atol=1e-4)
    np.testing.assert_allclose(heat[0].y, at)
    assert not plot_attention({}).data
