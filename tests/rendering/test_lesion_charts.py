"""Charts of masks whose volumes and positions are known."""

import base64
import json

import numpy as np
import pytest
from ball_masks import AFFINES, ball

from medapp.imaging.volume import Volume
from medapp.rendering import lesion_charts


@pytest.mark.parametrize("name", AFFINES)
def test_slice_volumes_add_up_and_stand_at_their_position(name):
    mask, centre = ball(AFFINES[name])
    mm, ml, title = lesion_charts.measure_slice_volumes(mask)
    assert ml.sum() == pytest.approx(mask.array.sum() * mask.grid.voxel_ml)
    assert (np.diff(mm) > 0).all()
    if "oblique" not in name:
        assert (mm * ml).sum() / ml.sum() == pytest.approx(centre[2], abs=0.5)
        assert title == "Slice position, foot to head (mm)"


def test_the_bars_carry_the_volumes_and_little_else():
    mask, _ = ball(AFFINES["RAS"])
    figure = lesion_charts.plot_volume_by_slice(mask, mask)
    assert np.sum(figure.data[0].y) == pytest.approx(mask.array.sum() * mask.grid.voxel_ml, rel=1e-5)
    assert [t.name for t in figure.data] == ["mask", "reference"]
    assert all(t.name in figure.layout.title.text.split("<br>")[-1] for t in figure.data), "the key of the colours"
    assert len(figure.to_json()) < 10_000


def test_the_histogram_counts_what_is_above_a_hundredth():
    array = np.zeros((10, 10, 10), np.float32)
    array[0] = 0.005
    array[1, 0, :5] = 0.015
    array[2, 0, :7] = 1.0
    figure = lesion_charts.plot_probability_histogram(Volume(array, np.eye(4)), 0.5)
    packed = json.loads(figure.to_json())["data"][0]["y"]
    counts = np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])
    assert counts[0] == 5 and counts[-1] == 7 and counts.sum() == 12
    assert figure.layout.shapes[0].x0 == 0.5


def test_without_a_lesion_a_message_stands_in_the_chart():
    nothing = Volume(np.zeros((10, 10, 10), np.uint8), np.eye(4), labels={1: "lesion"})
    figure = lesion_charts.plot_volume_by_slice(nothing)
    assert [a.text for a in figure.layout.annotations] == [lesion_charts.NO_LESION] and not figure.data
    figure = lesion_charts.plot_probability_histogram(nothing)
    assert "probability" in figure.layout.annotations[0].text and not figure.data
