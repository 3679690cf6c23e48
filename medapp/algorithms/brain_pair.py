"""Pair: two heads made ready to be registered, and where everything lies."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.conformed_space import make_conformed_grid, scale_intensity
from medapp.errors import InputError
from medapp.hardware import run_in_threads
from medapp.imaging.background import zero_background
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume

MIN_COMMON_REGIONS = 10  # regions in common below which their centroids are not matched
MAX_STRETCH = 1.6  # singular value of the affine, or its inverse, above which the match is rejected
CLOSING_ITERATIONS = 4  # iterations on 1 mm voxels, of the labelled brain before it is cut out
DILATION_ITERATIONS = 2  # iterations after that


class RegionCentroids(NamedTuple):
    """Where the regions from 1 lie, (35, 3) in RAS+ millimetres, and how large they are, (35, 1) in millilitres."""

    mm: np.ndarray
    ml: np.ndarray


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


def prepare_pair(
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
    fixed, moving = zero_background(fixed), zero_background(moving)
    seen = [
        _require_brain(regions, image.name) for image, regions in ((fixed, fixed_regions), (moving, moving_regions))
    ]
    (target, there), (source, _) = run_in_threads(
        *(
            partial(skull_strip, image, regions, make_conformed_grid(regions))
            for image, regions in zip((fixed, moving), seen, strict=True)
        )
    )
    affine = register_affine(source, target, device, progress, match_centroids(*map(find_centroids, seen[::-1])))
    drawn, gone = skull_strip(transform_header(moving, affine), transform_header(seen[1], affine), target.grid)
    return Pair(target, drawn, there, gone, affine)


def match_centroids(moving: RegionCentroids, fixed: RegionCentroids) -> np.ndarray | None:
    """(4, 4) that sends the middles of the fixed regions to the moving ones as nearly as can be, RAS+ millimetres.

    None if they have too few regions in common, or if it would mirror the brain or stretch it beyond all measure.
    """
    weight = np.sqrt(np.minimum(fixed.ml, moving.ml)).ravel()
    common = weight > 0
    if common.sum() < MIN_COMMON_REGIONS:
        return None
    points = np.c_[fixed.mm, np.ones(len(weight))][common] * weight[common, None]
    affine = np.eye(4)
    affine[:3] = np.linalg.lstsq(points, moving.mm[common] * weight[common, None], rcond=None)[0].T
    stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
    usual = np.linalg.det(affine[:3, :3]) > 0 and stretch.max() < MAX_STRETCH and stretch.min() > 1 / MAX_STRETCH
    return affine if usual else None


def find_centroids(regions: Volume) -> RegionCentroids:
    index = np.argwhere(regions.array)
    classes = regions.array[tuple(index.T)]
    count = np.bincount(classes, minlength=len(CLASS_NAMES))[1:, None]
    total = [np.bincount(classes, index[:, axis], minlength=len(CLASS_NAMES))[1:] for axis in range(3)]
    return RegionCentroids(regions.grid.to_mm(np.stack(total, 1) / np.maximum(count, 1)), count * regions.grid.voxel_ml)


def transform_header(moving: Volume, affine: np.ndarray) -> Volume:
    """The same voxels where `affine` (4, 4), fixed to moving points in RAS+ millimetres, says that they belong."""
    return moving.new_like(moving.array, affine=np.linalg.inv(affine) @ moving.affine)


def skull_strip(head: Volume, regions: Volume, grid: Grid) -> tuple[Volume, Volume]:
    """The brain alone on `grid`, of 1 mm, from 0 to 1, and its regions there."""
    there = resample(regions, grid)
    image = resample(head, grid)
    array = scale_intensity(np.where(brain_mask(there.array > 0), image.array, 0))
    return image.new_like(array, unit="", headers=()), there


def brain_mask(labelled: np.ndarray) -> np.ndarray:
    """(I, J, K) bool of 1 mm: the labelled voxels, what lies between them, and a rim."""
    inside = labelled | ndimage.binary_closing(labelled, iterations=CLOSING_ITERATIONS)
    return ndimage.binary_dilation(ndimage.binary_fill_holes(inside), iterations=DILATION_ITERATIONS)


def _require_brain(regions: Volume, name: str) -> Volume:
    if not regions.array.any():
        raise InputError(f"No brain was found in the {name}.")
    return regions
