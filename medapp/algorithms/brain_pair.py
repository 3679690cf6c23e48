"""Pair: two heads prepared for registration, skull-stripped, aligned and on one grid."""

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
    """Centroids of the regions from 1, (35, 3) in RAS+ mm, and their volumes, (35, 1) in ml."""

    mm: np.ndarray
    ml: np.ndarray


@dataclass(frozen=True)
class Pair:
    """Both images skull-stripped, from 0 to 1, float32, and their regions, all on the fixed image's 1 mm grid.

    `affine` (4, 4) maps fixed to moving points, RAS+ mm; the moving image and its regions are resampled with it.
    """

    fixed: Volume
    moving: Volume
    fixed_regions: Volume
    moving_regions: Volume
    affine: np.ndarray

    @property
    def grid(self) -> Grid:
        """The grid on which everything lies."""
        return self.fixed.grid


def prepare_pair(
    fixed: Volume,
    moving: Volume,
    fixed_regions: Volume,
    moving_regions: Volume,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
) -> Pair:
    """Skull-strip both images, register them affinely, and resample both to the fixed image's conformed grid.

    The images and their regions (36 classes) may lie on any grids. Raises InputError where there is no brain.
    """
    fixed, moving = zero_background(fixed), zero_background(moving)
    region_maps = [
        _require_brain(regions, image.name) for image, regions in ((fixed, fixed_regions), (moving, moving_regions))
    ]
    (target, target_regions), (source, _) = run_in_threads(
        *(
            partial(skull_strip, image, regions, make_conformed_grid(regions))
            for image, regions in zip((fixed, moving), region_maps, strict=True)
        )
    )
    affine = register_affine(source, target, device, progress, match_centroids(*map(find_centroids, region_maps[::-1])))
    moved, moved_regions = skull_strip(
        transform_header(moving, affine), transform_header(region_maps[1], affine), target.grid
    )
    return Pair(target, moved, target_regions, moved_regions, affine)


def match_centroids(moving: RegionCentroids, fixed: RegionCentroids) -> np.ndarray | None:
    """Fit the affine (4, 4) that maps the fixed centroids to the moving ones, RAS+ mm, by weighted least squares.

    None if they have too few regions in common, or if it mirrors the brain or stretches it by more than MAX_STRETCH.
    """
    weight = np.sqrt(np.minimum(fixed.ml, moving.ml)).ravel()
    common = weight > 0
    if common.sum() < MIN_COMMON_REGIONS:
        return None
    points = np.c_[fixed.mm, np.ones(len(weight))][common] * weight[common, None]
    affine = np.eye(4)
    affine[:3] = np.linalg.lstsq(points, moving.mm[common] * weight[common, None], rcond=None)[0].T
    stretch = np.linalg.svd(affine[:3, :3], compute_uv=False)
    plausible = np.linalg.det(affine[:3, :3]) > 0 and stretch.max() < MAX_STRETCH and stretch.min() > 1 / MAX_STRETCH
    return affine if plausible else None


def find_centroids(regions: Volume) -> RegionCentroids:
    """Measure where the regions (classes) of a label map lie and how large they are."""
    index = np.argwhere(regions.array)
    classes = regions.array[tuple(index.T)]
    count = np.bincount(classes, minlength=len(CLASS_NAMES))[1:, None]
    total = [np.bincount(classes, index[:, axis], minlength=len(CLASS_NAMES))[1:] for axis in range(3)]
    return RegionCentroids(regions.grid.to_mm(np.stack(total, 1) / np.maximum(count, 1)), count * regions.grid.voxel_ml)


def transform_header(moving: Volume, affine: np.ndarray) -> Volume:
    """Move a volume to the fixed space by `affine` (4, 4), which maps fixed to moving points, without resampling."""
    return moving.new_like(moving.array, affine=np.linalg.inv(affine) @ moving.affine)


def skull_strip(head: Volume, regions: Volume, grid: Grid) -> tuple[Volume, Volume]:
    """Return the brain alone on `grid`, of 1 mm, from 0 to 1, and its regions there."""
    regions_there = resample(regions, grid)
    image = resample(head, grid)
    array = scale_intensity(np.where(brain_mask(regions_there.array > 0), image.array, 0))
    return image.new_like(array, unit="", headers=()), regions_there


def brain_mask(labelled: np.ndarray) -> np.ndarray:
    """Return (I, J, K) bool on 1 mm voxels: the labelled voxels closed, filled and dilated."""
    return ndimage.binary_dilation(_enclose(labelled), iterations=DILATION_ITERATIONS)


def outline_brain(regions: Volume, onto: Grid) -> Volume:
    """Return the brain for display, 1 inside, on another grid: the regions (labels) closed and filled."""
    shares = resample(regions.new_like(_enclose(regions.array > 0).astype(np.float32), labels={}), onto)
    return shares.new_like((shares.array >= 0.5).astype(np.uint8), labels={1: "brain"}, name="brain", headers=())


def _enclose(labelled: np.ndarray) -> np.ndarray:
    closed = labelled | ndimage.binary_closing(labelled, iterations=CLOSING_ITERATIONS)
    return ndimage.binary_fill_holes(closed)


def _require_brain(regions: Volume, name: str) -> Volume:
    """Return the regions. Raises InputError if there are none in the image of that `name`."""
    if not regions.array.any():
        raise InputError(f"No brain was found in the {name}.")
    return regions
