"""The conformed space of registration: 160×192×224 voxels of 1 mm along FreeSurfer's axes, intensities from 0 to 1."""

import numpy as np

from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume

CONFORMED_SHAPE = (160, 192, 224)
CONFORMED_AXES = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # left, down and front, in RAS+ mm
TOP_PERCENTILE = 99.5  # of the brain's intensities, that becomes 1


def make_conformed_grid(brain: Volume) -> Grid:
    """Return the conformed grid centred on a skull-stripped brain. Raises InputError if it is empty.

    Its first voxel lies on one of the brain's: an image of 1 mm along the same axes is not interpolated, and labels are
    not shifted against their image, as they would be by the nearest neighbour from halfway between voxels.
    """
    index = np.argwhere(brain.array > 0)
    if not len(index):
        raise InputError(f"The {brain.name} is empty: no voxel is above zero.")
    low, high = index.min(0), index.max(0)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    corners = corners @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = CONFORMED_AXES
    first = (corners.min(0) + corners.max(0)) / 2 - CONFORMED_AXES @ (np.array(CONFORMED_SHAPE) - 1) / 2
    affine[:3, 3] = brain.grid.to_mm(np.rint(brain.grid.to_index(first)))
    return Grid(CONFORMED_SHAPE, affine)


def scale_intensity(array: np.ndarray) -> np.ndarray:
    """Scale the intensities of a skull-stripped scan (I, J, K) to 0 to 1, float32."""
    array = np.asarray(array, np.float32)
    inside = array[array > 0]
    return np.clip(array / (np.percentile(inside, TOP_PERCENTILE) if inside.size else 1), 0, 1)
