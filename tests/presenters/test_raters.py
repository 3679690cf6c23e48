"""Masks of other raters beside a result: what is taken, what is shown of them, and what follows a threshold."""

from dataclasses import replace

import numpy as np
import pytest
from ball_masks import AFFINES, ball

from medapp.analysis.rater_agreement import AGREEMENT, PAIRS
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.raters import check_rater, list_colours, name_rater
from medapp.presenters.report import render_report
from medapp.result import Result

AFFINE = AFFINES["oblique"]
SETTINGS = {"threshold": 0.5, "min_lesion_ml": 0.0}
presenter = PRESENTERS["lesions"]


@pytest.fixture
def result() -> Result:
    """A lesion whose border follows the threshold."""
    inner, outer = ball(AFFINE, 6)[0].array, ball(AFFINE, 10)[0].array
    image = Volume(np.random.default_rng(0).normal(100, 9, inner.shape).astype(np.float32), AFFINE, name="FLAIR")
    chance = image.new_like((inner * 0.3 + outer * 0.6).astype(np.float32))
    return presenter.recompute(Result({"image": image, "probability": chance}), None, SETTINGS)


def rater(radius: float, name: str = "anna") -> Volume:
    return replace(ball(AFFINE, radius)[0], name=name)


def test_raters_stand_beside_the_result_and_follow_its_threshold(result):
    rated = presenter.rate(result, [rater(10), rater(6, "ben")], rater(10, "truth"))
    low = {row[:2]: row[2] for row in rated.tables[PAIRS].rows}
    assert low["Automatic", "anna"] == low["Automatic", "Reference"] == 1 and low["Automatic", "ben"] < 0.7
    higher = presenter.recompute(rated, rater(10, "truth"), SETTINGS | {"threshold": 0.8})
    assert {row[:2]: row[2] for row in higher.tables[PAIRS].rows}["Automatic", "ben"] == 1
    assert "among 4 raters" in presenter.headline(higher)
    view = presenter.view(higher)
    shown = [title for title, layer in view.layers.items() if layer.kind == "mask" and layer.opacity]
    assert shown == [get_layer_title(AGREEMENT)] and {"anna", "ben", "Reference"} <= set(view.layers)
    assert "anna" not in presenter.inputs(higher) and set(presenter.inputs(higher)) == {"image", "reference"}
    page = render_report(higher, presenter, "Lesions")
    assert "Which voxels the raters mark" in page and "ben" in page and "sensitivity" in page
    plain = presenter.rate(higher, [], None)
    assert presenter.view(plain).kind == "" and not set(plain.volumes) - {"image", "probability", "mask"}


def test_two_raters_have_three_colours_and_more_a_brightening_row(result):
    two = list_colours(presenter.rate(result, [rater(6)], None).volumes[AGREEMENT])
    assert len(set(two.values())) == 3
    many = list_colours(presenter.rate(result, [rater(6), rater(8, "ben")], None).volumes[AGREEMENT])
    light = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in many.values()]
    assert light == sorted(light) and min(np.diff(light)) > 20, "told apart without hue"


@pytest.mark.parametrize("name", ["brain_mask", "parcellation"])
def test_a_brain_is_compared_without_lesions_and_a_label_map_not_at_all(name, result):
    other = PRESENTERS[name]
    if not other.mask_role:
        with pytest.raises(InputError):
            other.rate(result, [rater(6)], None)
        return
    volumes = {"image": result.volumes["image"], "brain": rater(10), "stripped": result.volumes["image"]}
    rated = other.rate(other.recompute(Result(volumes), None, {}), [rater(10)], None)
    assert "lesions of first" not in rated.tables[PAIRS].columns and "to anna" in other.headline(rated)
    assert other.view(rated).kind == "raters" and len(other.pictures(rated)) == 3


def test_what_is_no_mask_of_the_image_is_refused_and_what_is_odd_is_told(result):
    image = result.volumes["image"]
    inputs = {"flair": image}
    assert not check_rater(rater(6), inputs).remarks
    with pytest.raises(InputError, match="not a mask"):
        check_rater(image, inputs)
    moved = AFFINE.copy()
    moved[:3, 3] += 500
    with pytest.raises(InputError, match="away"):
        check_rater(replace(rater(6), affine=moved), inputs)
    with pytest.raises(InputError, match="header"):
        check_rater(replace(rater(6), affine=np.eye(4)), inputs)
    several = rater(6).new_like(rater(6).array + rater(4).array)
    assert "2 labels" in check_rater(several, inputs).remarks[0]
    soft = rater(6).new_like(rater(6).array * np.float32(0.7) + rater(3).array * np.float32(0.1))
    assert "fractions" in check_rater(soft, inputs).remarks[0]
    told = presenter.rate(result, [check_rater(several, inputs)], None).notes
    assert any("anna" in note and "2 labels" in note for note in told)


def test_a_rater_is_named_after_the_file():
    assert name_rater("/tmp/anna.v2.nii.gz") == "anna.v2" and name_rater("B.NRRD") == "B"
    assert len(name_rater("x" * 99 + ".nii")) < 30 and name_rater(".nii") == ".nii"
