"""An image's own slices as pictures, and points from the picture back to voxels."""

import numpy as np
import pytest
from nibabel.affines import from_matvec

from medapp.imaging.geometry import to_display_slices
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import slices
from medapp.rendering.colour import Window

GRIDS = {
    "RAS": Grid((10, 12, 4), from_matvec(np.diag([2.0, 2.0, 5.0]), (-10, -12, -10))),
    "mirrored": Grid((10, 12, 4), from_matvec(np.diag([-2.0, 2.0, 5.0]), (10, -12, -10))),
    "coronal": Grid((10, 3, 12), from_matvec(np.diag([1.0, 6.0, 1.0]), (0, 0, 0))),
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_voxel_is_found_again_under_its_pixel(name):
    grid = GRIDS[name]
    volume = Volume(np.arange(np.prod(grid.shape), dtype=np.float32).reshape(grid.shape), grid.affine)
    frame = slices.make_frame(grid, 1)
    assert slices.count_slices(grid) == min(grid.shape)
    for row, column in ((0, 0), (3, 5), (frame.rows - 1, frame.columns - 1)):
        index = slices.find_voxel(grid, 1, row, column)
        assert volume.array[index] == to_display_slices(volume.array, grid)[1][row, column]
        x, y = (column + 0.5) / frame.columns * frame.width, (row + 0.5) / frame.rows * frame.height
        assert slices.find_row_column(frame, x, y) == (row, column)


def test_pictures_have_the_size_of_their_frame():
    grid = GRIDS["RAS"]
    frame = slices.make_frame(grid, 99)
    assert frame.number == 3 and max(frame.height, frame.width) == slices.MIN_SIDE_PIXELS
    picture = slices.draw_slice(np.eye(12, 10, dtype=np.float32), frame, Window(0, 1))
    assert picture.shape == (frame.height, frame.width, 3) and picture.dtype == np.uint8
