"""Attention comes back from its table and is drawn where it belongs."""

import numpy as np
import pytest

from medapp.analysis.ms_lesions import PLANE_AXES, make_attention_table, project_on_axis, read_attention
from medapp.imaging.volume import Volume
from medapp.rendering import attention_maps as views

OBLIQUE = np.array([[0.1, -1.9, 0, 40], [2, 0.1, 0.2, -60], [0, -0.1, 2.5, -50], [0, 0, 0, 1]])
TURNED = Volume(np.random.default_rng(0).random((20, 30, 24)), OBLIQUE, name="FLAIR")


@pytest.mark.parametrize("plane", PLANE_AXES)
def test_attention_is_kept_and_drawn_where_it_belongs(plane):
    at = [-20.0, -4.0, 12.0, 28.0]
    weights = np.full((4, 4), 0.1) + 0.6 * np.eye(4)[[3, 0, 1, 2]]
    table = make_attention_table(weights, at)
    again, positions = read_attention(table)
    np.testing.assert_allclose(again, weights, atol=1e-4)
    np.testing.assert_allclose(positions, at)
    slabs = views.make_slabs(TURNED.grid, PLANE_AXES[plane], positions, weights[2])
    for number, mm in enumerate(at):
        index = np.array([(n - 1) / 2 for n in slabs.shape])
        own = int(np.argmax(slabs.shape))
        index[own] = (number + 0.5) * slabs.shape[own] / 4 - 0.5
        point = slabs.grid.to_mm(index)
        assert project_on_axis(TURNED.grid, PLANE_AXES[plane], point) == pytest.approx(mm)
        assert views.find_row(table, TURNED.grid, plane, point) == number
    tables = {plane: table}
    picture = views.draw_attention(TURNED, table, plane, 1, TURNED.grid.to_mm(np.array([10, 15, 12])))
    assert picture.dtype == np.uint8 and picture.ndim == 3
    heat = views.plot_attention(tables, plane, 1)
    np.testing.assert_allclose(heat.data[0].z, weights, atol=1e-4)
    bars = views.plot_attention_row(table, plane, 1).data[0]
    np.testing.assert_allclose(bars.x if plane == "axial" else bars.y, weights[1], atol=1e-4)
    assert "too large" in views.plot_attention({}).layout.annotations[0].text
