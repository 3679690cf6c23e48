"""The box in which brains are registered: 160×192×224 voxels of 1 mm, turned as FreeSurfer conforms, from 0 to 1."""

import numpy as np

from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume

CONFORMED_SHAPE = (160, 192, 224)
CONFORMED_AXES = np.array([[-1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # left, down and front, in RAS+ mm
TOP_PERCENTILE = 99.5  # percentile of the brain's intensities that becomes 1


def make_conformed_grid(brain: Volume) -> Grid:
    """The box around what is not empty of a scan without skull, its middle in the box's. Raises InputError if empty."""
    there = np.argwhere(brain.array > 0)
    if not len(there):
        raise InputError(f"The {brain.name} is empty: no voxel is above zero.")
    low, high = there.min(0), there.max(0)
    ends = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing="ij"), -1).reshape(-1, 3)
    ends = ends @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = CONFORMED_AXES
    affine[:3, 3] = (ends.min(0) + ends.max(0)) / 2 - CONFORMED_AXES @ (np.array(CONFORMED_SHAPE) - 1) / 2
    return Grid(CONFORMED_SHAPE, affine)


def scale_intensity(array: np.ndarray) -> np.ndarray:
    """Intensities of a scan without skull, (I, J, K), from 0 to 1, float32."""
    array = np.asarray(array, np.float32)
    inside = array[array > 0]
    return np.clip(array / (np.percentile(inside, TOP_PERCENTILE) if inside.size else 1), 0, 1)
