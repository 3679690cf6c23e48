"""Many small pieces far apart are doubted; one large lesion with crumbs, or crumbs side by side, are not."""

from dataclasses import replace

import numpy as np
import pytest

from medapp.analysis.lesion_scatter import MANY_PLACES, describe_scatter, measure_scatter
from medapp.analysis.stroke_ensemble import PLANE_LETTERS, measure_ensemble
from medapp.imaging.volume import Volume
from medapp.pipelines.segment_stroke_raxnet import CARD
from medapp.result import Result

CORNERS = [(x, y, z) for x in (-50.0, 50) for y in (-60.0, 60) for z in (-30.0, 30)]
BESIDE = [(4.0 * n, 0, 0) for n in range(8)]


@pytest.mark.parametrize(
    ("ml", "centroids", "places", "share"),
    [([], [], 0, 1), ([3], CORNERS[:1], 1, 1), ([1] * 8, CORNERS, 8, 1 / 8), ([1] * 8, BESIDE, 1, 1)],
)
def test_places_are_counted(ml, centroids, places, share):
    assert measure_scatter(ml, centroids) == (places, pytest.approx(share))


def test_small_pieces_all_over_are_doubted_but_not_beside_a_large_one():
    assert describe_scatter(measure_scatter([1] * 8, CORNERS))
    assert not describe_scatter(measure_scatter([100, *[1] * 7], CORNERS))
    assert not describe_scatter(measure_scatter([1] * 8, BESIDE))
    assert not describe_scatter(measure_scatter([1] * (MANY_PLACES - 1), CORNERS[: MANY_PLACES - 1]))


def test_the_doubt_follows_the_settings():
    p = np.zeros((60, 70, 40), np.float32)
    for x in (5, 50):
        for y in (5, 60):
            for z in (5, 30):
                p[x : x + 3, y : y + 3, z : z + 3] = 0.6
    p[28:32, 33:37, 18:22] = 0.95
    image = Volume(np.ones(p.shape, np.int16), np.diag([2.5, 2.5, 2.5, 1]))
    maps = {f"probability_{plane}": image.new_like(p) for plane in PLANE_LETTERS}
    settings = CARD.parse_settings({"min_lesion_ml": 0})
    result = measure_ensemble(Result({"image": image, **maps}, warnings=("thick",)), settings)
    assert result.doubt and len(result.warnings) == 2
    again = measure_ensemble(result, settings)
    assert (again.doubt, again.warnings) == (result.doubt, result.warnings)
    strict = measure_ensemble(result, settings | {"threshold": 0.9})
    assert not strict.doubt and strict.warnings == ("thick",)
    other = measure_ensemble(replace(result, doubt="Not a T1 scan?"), settings)
    assert other.doubt == "Not a T1 scan?" and len(other.warnings) == 2
