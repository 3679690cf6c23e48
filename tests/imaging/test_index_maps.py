"""Index maps: every pixel in one region, edits that do what they say and leave the other numbers alone."""

import numpy as np
import pytest

from medapp.imaging import index_maps


def squares() -> np.ndarray:
    """Four quadrants, 1 2 above 3 4."""
    return np.kron(np.array([[1, 2], [3, 4]], np.int32), np.ones((8, 8), np.int32))


def whole(labels: np.ndarray) -> bool:
    return labels.dtype == np.int32 and np.array_equal(np.unique(labels), np.arange(1, labels.max() + 1))


def test_small_masks_lie_over_large_ones_and_the_rest_comes_last():
    large, small = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    large[:6, :6] = small[4:8, 4:8] = True
    labels = index_maps.masks_to_index_map([small, large], (10, 10))
    assert whole(labels) and labels.max() == 3
    assert labels[0, 0] == 1 and labels[5, 5] == labels[7, 7] == 2 and labels[9, 9] == 3


def test_there_is_no_rest_where_all_is_covered_and_no_number_for_what_is_hidden():
    everything, left, hidden = np.ones((6, 6), bool), np.zeros((6, 6), bool), np.zeros((6, 6), bool)
    left[:, :3] = hidden[:, :2] = True
    right_of_it = left & ~hidden
    labels = index_maps.masks_to_index_map([hidden, everything, left, hidden.copy(), right_of_it], (6, 6))
    assert whole(labels) and labels.max() == 3
    assert (index_maps.masks_to_index_map([], (4, 5)) == 1).all()


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3)])
def test_superpixels_are_about_as_many_as_asked_and_keep_to_edges(shape):
    picture = np.zeros(shape, np.float32)
    picture[:, 41:] = 100
    labels = index_maps.superpixels(picture + np.random.default_rng(0).normal(0, 1, shape), 50)
    assert whole(labels) and labels.shape == (60, 80) and 25 <= labels.max() <= 75
    assert not set(labels[:, :39].ravel()) & set(labels[:, 43:].ravel())


def test_regions_are_merged_removed_and_added():
    labels = squares()
    merged = index_maps.merge_regions(labels, 4, 1)
    assert merged.dtype == np.int32 and (merged == np.where(labels == 1, 4, labels)).all()
    removed = index_maps.remove_region(labels, 2)
    assert removed.dtype == np.int32 and (removed[labels != 2] == labels[labels != 2]).all()
    assert set(removed[:8, 8:].ravel()) == {1, 4}  # each pixel joins its nearest neighbour
    mask = np.zeros(labels.shape, bool)
    mask[6:10, 6:10] = True
    added = index_maps.add_region(labels, mask)
    assert whole(added) and (added == np.where(mask, 5, labels)).all()
    assert (index_maps.add_region(labels, mask, 9) == np.where(mask, 9, labels)).all()
    assert (index_maps.add_region(labels, mask & False) == labels).all()
    assert (labels == squares()).all()


def test_what_is_added_leaves_every_region_its_pixels():
    labels = squares()
    rows, columns = np.indices(labels.shape)
    part, rim, all_ = (rows < 4) & (columns < 4), (rows < 12) & (columns < 12), labels > 0
    almost = part | ((rows == 4) & (columns < 1))
    small, large = index_maps.find_additions(labels, [part, almost, rim, all_], (0, 0))
    assert (small == part).all() and (large == (part | (rim & (labels != 1)))).all()
    assert len(index_maps.find_additions(labels, [rim, all_], (9, 9))) == 1, "the first region keeps its pixels"
    assert not index_maps.find_additions(labels, [rim, all_], (0, 0)), "there is a region already"
    halves = [(labels == 1) & (columns < 4), (labels == 1) & (columns > 3)]
    assert len(index_maps.find_additions(labels, halves, (0, 0))) == 1, "both together would cover it"


def test_masks_go_through_one_array():
    masks = [np.arange(16).reshape(4, 4) < n for n in (3, 9, 16)]
    again = index_maps.unpack_masks(index_maps.pack_masks(masks))
    assert len(again) == 3 and all(map(np.array_equal, masks, again))
    assert index_maps.unpack_masks(np.zeros((2, 2), np.uint8)) == []


def test_the_last_region_stays():
    alone = np.ones((4, 4), np.int32)
    assert (index_maps.remove_region(alone, 1) == 1).all()
    assert (index_maps.remove_region(squares(), 99) == squares()).all()


def test_a_slice_takes_the_numbers_of_its_neighbour():
    before = squares()
    shuffled = np.array([0, 3, 1, 4, 2], np.int32)[before]
    shuffled = np.roll(shuffled, 1, axis=1)
    shuffled[:, 0] = shuffled[:, 1]
    after = index_maps.match_neighbour_slice(before, shuffled)
    assert (after == before).mean() > 0.9
    new = shuffled.copy()
    new[:3, :3] = 9
    after = index_maps.match_neighbour_slice(before, new)
    assert after[0, 0] > 4 and after[7, 0] == 1 and after[-1, -1] == 4


def test_regions_are_measured_in_millimetres_the_largest_first():
    labels = squares()
    labels[:8] = 1
    image = labels * 10.0
    rows = index_maps.measure_index_map(labels, image, (0.5, 2.0))
    assert [row[0] for row in rows] == [1, 3, 4]
    assert rows[0][1:] == (128.0, 10.0, 0.0) and rows[1][1:] == (64.0, 30.0, 0.0)
