"""Region map: the regions of an image, which a visitor can edit before they are used."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from medapp.analysis.image_quality import upsample_to_grid
from medapp.imaging import index_maps
from medapp.imaging.geometry import slice_axis, to_display_slices
from medapp.imaging.volume import Volume, digest_volume
from medapp.io import files
from medapp.rendering import slices
from medapp.rendering.slices import SliceFrame
from medapp.ui.array_store import ArrayStore
from medapp.ui.workspace import new_folder

MAX_UNDO_STEPS = 40
MAX_UNDO_BYTES = 256 * 1024**2
EMPTY_VOLUME = Volume(np.zeros((1, 1, 1), np.int32), np.eye(4))
Edit = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class AddedRegion:
    """The region `number`, added to slice `slice_index`: `masks` (H, W) that it can have, of which it has `chosen`."""

    number: int
    slice_index: int
    masks: Sequence[np.ndarray]
    chosen: int = 0


@dataclass(eq=False)
class RegionMap:
    """An index map over an image on the same grid, found by the method `source`; its voxels are stored in `folder`.

    `image_digest` is that of the uploaded image. `labels` are changed in place; `is_edited` tells whether they differ
    from `original_labels`. `selected` are the regions of slice `slice_index` that were clicked first in `mode`.
    `undo_steps` hold, for each step, the index and the former labels of every slice that it changed. `last_added` is
    the region that the last of them added, if it did.
    """

    image_digest: str
    source: str
    image: Volume
    labels: np.ndarray
    slice_index: int = 0
    selected: tuple[int, ...] = ()
    mode: str = ""
    undo_steps: list[list[tuple[int, np.ndarray]]] = field(default_factory=list)
    last_added: AddedRegion | None = None
    folder: Path = field(default_factory=new_folder)
    written: int = 0
    is_edited: bool = False

    def __post_init__(self) -> None:
        """Move the voxels to files."""
        store = ArrayStore(self.folder / "voxels")
        self.image, self.original_labels = store.store_volume(self.image), store.store_array(self.labels)
        self.labels = store.copy_writable(self.labels)

    @property
    def stack(self) -> np.ndarray:
        """The labels as displayed slices (N, H, W), a view that can be written to."""
        return to_display_slices(self.labels, self.image.grid)

    @property
    def count(self) -> int:
        """The number of regions in all slices."""
        return len(np.unique(self.labels))

    @property
    def frame(self) -> SliceFrame:
        """The size and orientation in which the slice is displayed."""
        return slices.make_frame(self.image.grid, self.slice_index)

    @property
    def added(self) -> AddedRegion | None:
        """The region that the last step added to the displayed slice, if it did: it can be given another mask."""
        added = self.last_added
        return added if added and added.slice_index == self.slice_index else None

    def pixel_and_region(self, x: float, y: float) -> tuple[int, int, int]:
        """Return row, column and region number at pixel (x, y) of the picture."""
        row, column = slices.find_row_column(self.frame, x, y)
        return row, column, int(self.stack[self.slice_index][row, column])

    def merge(self, first: int, second: int, everywhere: bool) -> None:
        """Merge two regions, in the displayed slice or in every slice that has both."""
        self._change(lambda old: index_maps.merge_regions(old, first, second), (first, second), everywhere)

    def remove(self, number: int, everywhere: bool) -> None:
        """Remove a region; its pixels join the nearest others."""
        self._change(lambda old: index_maps.remove_region(old, number), (number,), everywhere)

    def add(self, masks: Sequence[np.ndarray], pixel: tuple[int, int]) -> bool:
        """Add what lies at a pixel (row, column) of the displayed slice, of masks (H, W) the smallest that is new.

        The larger ones can be chosen then. No region is covered whole, see `index_maps.find_additions`. Returns whether
        there is a new region.
        """
        additions = index_maps.find_additions(self.stack[self.slice_index], masks, pixel)
        if additions:
            self._put(AddedRegion(int(self.labels.max()) + 1, self.slice_index, additions))
        return bool(additions)

    def resize_added(self, chosen: int) -> None:
        """Give the region that was added by the last step another of its masks, still as one step."""
        added = self.added
        if added and chosen in range(len(added.masks)):
            self.undo()
            self._put(replace(added, chosen=chosen))

    def undo(self) -> None:
        """Take back the last change, if there is one."""
        self.selected, self.last_added = (), None
        for number, old in self.undo_steps.pop() if self.undo_steps else []:
            self.stack[number] = old
        self.is_edited = not np.array_equal(self.labels, self.original_labels)

    def reset(self) -> None:
        """Return to the original labels."""
        self.labels[...] = self.original_labels
        self.selected, self.last_added, self.undo_steps, self.is_edited = (), None, [], False

    def to_volume(self) -> Volume:
        """Return the map, numbered from 1 without gaps."""
        labels = index_maps.renumber(self.labels)
        names = {n: f"region {n}" for n in range(1, int(labels.max()) + 1)}
        return Volume(labels, self.image.affine, names, "regions")

    def slice_volumes(self) -> tuple[Volume, Volume]:
        """Return image and map of the displayed slice, one voxel thick."""
        axis = slice_axis(self.image.grid)
        index = slices.find_voxel(self.image.grid, self.slice_index, 0, 0)[axis]
        cut = tuple(slice(index, index + 1) if a == axis else slice(None) for a in range(3))
        affine = self.image.affine.copy()
        affine[:3, 3] = self.image.grid.to_mm(np.where(np.arange(3) == axis, index, 0))
        labels = self.labels[cut]
        names = {int(n): f"region {n}" for n in np.unique(labels)}
        image = self.image.new_like(self.image.array[cut], affine=affine, headers=())
        return image, Volume(labels, affine, names, "regions")

    def write_file(self) -> Path:
        """Write the map as NIfTI under a new path."""
        self.written += 1
        folder = self.folder / str(self.written)
        folder.mkdir(parents=True)
        return files.write(self.to_volume(), folder / "regions.nii.gz")

    def close(self) -> None:
        """Remove the files and drop what was read from them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.image, self.last_added, self.undo_steps = EMPTY_VOLUME, None, []
        self.original_labels = self.labels = EMPTY_VOLUME.array

    def _put(self, added: AddedRegion) -> None:
        mask = added.masks[added.chosen]
        self._change(lambda old: index_maps.add_region(old, mask, added.number), (), False)
        self.last_added = added

    def _change(self, edit: Edit, required: tuple[int, ...], everywhere: bool) -> None:
        step = []
        stack = self.stack
        for number in range(len(stack)) if everywhere else (self.slice_index,):
            if not all((stack[number] == n).any() for n in required):
                continue
            old = np.ascontiguousarray(stack[number])
            new = edit(old)
            if not np.array_equal(new, old):
                step.append((number, old.copy()))
                stack[number] = new
        self.selected = ()
        if step:
            self.last_added = None
            self.undo_steps.append(step)
            self.is_edited = True
            while (
                len(self.undo_steps) > MAX_UNDO_STEPS
                or sum(old.nbytes for step in self.undo_steps for _, old in step) > MAX_UNDO_BYTES
            ):
                del self.undo_steps[0]


def create_region_map(upload: Volume, image: Volume, labels: Volume, source: str) -> RegionMap:
    """Create the region map of `labels` found by `source` in `image`, which is resampled to the labels' grid."""
    if not image.grid.is_same(labels.grid):
        image = image.new_like(upsample_to_grid(image, labels.grid), affine=labels.affine, headers=())
    middle = slices.count_slices(labels.grid) // 2
    return RegionMap(digest_volume(upload), source, image, np.asarray(labels.array, np.int32), middle)
