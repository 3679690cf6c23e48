"""What is changed by hand can be taken back, takes no memory while nobody looks at it, and goes with its visitor."""

import mmap

import numpy as np
import pytest

from medapp.imaging.volume import Volume
from medapp.ui import region_map as drafts
from medapp.ui.region_map import RegionMap, create_region_map


@pytest.fixture
def draft() -> RegionMap:
    """Four regions side by side in every one of 20 slices."""
    labels = np.repeat(np.arange(1, 5, dtype=np.int32), 40)[:, None, None] * np.ones((1, 160, 20), np.int32)
    image = Volume(labels.astype(np.float32), np.diag([1.0, 1, 2, 1]), unit="HU")
    return create_region_map(image, image, Volume(labels, image.affine, {}, "regions"), "grid")


def test_steps_are_taken_back_one_by_one_or_all_at_once(draft):
    found = draft.labels.copy()
    draft.merge(1, 2, everywhere=True)
    once = draft.labels.copy()
    draft.remove(3, everywhere=False)
    assert draft.is_edited and draft.count == 3 and not np.array_equal(once, found)
    draft.undo()
    np.testing.assert_array_equal(draft.labels, once)
    draft.remove(3, everywhere=True)
    draft.reset()
    np.testing.assert_array_equal(draft.labels, found)
    assert not draft.is_edited and not draft.undo_steps
    draft.merge(1, 2, everywhere=False)
    draft.undo()
    draft.undo()
    assert not draft.is_edited


@pytest.mark.parametrize(("name", "most", "left"), [("MAX_UNDO_STEPS", 2, 2), ("MAX_UNDO_BYTES", 2_500_000, 1)])
def test_the_past_has_an_end_and_the_beginning_is_never_lost(draft, monkeypatch, name, most, left):
    monkeypatch.setattr(drafts, name, most)
    found = draft.labels.copy()
    for first, second in ((1, 2), (2, 3), (3, 4)):
        draft.merge(min(first, draft.labels.min()), second, everywhere=True)
    assert len(draft.undo_steps) == left
    for _ in range(4):
        draft.undo()
    assert draft.is_edited and not draft.undo_steps
    draft.reset()
    np.testing.assert_array_equal(draft.labels, found)


def test_its_voxels_lie_on_the_disk_and_go_when_it_is_closed(draft):
    for array in (draft.image.array, draft.labels, draft.original_labels):
        while not isinstance(array, mmap.mmap):
            array = array.base
    draft.write_file()
    draft.close()
    assert not draft.folder.exists() and draft.labels.size == 1
