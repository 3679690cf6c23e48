"""A box on an oblique grid, the same displacement everywhere in it, and a slice through its middle."""

import numpy as np

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid
from medapp.rendering.slice_grids import make_slice_grid

TILT = np.array([[-1.9, 0.1, 0.2, 40], [0.12, 1.8, -0.3, -40], [-0.05, 0.15, 2.4, -40], [0, 0, 0, 1]])
BOX = Grid((44, 46, 36), TILT)
MIDDLE = BOX.to_mm((np.array(BOX.shape) - 1) / 2)


def shifted(*mm: float) -> Deformation:
    return Deformation(np.zeros((3, *BOX.shape), np.float32) + np.float32(mm)[:, None, None, None], TILT)


def cut(plane="axial") -> tuple[Grid, np.ndarray]:
    onto = make_slice_grid(BOX, plane, MIDDLE, pixel=0.5)
    return onto, np.full((*onto.shape[:2], 3), 40, np.uint8)
