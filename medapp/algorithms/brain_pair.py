"""Pair: two heads prepared for registration, skull-stripped, aligned and on one grid."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.conformed_space import make_conformed_grid, scale_intensity
from medapp.algorithms.contrast_matching import imitate_contrast, render_tissues
from medapp.algorithms.lesion_masks import place_lesion
from medapp.errors import InputError
from medapp.hardware import run_in_threads
from medapp.imaging.background import zero_background
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume

MIN_COMMON_REGIONS = 10  # regions in common below which their centroids are not matched
MIN_AGREEMENT = 0.25  # median Dice of the regions after the affine; pairs that fit have more than 0.4
MAX_LESIONED = 0.5  # share of a region in a lesion above which its centroid is not used
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
    `imitating` names the image, if any, that is shown in the contrast of the other.
    `fixed_ignored` and `moving_ignored`, (I, J, K) bool, are lesions that are not to be matched; None where there are
    none.
    """

    fixed: Volume
    moving: Volume
    fixed_regions: Volume
    moving_regions: Volume
    affine: np.ndarray
    imitating: str = ""
    fixed_ignored: np.ndarray | None = None
    moving_ignored: np.ndarray | None = None

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
    imitating: str = "",
    lesions: tuple[Volume | None, Volume | None] = (None, None),
) -> Pair:
    """Skull-strip both images, register them affinely, and resample both to the fixed image's conformed grid.

    The images, their regions (36 classes) and the masks of `lesions` in the fixed and the moving image may lie on any
    grids; nothing is compared in a lesion. `imitating` is "fixed" or "moving" where their contrasts differ and one is
    to be made like the other's; the affine is then found by their tissues. Raises InputError where there is no brain,
    or little but a lesion.
    """
    fixed, moving = zero_background(fixed), zero_background(moving)
    region_maps = [
        _require_brain(regions, image.name) for image, regions in ((fixed, fixed_regions), (moving, moving_regions))
    ]
    (target, target_regions), (source, source_regions) = run_in_threads(
        *(
            partial(skull_strip, image, regions, make_conformed_grid(regions), lesion)
            for image, regions, lesion in zip((fixed, moving), region_maps, lesions, strict=True)
        )
    )
    fixed_centroids, moving_centroids = (
        _drop_lesioned(find_centroids(regions), regions, lesion)
        for regions, lesion in zip(region_maps, lesions, strict=True)
    )
    start = match_centroids(moving_centroids, fixed_centroids)
    compared = (render_tissues(source_regions), render_tissues(target_regions)) if imitating else (source, target)
    affine = register_affine(*compared, device, progress, start, ignored=(lesions[1], lesions[0]))
    moving_lesion = lesions[1] and transform_header(lesions[1], affine)
    moved, moved_regions = skull_strip(
        transform_header(moving, affine), transform_header(region_maps[1], affine), target.grid, moving_lesion
    )
    if imitating == "moving":
        moved = imitate_contrast(moved, moved_regions, target, target_regions)
    elif imitating == "fixed":
        target = imitate_contrast(target, target_regions, moved, moved_regions)
    ignored = (
        place_lesion(lesion, regions, target.grid)
        for lesion, regions in ((lesions[0], target_regions), (moving_lesion, moved_regions))
    )
    return Pair(target, moved, target_regions, moved_regions, affine, imitating, *ignored)


def measure_agreement(pair: Pair) -> float:
    """Return the median Dice coefficient of the regions that both brains have, 0 where they have none in common.

    Unlike the overlap of the masks it tells a brain that lies upside down, and is not misled by what else was labelled.
    """
    fixed, moving = (np.asarray(regions.array) for regions in (pair.fixed_regions, pair.moving_regions))
    sizes = [np.bincount(classes.ravel(), minlength=len(CLASS_NAMES))[1:] for classes in (fixed, moving)]
    both = np.bincount(fixed[fixed == moving], minlength=len(CLASS_NAMES))[1:]
    common = np.minimum(*sizes) > 0
    return float(np.median(2 * both[common] / np.add(*sizes)[common])) if common.any() else 0.0


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


def _drop_lesioned(centroids: RegionCentroids, regions: Volume, lesion: Volume | None) -> RegionCentroids:
    """Return the centroids with those of regions that a lesion has displaced or taken counted as missing."""
    if lesion is None:
        return centroids
    inside = regions.array[resample(lesion, regions.grid).array > 0]
    lost, whole = (np.bincount(a, minlength=len(CLASS_NAMES))[1:, None] for a in (inside, regions.array.ravel()))
    return centroids._replace(ml=np.where(lost > MAX_LESIONED * whole, 0, centroids.ml))


def transform_header(moving: Volume, affine: np.ndarray) -> Volume:
    """Move a volume to the fixed space by `affine` (4, 4), which maps fixed to moving points, without resampling."""
    return moving.new_like(moving.array, affine=np.linalg.inv(affine) @ moving.affine)


def skull_strip(head: Volume, regions: Volume, grid: Grid, lesion: Volume | None = None) -> tuple[Volume, Volume]:
    """Return the brain alone on `grid`, of 1 mm, from 0 to 1, a `lesion` included, and its regions there."""
    regions_there = resample(regions, grid)
    image = resample(head, grid)
    labelled = regions_there.array > 0
    if lesion is not None:
        labelled |= resample(lesion, grid).array > 0
    array = scale_intensity(np.where(brain_mask(labelled), image.array, 0))
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
