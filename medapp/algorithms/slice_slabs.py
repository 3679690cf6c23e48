"""Thick slices for a network of 1 mm voxels: each becomes a slab of thin ones, all alike, and slabs become slices.

Interpolated between slices, a lesion that one slice shows fades within half a slice, which no lesion in thin slices
does. As a slab it keeps its brightness and its edge.
"""

import numpy as np

from medapp.imaging.geometry import resample, slice_axis
from medapp.imaging.volume import Grid, Volume

THIN_MM = 1.0  # mm, roughly, of the slices that a thick one is split into
MIN_PARTS = 3  # thin slices, below which a slice is not split
SHOWN_PARTS = 3  # a slice shows what fills one in so many of its parts


def split_slices(volume: Volume) -> Volume:
    """Return a volume with every thick slice repeated; unchanged where slices are thin."""
    parts = _count_parts(volume.grid)
    if parts < MIN_PARTS:
        return volume
    axis = slice_axis(volume.grid)
    return volume.new_like(np.repeat(volume.array, parts, axis), affine=_split_grid(volume.grid).affine)


def join_slices(volume: Volume, onto: Grid) -> Volume:
    """Resample a probability onto a grid; where its slices are thick, to what a slice shows of its slab.

    That is the mean of the third of the slab where it is highest: what fills a third of a slice is seen in it.
    """
    parts = _count_parts(onto)
    if parts < MIN_PARTS:
        return resample(volume, onto)
    axis = slice_axis(onto)
    thin = resample(volume, _split_grid(onto)).array
    shape = (*onto.shape[:axis], onto.shape[axis], parts, *onto.shape[axis + 1 :])
    ordered = np.sort(thin.reshape(shape), axis + 1)
    highest = np.take(ordered, range(parts - parts // SHOWN_PARTS, parts), axis + 1)
    return volume.new_like(highest.mean(axis + 1), affine=onto.affine)


def _count_parts(grid: Grid) -> int:
    return round(float(grid.spacing[slice_axis(grid)]) / THIN_MM)


def _split_grid(grid: Grid) -> Grid:
    """The grid with every slice split into thin ones."""
    axis, parts = slice_axis(grid), _count_parts(grid)
    step = np.eye(4)
    step[axis, axis], step[axis, 3] = 1 / parts, 0.5 / parts - 0.5
    x, y, z = (n * parts if a == axis else n for a, n in enumerate(grid.shape))
    return Grid((x, y, z), grid.affine @ step)
