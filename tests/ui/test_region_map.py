"""What is changed by hand can be taken back, takes no memory while nobody looks at it, and goes with its visitor."""

import mmap

import numpy as np
import pytest

from medapp.imaging.volume import Volume
from medapp.ui import region_map as region_maps
from medapp.ui.region_map import RegionMap, create_region_map


@pytest.fixture
def region_map() -> RegionMap:
    """Four regions side by side in every one of 20 slices."""
    labels = np.repeat(np.arange(1, 5, dtype=np.int32), 40)[:, None, None] * np.ones((1, 160, 20), np.int32)
    image = Volume(labels.astype(np.float32), np.diag([1.0, 1, 2, 1]), unit="HU")
    return create_region_map(image, image, Volume(labels, image.affine, {}, "regions"), "grid")


def test_steps_are_taken_back_one_by_one_or_all_at_once(region_map):
    original = region_map.labels.copy()
    region_map.merge(1, 2, everywhere=True)
    once = region_map.labels.copy()
    region_map.remove(3, everywhere=False)
    assert region_map.is_edited and region_map.count == 3 and not np.array_equal(once, original)
    region_map.undo()
    np.testing.assert_array_equal(region_map.labels, once)
    region_map.remove(3, everywhere=True)
    region_map.reset()
    np.testing.assert_array_equal(region_map.labels, original)
    assert not region_map.is_edited and not region_map.undo_steps
    region_map.merge(1, 2, everywhere=False)
    region_map.undo()
    region_map.undo()
    assert not region_map.is_edited


@pytest.mark.parametrize(("name", "most", "left"), [("MAX_UNDO_STEPS", 2, 2), ("MAX_UNDO_BYTES", 2_500_000, 1)])
def test_the_past_has_an_end_and_the_beginning_is_never_lost(region_map, monkeypatch, name, most, left):
    monkeypatch.setattr(region_maps, name, most)
    original = region_map.labels.copy()
    for first, second in ((1, 2), (2, 3), (3, 4)):
        region_map.merge(min(first, region_map.labels.min()), second, everywhere=True)
    assert len(region_map.undo_steps) == left
    for _ in range(4):
        region_map.undo()
    assert region_map.is_edited and not region_map.undo_steps
    region_map.reset()
    np.testing.assert_array_equal(region_map.labels, original)


def test_a_merger_has_the_same_number_in_every_slice(region_map):
    most = region_map.stack[3:9, 20:]
    most[most == 1] = 2  # so that the second is the larger one there
    region_map.merge(1, 2, everywhere=True)
    assert set(np.unique(region_map.labels)) == {1, 3, 4}


def squares(region_map: RegionMap, *spans: tuple[int, int]) -> list[np.ndarray]:
    """Masks of the displayed slice: squares from and to these rows and columns."""
    masks = [np.zeros(region_map.stack[0].shape, bool) for _ in spans]
    for mask, (begin, end) in zip(masks, spans, strict=True):
        mask[begin:end, begin:end] = True
    return masks


def test_a_larger_mask_takes_the_place_of_the_smallest_and_back(region_map):
    region_map.remove(3, everywhere=True)
    region_map.slice_index = 7
    before, (small, large, all_) = region_map.stack.copy(), squares(region_map, (50, 60), (30, 90), (0, 160))
    assert region_map.add([small, large, all_], (55, 55)) and len(region_map.added.masks) == 2, (
        "all would cover others whole"
    )
    for chosen, mask in ((0, small), (1, large), (0, small), (1, large)):
        region_map.resize_added(chosen)
        expected = before.copy()
        expected[7][mask] = 5
        np.testing.assert_array_equal(region_map.stack, expected)
        assert region_map.added.chosen == chosen and len(region_map.undo_steps) == 2
    region_map.resize_added(2)
    assert region_map.added.chosen == 1
    region_map.undo()
    np.testing.assert_array_equal(region_map.stack, before)
    region_map.resize_added(1)
    assert region_map.added is None and len(region_map.undo_steps) == 1


def test_no_region_is_covered_whole(region_map):
    stack = region_map.stack
    region = stack[0] == stack[0, 80, 60]
    beyond = region | squares(region_map, (20, 140))[0]
    assert not region_map.add([region], (80, 60)) and not region_map.undo_steps and not region_map.is_edited
    region_map.add([beyond], (80, 85))
    assert region_map.count == 5 and (stack[0][region] == stack[1][region]).all()


@pytest.mark.parametrize(
    "step",
    [
        lambda each: each.undo(),
        lambda each: each.reset(),
        lambda each: each.merge(1, 2, everywhere=True),
        lambda each: each.remove(4, everywhere=False),
        lambda each: setattr(each, "slice_index", 3),
    ],
)
def test_only_what_was_added_last_here_can_be_larger(region_map, step):
    region_map.add(squares(region_map, (50, 60), (30, 90)), (55, 55))
    step(region_map)
    labels = region_map.labels.copy()
    region_map.resize_added(1)
    assert region_map.added is None and np.array_equal(region_map.labels, labels)


def test_what_is_added_next_can_be_larger_and_a_slice_left_is_as_it_was(region_map):
    first, second = squares(region_map, (50, 60), (30, 90)), squares(region_map, (100, 104), (95, 110))
    region_map.add(first, (55, 55))
    region_map.add(second, (102, 102))
    region_map.slice_index += 1
    region_map.slice_index -= 1
    region_map.resize_added(1)
    shown = region_map.stack[region_map.slice_index]
    assert (shown == 5)[first[0]].all() and ((shown == 6) == second[1]).all() and region_map.count == 6
    region_map.undo()
    assert region_map.count == 5 and region_map.added is None


def test_its_voxels_lie_on_the_disk_and_go_when_it_is_closed(region_map):
    for array in (region_map.image.array, region_map.labels, region_map.original_labels):
        while not isinstance(array, mmap.mmap):
            array = array.base
    region_map.write_file()
    region_map.close()
    assert not region_map.folder.exists() and region_map.labels.size == 1
