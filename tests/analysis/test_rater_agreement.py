"""Masks of several raters: pairs, agreement and consensus, known beforehand from how the masks were made."""

import numpy as np
import pytest
import SimpleITK as sitk

from medapp.analysis.mask_metrics import match_lesions
from medapp.analysis.rater_agreement import (
    AGREEMENT,
    CONSENSUS,
    MAX_RATERS,
    PAIRS,
    PERFORMANCE,
    add_comparison,
    measure_raters,
    place_raters,
)
from medapp.analysis.staple import find_consensus
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.result import Result

AFFINE = np.diag([2.0, 1.0, 5.0, 1.0])  # voxels of 0.01 ml
LIKE = Volume(np.zeros((20, 20, 6), np.uint8), AFFINE, name="mask")


def block(*parts: tuple[int, int]) -> np.ndarray:
    """Bars of 2 x 2 voxels along the first axis, from and to."""
    array = np.zeros(LIKE.shape, bool)
    for number, (start, stop) in enumerate(parts):
        array[start:stop, 6 * number : 6 * number + 2, 1:3] = True
    return array


def compare(**masks: np.ndarray) -> Result:
    return add_comparison(Result({}), masks, LIKE)


def pair(result: Result, number: int = 0) -> dict:
    table = result.tables[PAIRS]
    return dict(zip(table.columns, table.rows[number], strict=True))


def test_two_raters_are_compared_as_the_app_compares_with_a_reference():
    result = compare(anna=block((0, 10), (4, 6)), ben=block((5, 15)))
    row = pair(result)
    assert (row["first"], row["second"]) == ("anna", "ben")
    assert row["volume of first (ml)"] == pytest.approx(0.48) and row["volume of second (ml)"] == pytest.approx(0.4)
    assert row["difference (ml)"] == pytest.approx(0.08) and row["difference (%)"] == 20
    assert row["Dice"] == pytest.approx(2 * 20 / 88, abs=1e-4)
    assert (row["lesions of first"], row["matched of first"]) == (2, 1)
    assert (row["lesions of second"], row["matched of second"]) == (1, 1)
    agreement = result.volumes[AGREEMENT]
    assert agreement.labels == {1: "both", 2: "only anna", 3: "only ben"}
    assert np.bincount(agreement.array.ravel())[1:].tolist() == [20, 28, 20]
    assert CONSENSUS not in result.volumes and PERFORMANCE not in result.tables


def test_three_raters_are_counted_and_have_a_consensus():
    result = compare(anna=block((0, 10)), ben=block((0, 10)), cleo=block((5, 15)))
    assert len(result.tables[PAIRS].rows) == 3
    assert result.volumes[AGREEMENT].labels == {1: "1 of 3", 2: "2 of 3", 3: "3 of 3"}
    assert np.bincount(result.volumes[AGREEMENT].array.ravel())[1:].tolist() == [20, 20, 20]
    np.testing.assert_array_equal(result.volumes[CONSENSUS].array > 0, block((0, 10)))
    names, sensitivity = zip(*(row[:2] for row in result.tables[PERFORMANCE].rows), strict=True)
    assert names == ("anna", "ben", "cleo") and sensitivity[0] == sensitivity[1] > sensitivity[2]


def test_staple_finds_how_good_raters_were_made():
    random, truth = np.random.default_rng(0), np.zeros((40, 40, 20), bool)
    truth[8:30, 10:30, 5:15] = True
    rates = [(0.95, 0.99), (0.8, 0.97), (0.7, 0.999), (0.9, 0.9)]
    masks = [np.where(truth, random.random(truth.shape) < p, random.random(truth.shape) > q) for p, q in rates]
    found = find_consensus(masks)
    np.testing.assert_allclose(found.sensitivities, [p for p, _ in rates], atol=0.02)
    np.testing.assert_allclose(found.specificities, [q for _, q in rates], atol=0.01)
    assert (found.mask != truth).mean() < min((mask != truth).mean() for mask in masks)
    itk = sitk.STAPLEImageFilter()
    probability = sitk.GetArrayFromImage(itk.Execute([sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]))
    np.testing.assert_array_equal(found.mask, probability >= 0.5)
    np.testing.assert_allclose(found.sensitivities, itk.GetSensitivity(), atol=1e-5)
    np.testing.assert_allclose(found.specificities, itk.GetSpecificity(), atol=1e-5)


@pytest.mark.parametrize(
    "masks",
    [
        [block()] * 3,
        [block((0, 9))] * 3,
        [block((0, 9)), block(), block()],
        [block((0, 9)), block(), block((0, 9))],
        [block((0, 3)), block((5, 8)), block((10, 13))],
        [~block()] * 2 + [block()],
    ],
    ids=["all empty", "identical", "one marks", "one empty", "disjoint", "everything"],
)
def test_no_mask_is_too_odd(masks):
    result = compare(**{f"r{number}": mask for number, mask in enumerate(masks)})
    for table in result.tables.values():
        numbers = [value for row in table.rows for value in row if isinstance(value, float)]
        assert np.isfinite(numbers).all()
    assert all(metric.value is None or np.isfinite(metric.value) for metric in result.metrics.values())
    marks_something = any(mask.any() for mask in masks)
    assert (CONSENSUS in result.volumes) == marks_something
    empty = sum(not mask.any() for mask in masks)
    told = " ".join(result.notes)
    assert ("marks nothing" in told) == (0 < empty < 3) and ("no consensus" in told) == (empty == 3)


def test_masks_of_other_grids_and_labels_are_placed_and_names_stay_apart():
    fine = Volume(np.kron(block((0, 10)), np.ones((2, 2, 1))).astype(np.uint8) * 4, AFFINE.copy(), name="anna")
    affine = np.diag([1.0, 0.5, 5.0, 1.0])
    affine[:2, 3] = -0.5, -0.25
    fine = Volume(fine.array, affine, name="anna")
    placed = place_raters(Result({}), [fine, fine, Volume(fine.array, affine, name="Reference")], LIKE)
    names = [volume.name for volume in placed.volumes.values()]
    assert names == ["anna", "anna (2)", "Reference (2)"]
    np.testing.assert_array_equal(placed.volumes["rater_1"].array > 0, block((0, 10)))
    with pytest.raises(InputError, match="at most"):
        place_raters(Result({}), [fine] * (MAX_RATERS + 1), LIKE)


def test_what_followed_from_raters_goes_with_them():
    plain = Result({"mask": LIKE.new_like(block((0, 10)).astype(np.uint8))})
    rater = LIKE.new_like(block((0, 5)).astype(np.uint8), name="anna")
    rated = measure_raters(place_raters(plain, [rater], LIKE), "mask")
    assert {AGREEMENT, "rater_1"} <= set(rated.volumes) and pair(rated)["first"] == "Automatic"
    again = measure_raters(place_raters(rated, [], LIKE), "mask")
    assert set(again.volumes) == {"mask"} and not again.tables and not again.notes
    assert measure_raters(plain, "mask") is not rated and not measure_raters(plain, "mask").tables


def test_lesions_of_two_masks_are_matched_by_a_common_voxel():
    matches = match_lesions(block((0, 4), (0, 4), (0, 4)), block((3, 9), (8, 9)))
    assert matches == (3, 1, 2, 1) and matches.f1 == pytest.approx(2 * (1 / 3) * 0.5 / (1 / 3 + 0.5))
    assert match_lesions(block(), block()).f1 == 1 and match_lesions(block((0, 1)), block()).f1 == 0
