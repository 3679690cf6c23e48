"""Click crops: a box of an image around a click, with what is known of each voxel, in which a region is sought."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.imaging.geometry import crop_grid
from medapp.imaging.volume import Grid, Volume

MAX_VOXELS = 400_000  # of a crop; finer images are read at every second or third voxel
SEED_MM = 1.5  # around a click belongs to it
SMOOTHING_MM = 0.6
SEEN = 0.05  # probability from which on the network has seen something


@dataclass(frozen=True)
class Clicked:
    """What was clicked on: the image, its mask (I, J, K) bool, and where known the probability and the brain (I, J, K).

    All are on the grid of the image.
    """

    image: Volume
    mask: np.ndarray
    probability: np.ndarray | None = None
    brain: np.ndarray | None = None


class Crop(NamedTuple):
    """A box around a click, from index `lower` to `upper` (excluded), read at every `step`-th voxel along each axis.

    Arrays are (I, J, K) on `grid`. `image` is smoothed; `tissue` is where it is to be looked at: the brain, and what
    the network has seen. `seeds` are the voxels of the click. `goes_on` (3, 2) tells whether the image does beyond each
    side.
    """

    lower: np.ndarray
    upper: np.ndarray
    step: np.ndarray
    grid: Grid
    image: np.ndarray
    probability: np.ndarray | None
    mask: np.ndarray
    tissue: np.ndarray
    seeds: np.ndarray
    goes_on: np.ndarray

    @property
    def part(self) -> tuple[slice, ...]:
        """What is read of an array of the whole grid."""
        return tuple(slice(*ends) for ends in zip(self.lower, self.upper, self.step, strict=True))

    def touches_border(self, region: np.ndarray) -> bool:
        """Whether a region (I, J, K) bool may go on beyond the crop."""
        return any(np.take(region, end, axis).any() for axis, end in np.argwhere(self.goes_on) * (1, -1))


def cut_crop(clicked: Clicked, mm: np.ndarray, reach: float) -> Crop:
    """Return the crop that reaches as many mm beyond a click at `mm` (3,), RAS+, along each axis."""
    grid = clicked.image.grid
    at, margin = np.rint(grid.to_index(mm)).astype(int), np.ceil(reach / grid.spacing).astype(int)
    lower = np.clip(at - margin, 0, np.array(grid.shape) - 1)
    upper = np.clip(at + margin + 1, lower + 1, grid.shape)
    step = np.ones(3, int)
    while np.prod(np.ceil((upper - lower) / step)) > MAX_VOXELS:
        step[np.argmin(grid.spacing * step)] += 1
    part = tuple(slice(*ends) for ends in zip(lower, upper, step, strict=True))
    mask = clicked.mask[part]
    read = Grid(mask.shape, crop_grid(grid, lower, upper).affine @ np.diag([*step, 1]))
    image = ndimage.gaussian_filter(read_image(clicked.image, part), SMOOTHING_MM / read.spacing)
    probability = None if clicked.probability is None else np.asarray(clicked.probability[part], np.float32)
    tissue = np.ones(mask.shape, bool) if clicked.brain is None else clicked.brain[part] > 0
    if probability is not None:
        tissue = tissue | (probability >= SEEN)
    goes_on = np.stack([lower > 0, upper < grid.shape], axis=1)
    return Crop(lower, upper, step, read, image, probability, mask, tissue, mark_click(mm, read, grid), goes_on)


def read_image(image: Volume, part: tuple[slice, ...]) -> np.ndarray:
    """Return a part of an image, float32, what is not a number as 0."""
    return np.nan_to_num(np.asarray(image.array[part], np.float32))


def mark_click(mm: np.ndarray, read: Grid, grid: Grid) -> np.ndarray:
    """Return where on `read`, a part of `grid`, the voxels of a click at `mm` (3,) lie: (I, J, K) bool."""
    marked = np.zeros(read.shape, bool)
    near = np.rint(read.to_index(grid.to_mm(find_near(grid, mm)))).astype(int)
    marked[tuple(near[((near >= 0) & (near < read.shape)).all(axis=1)].T)] = True
    return marked


def find_near(grid: Grid, mm: np.ndarray) -> np.ndarray:
    """Return the indices (N, 3) of the voxel at `mm` (3,), RAS+, and of those within SEED_MM of it.

    None of them lies outside the grid; there are none if the point does.
    """
    centre = np.rint(grid.to_index(mm)).astype(int)
    if (centre < 0).any() or (centre >= grid.shape).any():
        return np.empty((0, 3), int)
    reach = np.ceil(SEED_MM / grid.spacing).astype(int) + 1
    index = np.indices(2 * reach + 1).reshape(3, -1).T - reach + centre
    index = index[((index >= 0) & (index < grid.shape)).all(axis=1)]
    near = np.linalg.norm(grid.to_mm(index) - mm, axis=1) <= SEED_MM
    return index[near | (index == centre).all(axis=1)]
