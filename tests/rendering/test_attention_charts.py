"""Attention comes back from its table, a chart for each plane."""

import numpy as np

from medapp.analysis.ms_lesions import make_attention_table, read_attention
from medapp.rendering.attention_charts import plot_attention


def test_attention_is_kept_and_drawn():
    at = [-20.0, -4.0, 12.0, 28.0]
    weights = np.full((4, 4), 0.1) + 0.6 * np.eye(4)[[3, 0, 3, 2]]
    table = make_attention_table(weights, at)
    again, positions = read_attention(table)
    np.testing.assert_allclose(again, weights, atol=1e-4)
    np.testing.assert_allclose(positions, at)
    figure = plot_attention({"axial": table, "coronal": table})
    np.testing.assert_allclose(figure.data[1].y, 100 * weights.mean(axis=0), atol=0.01)
    assert "Foot to head" in figure.layout.xaxis.title.text and "Back to front" in figure.layout.xaxis2.title.text
    assert "too large" in plot_attention({}).layout.annotations[0].text
