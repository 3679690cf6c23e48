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


def test_its_voxels_lie_on_the_disk_and_go_when_it_is_closed(region_map):
    for array in (region_map.image.array, region_map.labels, region_map.original_labels):
        while not isinstance(array, mmap.mmap):
            array = array.base
    region_map.write_file()
    region_map.close()
    assert not region_map.folder.exists() and region_map.labels.size == 1
