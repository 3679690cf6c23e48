"""What the stage shows of lesions: the image in the window of its brain, the mask that can move, surfaces, layouts."""

import numpy as np
import pytest
from ball_masks import AFFINES, ball

from medapp.analysis.ms_lesions import LOCATIONS, measure_ms_lesions
from medapp.analysis.stroke_ensemble import PLANE_LETTERS, measure_ensemble
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS
from medapp.result import Result

SETTINGS = {"threshold": 0.5, "min_lesion_ml": 0.0}
PLANES = SETTINGS | {"fusion": "mean"} | dict.fromkeys(PLANE_LETTERS, True)
PLANES |= {f"weight_{plane}": 1.0 for plane in PLANE_LETTERS}


@pytest.fixture
def volumes() -> dict[str, Volume]:
    """A bright skull around a grey brain, and a lesion in it."""
    brain, _ = ball(AFFINES["oblique"], 16)
    lesion, _ = ball(AFFINES["oblique"], 6)
    image = np.where(brain.array, 100 + np.random.default_rng(0).normal(0, 5, brain.shape), 4000).astype(np.float32)
    chance = lesion.array * np.float32(0.9)
    scan = Volume(image, brain.affine, name="FLAIR")
    return {"image": scan, "brain": brain, "probability": scan.new_like(chance)}


def ms(volumes) -> Result:
    zones = volumes["image"].new_like(volumes["brain"].array * np.uint8(4), labels=LOCATIONS)
    return measure_ms_lesions(Result(volumes | {"zones": zones}), SETTINGS)


def stroke(volumes) -> Result:
    each = {f"probability_{plane}": volumes["probability"] for plane in PLANE_LETTERS}
    template = volumes["image"].new_like(volumes["brain"].array.astype(np.float32))
    rest = {role: v for role, v in volumes.items() if role != "probability"}
    return measure_ensemble(Result(rest | each | {"template": template}), PLANES)


@pytest.mark.parametrize(("name", "make"), [("ms_lesions", ms), ("stroke", stroke)])
def test_the_window_is_that_of_the_brain_and_the_mask_follows_its_options(volumes, name, make):
    presenter, result = PRESENTERS[name], make(volumes)
    view = presenter.view(result)
    window = view.layers["FLAIR"].window
    assert 80 < window.low < 95 and 105 < window.high < 120, "the skull does not count"
    assert view.live.caption in view.layers and view.live.settings["threshold"] == 0.5
    assert set(view.live.switches) | set(view.live.weights) <= set(view.live.settings)
    assert view.brain is volumes["brain"] and "brain" not in presenter.inputs(result)
    (surface,) = view.surfaces
    assert surface.is_seen_through and len(surface.vertices)


def test_the_networks_of_a_stroke_stand_beside_what_they_agree_on(volumes):
    view = PRESENTERS["stroke"].view(stroke(volumes))
    tiles = view.arrangements[view.arrangement]
    assert [tile.shows for tile in tiles] == ["agreement", *view.live.probabilities, ""]
    assert sum(width * height for _, _, width, height in (tile.box for tile in tiles)) == pytest.approx(1)


def test_two_exams_stand_beside_each_other_with_what_has_changed(volumes):
    image = volumes["image"]
    earlier = {"baseline": image, "probability_baseline": image.new_like(volumes["probability"].array * 0)}
    view = PRESENTERS["ms_lesions"].view(ms(volumes | earlier))
    tiles = view.arrangements[view.arrangement]
    assert [tile.shows for tile in tiles[:3]] == ["Earlier FLAIR, aligned", "FLAIR", "difference"]
    assert view.layers["Earlier FLAIR, aligned"].kind == "image"


def test_without_a_lesion_or_a_brain_there_is_less(volumes):
    nothing = {role: v for role, v in volumes.items() if role != "brain"}
    nothing["probability"] = volumes["probability"].new_like(volumes["probability"].array * 0)
    zones = volumes["image"].new_like(volumes["brain"].array * 0, labels=LOCATIONS)
    view = PRESENTERS["ms_lesions"].view(measure_ms_lesions(Result(nothing | {"zones": zones}), SETTINGS))
    assert not view.surfaces and view.brain is None and view.layers["FLAIR"].window is None
