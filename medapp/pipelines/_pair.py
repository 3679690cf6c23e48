"""Pair: two heads made ready to be registered, and where everything lies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import ndimage

from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.machine import together
from medapp.pipelines._affine import align
from medapp.pipelines._conform import conformed, scaled

CLOSED, GROWN = 4, 2  # mm: by how much the labelled brain is closed, and then grown, before it is cut out


@dataclass(frozen=True)
class Pair:
    """Both images without skull, from 0 to 1, float32, and their regions, all on the fixed image's 1 mm grid.

    `affine` (4, 4) sends fixed to moving points, RAS+ millimetres; the moving image and its regions are drawn with it.
    """

    fixed: Volume
    moving: Volume
    fixed_regions: Volume
    moving_regions: Volume
    affine: np.ndarray

    @property
    def grid(self) -> Grid:
        return self.fixed.grid


def prepare(
    fixed: Volume,
    moving: Volume,
    fixed_regions: Volume,
    moving_regions: Volume,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> Pair:
    """Cut out the brains, align them with twelve parameters, and draw both on the fixed image's conformed grid.

    The images and their regions (36 classes) may lie on any grids. Raises InputError where there is no brain.
    """
    seen = [_checked(regions, image.name) for image, regions in ((fixed, fixed_regions), (moving, moving_regions))]
    (target, there), (source, _) = together(
        *(
            partial(bare, image, regions, conformed(regions))
            for image, regions in zip((fixed, moving), seen, strict=True)
        )
    )
    affine = align(source, target, device, progress)
    drawn, gone = bare(placed(moving, affine), placed(seen[1], affine), target.grid)
    return Pair(target, drawn, there, gone, affine)


def placed(moving: Volume, affine: np.ndarray) -> Volume:
    """The same voxels where `affine` (4, 4), fixed to moving points in RAS+ millimetres, says that they belong."""
    return moving.like(moving.array, affine=np.linalg.inv(affine) @ moving.affine)


def bare(head: Volume, regions: Volume, grid: Grid) -> tuple[Volume, Volume]:
    """The brain alone on `grid`, of 1 mm, from 0 to 1, and its regions there."""
    there = resample(regions, grid)
    image = resample(head, grid)
    array = scaled(np.where(_brain(there.array > 0), image.array, 0))
    return image.like(array, unit="", headers=()), there


def _brain(labelled: np.ndarray) -> np.ndarray:
    """(I, J, K) bool of 1 mm: the labelled voxels, what lies between them, and a rim."""
    inside = labelled | ndimage.binary_closing(labelled, iterations=CLOSED)
    return ndimage.binary_dilation(ndimage.binary_fill_holes(inside), iterations=GROWN)


def _checked(regions: Volume, name: str) -> Volume:
    if not regions.array.any():
        raise InputError(f"No brain was found in the {name}.")
    return regions
