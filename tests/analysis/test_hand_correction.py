"""What is painted and erased by hand lies on top of the automatic mask, whatever the threshold, and is told."""

from dataclasses import replace

import numpy as np
import pytest

from medapp.analysis.hand_correction import (
    CORRECTION_LABELS,
    ERASED,
    PAINTED,
    decide_all,
    describe_correction,
    make_correction,
)
from medapp.analysis.ms_lesions import LOCATIONS, measure_ms_lesions
from medapp.analysis.stroke_ensemble import PLANE_LETTERS
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS
from medapp.presenters.report import render_report
from medapp.result import Metric, Result

AFFINE = np.diag([2.0, 1.0, 5.0, 1.0])  # voxels of 0.01 ml
SETTINGS = {"threshold": 0.5, "min_lesion_ml": 0.1}
presenter = PRESENTERS["lesions"]


@pytest.fixture
def image() -> Volume:
    return Volume(np.ones((20, 20, 6), np.int16), AFFINE, name="FLAIR")


@pytest.fixture
def result(image) -> Result:
    """A lesion of 0.72 ml, half of it of a low probability, and one of 0.04 ml."""
    p = np.zeros(image.shape, np.float32)
    p[2:8, 2:8, 1:3] = 0.9
    p[2:8, 5:8, 1:3] = 0.6
    p[12:14, 12:14, 4] = 0.9
    probability = image.new_like(p, name="probability")
    return presenter.recompute(Result({"image": image, "probability": probability}), None, SETTINGS)


@pytest.fixture
def correction(image) -> Volume:
    """A lesion of 0.02 ml painted, and 0.12 ml of the large one erased."""
    array = np.zeros(image.shape, np.uint8)
    array[16:18, 2, 5] = PAINTED
    array[2:8, 2:3, 1:3] = ERASED
    return make_correction(array, image)


def value(result: Result) -> dict[str, float]:
    return {name: metric.value for name, metric in result.metrics.items()}


def test_a_correction_is_exact_at_every_threshold_and_goes_again(result, correction):
    corrected = presenter.correct(result, correction, None)
    found = value(corrected)
    assert (found["automatic_volume"], found["hand_added"], found["hand_removed"]) == (0.72, 0.02, 0.12)
    assert found["volume"] == 0.62 and found["lesions"] == 2 and found["left_out"] == 1, "what is painted may be small"
    assert [row[1] for row in corrected.tables["lesions"].rows] == [0.6, 0.02]
    assert (corrected.volumes["mask"].array[correction.array == PAINTED] == 1).all()
    assert (corrected.volumes["mask"].array[correction.array == ERASED] == 0).all()
    strict = presenter.recompute(corrected, None, SETTINGS | {"threshold": 0.8})
    assert value(strict)["volume"] == pytest.approx(0.26) and value(strict)["hand_removed"] == 0.12
    back = presenter.correct(strict, None, None)
    assert value(back) == value(presenter.recompute(result, None, SETTINGS | {"threshold": 0.8}))
    assert back.notes == result.notes and not back.is_corrected and "automatic_mask" not in back.volumes


def test_headline_report_pictures_and_facts_say_so(result, correction):
    corrected = presenter.correct(result, correction, result.volumes["mask"])
    assert value(corrected)["dice"] == pytest.approx(2 * 0.6 / (0.72 + 0.62), abs=1e-3)
    assert "corrected by hand (+0.02 ml, −0.12 ml)" in presenter.headline(corrected)
    (note,) = (note for note in corrected.facts()["notes"] if note.startswith("Corrected by hand"))
    assert "0.02 ml added" in note and "0.12 ml removed" in note and "0.72 ml" in note
    large = replace(corrected, metrics=corrected.metrics | {"hand_added": Metric(38.835, "ml")})
    assert "(+38.8 ml, −0.12 ml)" in describe_correction(large), "as the viewer says it"
    page = render_report(corrected, presenter, "A method")
    assert note in page and "Added by hand" in page and "Automatic" in page
    layers = presenter.layers(corrected)
    assert layers["Automatic"].opacity == 0 and layers["Automatic"].volume.array.sum() == 72
    assert "Automatic" not in presenter.layers(result) and "hand" not in render_report(result, presenter, "A method")
    gone = presenter.correct(
        result, decide_all(correction.new_like(correction.array * 0), result.volumes["mask"]), None
    )
    assert value(gone)["volume"] == 0 and "Nothing is left" in presenter.headline(gone)


def test_files_say_so_and_keep_the_automatic_mask(result, correction, tmp_path):
    plain = {path.name for path in result.write_files(tmp_path / "a", presenter.files).paths}
    names = {
        path.name for path in presenter.correct(result, correction, None).write_files(tmp_path, presenter.files).paths
    }
    assert plain == {"mask.nii.gz", "probability.nii.gz", "lesions.csv", "result.json"}
    assert names == {
        "corrected_mask.nii.gz", "automatic_mask.nii.gz", "correction.nii.gz", "probability.nii.gz",
        "corrected_lesions.csv", "corrected_result.json",
    }  # fmt: skip


def test_candidates_that_were_corrected_are_lesions(result, correction):
    small = presenter.recompute(result, None, SETTINGS | {"min_lesion_ml": 1.0})
    assert value(small)["candidates"] == 2
    assert "candidates" not in value(presenter.correct(small, correction, None))


def test_changes_of_ms_lesions_follow(result, correction):
    zones = result.volumes["image"].new_like(np.full((20, 20, 6), 4, np.uint8), labels=LOCATIONS)
    volumes = {**result.volumes, "zones": zones, "probability_baseline": result.volumes["probability"]}
    before = measure_ms_lesions(replace(result, volumes=volumes), SETTINGS)
    after = PRESENTERS["ms_lesions"].correct(before, correction, None)
    assert [row[1] for row in before.tables["change"].rows] == ["stable"]
    assert [row[1] for row in after.tables["change"].rows] == ["new", "stable"]
    assert (after.volumes["places"].array > 0).sum() == 62


def test_networks_are_compared_with_what_they_found_and_not_with_the_hand(result, correction):
    planes = {f"probability_{plane}": result.volumes["probability"] for plane in PLANE_LETTERS}
    settings = SETTINGS | {"fusion": "mean"} | dict.fromkeys(PLANE_LETTERS, True)
    settings |= {f"weight_{plane}": 1.0 for plane in PLANE_LETTERS}
    stroke = PRESENTERS["stroke"]
    before = stroke.recompute(Result({"image": result.volumes["image"], **planes}), None, settings)
    after = stroke.correct(before, correction, None)
    assert after.tables["planes"].rows == before.tables["planes"].rows and value(after)["volume"] == 0.62


def test_a_given_mask_decides_every_voxel_on_its_own_grid_too(result):
    mask = result.volumes["mask"]
    flipped = Volume(mask.array[::-1], AFFINE @ np.array([[-1, 0, 0, 19], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    correction = decide_all(flipped, mask)
    assert set(np.unique(correction.array)) == set(CORRECTION_LABELS)
    corrected = presenter.correct(presenter.recompute(result, None, SETTINGS | {"threshold": 0.95}), correction, None)
    np.testing.assert_array_equal(corrected.volumes["mask"].array, mask.array)
