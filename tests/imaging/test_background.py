"""A flat background is found wherever its value lies, and a scan that is as it should be is left alone."""

import numpy as np
import pytest

from medapp.imaging.background import find_flat_background, zero_background
from medapp.imaging.intensity import standardize
from medapp.imaging.volume import Volume


@pytest.fixture
def clean() -> Volume:
    """A ball of uneven brightness in a flat 0."""
    rng = np.random.default_rng(0)
    i, j, k = np.ogrid[:48, :56, :40]
    ball = ((i - 24) / 18) ** 2 + ((j - 28) / 20) ** 2 + ((k - 20) / 14) ** 2 < 1
    array = np.where(ball, 40 + 300 * rng.random((48, 56, 40)) ** 0.7, 0)
    return Volume(array.astype(np.float32), np.diag([-1, 1, 2, 1.0]), unit="")


def z_scored(volume: Volume) -> np.ndarray:
    inside = volume.array > 0
    return (volume.array - volume.array[inside].mean()) / volume.array[inside].std()


@pytest.mark.parametrize("value", ["0", "-1", "minimum", "-10", "-1000"])
def test_a_z_scored_brain_becomes_like_the_original(clean, value):
    inside, scores = clean.array > 0, z_scored(clean)
    flat = float(scores[inside].min()) if value == "minimum" else float(value)
    scan = clean.new_like(np.where(inside, scores, flat).astype(np.float32))
    again = zero_background(scan)
    assert (again.array[~inside] == 0).all() and again.array.min() == 0
    assert np.abs(standardize(again.array) - standardize(clean.array))[inside].max() < 0.15
    assert again.grid.is_same(scan.grid) and not np.shares_memory(again.array, scan.array)


def test_values_of_the_head_stay_where_only_the_background_is_off(clean):
    scan = clean.new_like(np.where(clean.array > 0, clean.array, -1000))
    assert np.array_equal(zero_background(scan).array, clean.array)


def test_a_shifted_scan_is_shifted_back(clean):
    noisy = clean.array + np.random.default_rng(1).random(clean.shape).astype(np.float32)
    for array in (clean.array, noisy):
        again = zero_background(clean.new_like(array - 1000)).array
        assert again.min() >= -1 and np.allclose(standardize(again), standardize(array), atol=0.02)


def test_voxels_of_the_head_that_have_the_backgrounds_value_stay(clean):
    inside, scores = clean.array > 0, z_scored(clean)
    whole = np.rint(255 * (scores - scores[inside].min()) / np.ptp(scores[inside]))
    flat = 100
    assert (whole[inside] == flat).sum() > 50
    scan = clean.new_like(np.where(inside, whole, flat).astype(np.uint8))
    again = zero_background(scan).array
    assert (again[~inside] == 0).all()
    assert (again[inside & (whole == flat)] > 0).mean() > 0.8


@pytest.mark.parametrize("off", [1e-6, 2e-3])
def test_a_nearly_flat_background_is_flattened(clean, off):
    inside, scores = clean.array > 0, z_scored(clean)
    wavering = np.random.default_rng(2).normal(0, off, clean.shape)
    again = zero_background(clean.new_like(np.where(inside, scores, wavering).astype(np.float32))).array
    assert (again[~inside] == 0).mean() > 0.99
    assert np.percentile(np.abs(standardize(again) - standardize(clean.array)), 99.5) < 0.15


@pytest.mark.parametrize("value", [0.0, 9.0])
def test_holes_within_the_head_are_background_too(clean, value):
    inside = clean.array > 0
    inside[20:26, 26:30, 18:22] = False  # fewer voxels than a background of its own would have
    again = zero_background(clean.new_like(np.where(inside, z_scored(clean), value).astype(np.float32))).array
    assert (again[~inside] == 0).all() and (again[inside] > 0).mean() > 0.99


def test_usual_scans_are_unchanged(clean):
    ringing = np.where(clean.array > 0, clean.array, np.where(np.indices(clean.shape)[0] % 7 == 0, -3, 0))
    noisy = clean.array + np.random.default_rng(1).random(clean.shape).astype(np.float32)
    for array in (clean.array, clean.array.astype(np.uint8), ringing, noisy, np.full((9, 9, 9), 5.0)):
        scan = clean.new_like(array)
        assert zero_background(scan) is scan


def test_a_background_must_be_flat_and_large(clean):
    assert find_flat_background(clean.array) == 0
    assert find_flat_background(np.random.default_rng(0).random((20, 20, 20))) is None
