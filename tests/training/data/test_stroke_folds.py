"""Folds and batches: nobody crosses, every slice of every bin is used, once, and every batch is like the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.labelled_brains import RESCANS
from training.data.stroke_folds import (
    BIN_BORDERS,
    PlaneSlices,
    deal_batches,
    describe_folds,
    lesion_size_p,
    list_slices,
    split_folds,
)
from training.data.stroke_heads import StrokeHead
from training.data.stroke_slices import PLANES

MANY = st.tuples(st.sampled_from(sorted(PLANES)), st.integers(5, 14), st.integers(40, 400), st.integers(0, 2**32 - 1))


def drawn(people: int, count: int, seed: int) -> PlaneSlices:
    """Slices of so many people, half without lesion; every person has one with."""
    random = np.random.default_rng(seed)
    pixels = np.where(random.random(count) < 0.5, 0, np.exp(random.normal(6.5, 1.2, count)).astype(int) + 1)
    subject = random.integers(people, size=count).astype(str)
    first = np.arange(people).astype(str)
    at = np.arange(count + people)
    return PlaneSlices(np.concatenate([first, subject]), at, np.concatenate([np.full(people, 700), pixels]))


@settings(max_examples=30, deadline=None)
@given(MANY)
def test_nobody_crosses_and_every_lesion_is_held_out_once(case):
    plane, people, count, seed = case
    slices = drawn(people, count, seed)
    folds = split_folds(slices, plane, 5, seed)
    lesion = np.flatnonzero(slices.pixels)
    assert sorted(i for fold in folds for i in fold.held if slices.pixels[i]) == lesion.tolist()
    for fold in folds:
        assert not set(slices.subject[fold.train]) & set(slices.subject[fold.held])
        assert len(set(fold.train)) == len(fold.train) and set(fold.train) | set(fold.held) >= set(lesion)
        for part in fold:
            assert (slices.pixels[part] == 0).sum() <= (slices.pixels[part] > 0).sum()
        assert 0 <= lesion_size_p(slices, fold) <= 1


@settings(max_examples=50, deadline=None)
@given(MANY, st.sampled_from([4, 8, 32]))
def test_every_slice_comes_once_an_epoch_and_every_batch_is_like_the_whole(case, size):
    plane, people, count, seed = case
    slices = drawn(people, count, seed)
    chosen = np.random.default_rng(seed).permutation(len(slices.pixels))[: count // 2 + people]
    dealt = deal_batches(slices, chosen, plane, np.random.default_rng(seed), size)
    assert sorted(np.concatenate(dealt).tolist()) == sorted(chosen.tolist())
    bins = slices.bins(plane)
    for number in range(-1, len(BIN_BORDERS[plane]) + 1):
        each = [int((bins[batch] == number).sum()) for batch in dealt]
        assert max(each) - min(each) <= 1, "the largest lesions too"
    assert max(int((bins[batch] >= 0).sum()) for batch in dealt) <= size // 2
    again = deal_batches(slices, chosen, plane, np.random.default_rng(seed + 1), size)
    assert len(chosen) < 20 or any(a.tolist() != b.tolist() for a, b in zip(dealt, again, strict=True)), "shuffled anew"


@pytest.mark.parametrize("plane", PLANES)
def test_bins_are_closed_above_and_the_last_has_no_end(plane):
    borders = BIN_BORDERS[plane]
    pixels = np.array([0, 1, borders[0], borders[0] + 1, borders[-1], borders[-1] + 1, 10**6])
    slices = PlaneSlices(np.zeros(7, str), np.arange(7), pixels)
    assert slices.bins(plane).tolist() == [-1, 0, 0, 1, 4, 5, 5]


@pytest.mark.parametrize("plane", PLANES)
def test_slices_without_lesion_are_looked_for_in_their_own_plane(plane):
    mask = np.zeros((20, 24, 16), bool)
    mask[3:6, 10:20, 5:7] = True
    image = np.full(mask.shape, 30, np.uint8)
    image[1:-1, 1:-1, 1:-1] = 120
    rescan, person = next(iter(RESCANS.items()))
    slices = list_slices([StrokeHead(image, mask, rescan, ())], plane)
    rest = tuple(a for a in range(3) if a != PLANES[plane])
    truth = mask.sum(rest)
    assert set(slices.subject) == {person}, "a rescan is the same person"
    assert slices.at.tolist() == list(range(1, len(truth) - 1)), "what is black is left out"
    np.testing.assert_array_equal(slices.pixels, truth[1:-1])


def test_too_few_people_are_refused_and_folds_are_told():
    slices = drawn(6, 300, 1)
    with pytest.raises(ValueError, match="not 6"):
        split_folds(slices, "axial", 7)
    lines = describe_folds(slices, split_folds(slices, "axial", 3), "axial").splitlines()
    assert len(lines) == 3 and all("Mann–Whitney p = " in line and "2 people" in line for line in lines)
