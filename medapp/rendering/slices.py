"""An image's own slices, not resampled, as pictures for the screen, and points from pictures back to voxels."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from medapp.imaging.geometry import slice_axis, to_display_slices
from medapp.imaging.volume import Grid
from medapp.rendering import colour
from medapp.rendering.colour import Window

MIN_SIDE_PIXELS = 768  # to which smaller slices are enlarged
MAX_SIDE_PIXELS = 1536  # to which larger ones are reduced


class SliceFrame(NamedTuple):
    """One slice of a grid: its number from 0, its rows and columns of voxels, and the size of its picture in pixels."""

    grid: Grid
    number: int
    rows: int
    columns: int
    height: int
    width: int


def count_slices(grid: Grid) -> int:
    """Count the grid's slices."""
    return int(grid.shape[slice_axis(grid)])


def make_frame(grid: Grid, number: int, side: int = MIN_SIDE_PIXELS) -> SliceFrame:
    """Make the frame of slice `number`, clipped to the grid, with `side` to MAX_SIDE_PIXELS on its longer side."""
    number = int(np.clip(number, 0, count_slices(grid) - 1))
    rows, columns = to_display_slices(_indices(grid, 0), grid).shape[1:3]
    a, b, c = (grid.to_mm(np.array(find_voxel(grid, number, *at))) for at in ((0, 0), (rows - 1, 0), (0, columns - 1)))
    tall, wide = (np.linalg.norm(e - a) / max(n - 1, 1) * n or 1.0 for e, n in ((b, rows), (c, columns)))
    longest = float(np.clip(max(rows, columns), side, max(MAX_SIDE_PIXELS, side)))
    height, width = (max(1, round(longest * mm / max(tall, wide))) for mm in (tall, wide))
    return SliceFrame(grid, number, rows, columns, height, width)


def find_voxel(grid: Grid, number: int, row: int, column: int) -> tuple[int, int, int]:
    """Find the voxel index (i, j, k) at a row and column of an upright slice."""
    i, j, k = (int(to_display_slices(_indices(grid, axis), grid)[number, row, column]) for axis in range(3))
    return i, j, k


def find_row_column(frame: SliceFrame, x: float, y: float) -> tuple[int, int]:
    """Find the row and column of the slice's voxel under pixel (x, y) of the picture."""
    row, column = int(y / frame.height * frame.rows), int(x / frame.width * frame.columns)
    return min(max(row, 0), frame.rows - 1), min(max(column, 0), frame.columns - 1)


def to_rgb(array: np.ndarray, window: Window | None) -> np.ndarray:
    """Convert (H, W) through the window, or colours (H, W, 3) as they are, to uint8 (H, W, 3)."""
    if array.ndim == 3:
        return array if array.dtype == np.uint8 else np.rint(np.clip(array, 0, 255)).astype(np.uint8)
    grey = colour.to_grey(array, window or colour.find_window(array))
    return np.repeat(grey[..., None], 3, axis=-1)


def resize_picture(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a picture (H, W, 3) uint8, bicubic with antialiasing."""
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((width, height), Image.Resampling.BICUBIC))


def draw_slice(array: np.ndarray, frame: SliceFrame, window: Window | None) -> np.ndarray:
    """Draw a slice's values as its picture, uint8 (height, width, 3)."""
    return resize_picture(to_rgb(array, window), frame.height, frame.width)


def _indices(grid: Grid, axis: int) -> np.ndarray:
    """(I, J, K) of every voxel's index along one axis, as a broadcast view."""
    along = np.arange(grid.shape[axis]).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.broadcast_to(along, grid.shape)
