"""A kept probability gives mask, volume and table at any threshold, and the comparison with a reference."""

import numpy as np
import pytest

from medapp.analysis.lesions import measure_lesions
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS
from medapp.result import Result

AFFINE = np.diag([2.0, 1.0, 5.0, 1.0])


@pytest.fixture
def result():
    p = np.zeros((20, 20, 6), np.float32)
    p[2:8, 2:8, 1:3] = 0.7  # 72 voxels of 0.01 ml
    p[3, 3, 1] = 0.95
    p[12:14, 12:14, 4] = 0.4  # 4 voxels
    image = Volume(np.ones((20, 20, 6), np.int16), AFFINE)
    return Result({"image": image, "probability": image.new_like(p)})


def test_threshold_decides_what_counts(result):
    low, high = measure_lesions(result, 0.3), measure_lesions(result, 0.5)
    assert low.metrics["lesions"].value == 2 and high.metrics["lesions"].value == 1
    assert low.metrics["volume"].value == pytest.approx(0.76) and high.metrics["volume"].value == pytest.approx(0.72)
    assert high.tables["lesions"].rows[0][1] == pytest.approx(0.72)
    assert (
        measure_lesions(result, 0.96).metrics["lesions"].value == 0
        and measure_lesions(result, 0.96).tables["lesions"].rows == ()
    )


def test_small_lesions_are_left_out_of_mask_volume_and_table(result):
    kept = measure_lesions(result, 0.3, min_lesion_ml=0.05)
    assert (
        kept.metrics["left_out"].value == 1
        and kept.metrics["lesions"].value == 1
        and len(kept.tables["lesions"].rows) == 1
    )
    assert kept.volumes["mask"].array.sum() == 72


def test_where_all_are_small_they_are_shown_as_candidates(result):
    shown = measure_lesions(result, 0.3, min_lesion_ml=1.0)
    assert shown.metrics["candidates"].value == shown.metrics["lesions"].value == len(shown.tables["lesions"].rows) == 2
    assert shown.metrics["left_out"].value == 0 and shown.volumes["mask"].array.sum() == 76
    assert shown.metrics["volume"].value == pytest.approx(0.76) and shown.settings["min_lesion_ml"] == 1.0
    assert PRESENTERS["lesions"].headline(shown) == "2 candidates below 1 ml (0.76 ml)"
    one = measure_lesions(shown, 0.5, min_lesion_ml=1.0)
    assert PRESENTERS["lesions"].headline(one) == "1 candidate below 1 ml (0.72 ml)"
    back = measure_lesions(one, 0.3, min_lesion_ml=0.05)
    assert "candidates" not in back.metrics and back.metrics["left_out"].value == 1


def test_the_table_says_how_it_was_made(result):
    about = measure_lesions(result, 0.42, 0.05).tables["lesions"].about
    assert all(word in about for word in ("connectivity 26", "0.42", "0.05 ml", "2 × 1 × 5 mm"))


def test_reference_on_another_grid_is_compared_in_millimetres(result):
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -2.0, 2.0 * 19
    truth = np.zeros((20, 20, 6), np.uint8)
    truth[2:8, 2:8, 1:3] = 7
    got = measure_lesions(result, 0.5, reference=Volume(truth[::-1], flipped))
    assert got.metrics["dice"].value == 1 and got.metrics["hd95"].value == 0
    assert got.metrics["volume_difference"].value == 0 and got.metrics["lesion_f1"].value == 1


def test_empty_mask_against_a_reference_is_said_honestly(result):
    truth = result.volumes["image"].new_like(np.pad(np.ones((4, 4, 2), np.uint8), ((0, 16), (0, 16), (0, 4))))
    got = measure_lesions(result, 0.96, reference=truth)
    assert got.metrics["dice"].value == 0 and got.metrics["hd95"].value is None
    assert got.metrics["volume_difference"].value == -100


def test_measuring_again_without_a_reference_forgets_it(result):
    once = measure_lesions(result, 0.5, reference=result.volumes["image"])
    assert "reference" in once.volumes and "dice" in once.metrics
    again = measure_lesions(once, 0.5)
    assert "reference" not in again.volumes and "dice" not in again.metrics
