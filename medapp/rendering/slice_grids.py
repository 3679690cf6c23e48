"""Slice grids: grids one voxel thick through the patient, on which pictures are drawn."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from nibabel.affines import from_matvec

from medapp.imaging.geometry import is_flat, slice_axis
from medapp.imaging.volume import Grid

__all__ = [
    "PLANES",
    "Plane",
    "find_corners",
    "find_direction_letter",
    "find_plane",
    "is_flat",
    "make_slice_grid",
    "slice_axis",
]

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
PLANE_NORMALS = {"axial": 2, "coronal": 1, "sagittal": 0}  # the RAS axis that the plane cuts
ROW_DIRECTIONS = {
    "axial": (0, -1, 0),
    "coronal": (0, 0, -1),
    "sagittal": (0, 0, -1),
}  # rows: from the front, the head, the head
COLUMN_DIRECTIONS = {
    "axial": (-1, 0, 0),
    "coronal": (-1, 0, 0),
    "sagittal": (0, -1, 0),
}  # columns: from the right, the right, the front
PIXEL_NUDGE_MM = 1e-4  # keeps pixels off the border of two voxels, where rounding depends on the storage order


def make_slice_grid(
    grid: Grid,
    plane: Plane,
    mm: Sequence[float],
    *,
    pixel: float | None = None,
    extent: np.ndarray | None = None,
    radiological: bool = True,
) -> Grid:
    """Make the grid (H, W, 1) of a picture: the plane through the point `mm` (RAS+ mm), across the whole of `grid`.

    Rows run from the front (axial) or the head. Columns run from the patient's right if `radiological`, else from the
    left; in the sagittal plane always from the front. Pixels are squares of `pixel` mm, by default the smallest voxel
    size. `extent`, (2, 3) lower and upper corner in RAS+ mm, takes the place of the grid's box. A grid of one slice is
    always drawn whole, along its own rows and columns.
    """
    start = np.asarray(mm, float)
    if is_flat(grid):
        plane, start = find_plane(grid), grid.to_mm((np.array(grid.shape) - 1) / 2)
    down, across = np.array(ROW_DIRECTIONS[plane], float), np.array(COLUMN_DIRECTIONS[plane], float)
    if plane != "sagittal" and not radiological:
        across = -across
    if is_flat(grid):
        down, across = _align_to_grid(grid, down, across)
    pixel = pixel or float(min(grid.spacing))
    box = find_corners(grid) if extent is None or is_flat(grid) else np.asarray(extent, float)
    size = []
    for way in (down, across):  # each along one axis of `box`, or of a flat grid
        low, high = (box @ way).min(), (box @ way).max()
        size.append(max(1, round((high - low) / pixel)))
        start = start + way * ((low + high) / 2 - (size[-1] - 1) / 2 * pixel - start @ way)
    steps = np.stack([down * pixel, across * pixel, np.cross(down, across)], axis=1)
    return Grid((*size, 1), from_matvec(steps, start + PIXEL_NUDGE_MM))


def find_corners(grid: Grid) -> np.ndarray:
    """Find the outer corners (8, 3) of the grid's voxels in RAS+ mm."""
    return grid.to_mm(np.array(np.meshgrid(*((-0.5, n - 0.5) for n in grid.shape))).reshape(3, -1).T)


def find_plane(grid: Grid) -> Plane:
    """Find the plane nearest to the grid's own slices."""
    axis = slice_axis(grid)
    return PLANES[2 - int(np.argmax(np.abs(grid.affine[:3, axis])))]


def find_direction_letter(direction: np.ndarray) -> str:
    """Find the letter nearest to a direction (3,) in RAS+: R, L, A, P, S or I."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LR", "PA", "IS")[axis][int(direction[axis] > 0)]


def _align_to_grid(grid: Grid, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The flat grid's two axes, as unit vectors, nearest to the given directions."""
    axes = (grid.affine[:3, :3] / grid.spacing).T[[n > 1 for n in grid.shape]]  # (2, 3)
    first = int(np.argmax(np.abs(axes @ down)))
    return tuple(axis * (-1 if axis @ way < 0 else 1) for axis, way in ((axes[first], down), (axes[1 - first], across)))
