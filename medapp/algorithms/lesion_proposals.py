"""Lesion proposals: what a click may mean, as regions of several sizes, to be added to a mask or taken away from it.

A region is what joins the click at a falling level of a score: how far the image is from its surroundings towards the
brightness of the click, and where the network saw something, how far its probability is from 0 towards that of the
click; the mean of both. Of the levels those are offered at which the edge of the region is sharpest. Further clicks
do the same beside the region that is shown, or within it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.algorithms.click_crops import SEEN, Clicked, Crop, cut_crop, find_near, mark_click, read_image
from medapp.algorithms.seeded_growth import NEIGHBOURS, cut_region, find_joining_levels
from medapp.analysis.mask_metrics import find_bounding_box, label_components
from medapp.imaging.geometry import crop_grid
from medapp.imaging.volume import Volume

REACHES_MM = (12.0, 36.0)  # around the clicks: two crops, the second for large lesions
MAX_ML = 150.0
MAX_OFFERED = 6
LEAST_RATIO = 1.25  # between the sizes of two that are offered
LEVELS = np.linspace(0.9, 0.2, 15)  # of the score, which is 1 at the click
QUANTILES = np.linspace(0.05, 0.95, 15)  # of the voxels of a piece of the mask, from those most like the click
LARGER = 0.05  # power of the size by which of two that are as sharp the larger is shown first
LEAST_EDGE = 0.5  # in spreads of the tissue around, below which nothing stands out
NOTHING_MESSAGE = (
    "Nothing stands out from its surroundings at that spot. Click on the middle of the lesion, or paint it."
)
OUTSIDE_MESSAGE = "That spot lies outside the brain: nothing can be added there."
NO_PIECE_MESSAGE = "The mask has no piece at that spot that could be taken away."


class Click(NamedTuple):
    """A place in RAS+ mm (3,), and whether what is there is meant."""

    mm: np.ndarray
    is_wanted: bool


class Region(NamedTuple):
    """Voxels of a grid: the index where a box begins, and which of its voxels, (I, J, K) bool.

    `edge` is the mean step of the image across its border.
    """

    lower: np.ndarray
    voxels: np.ndarray
    edge: float

    @property
    def size(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.voxels))

    @property
    def box(self) -> tuple[slice, ...]:
        """Where it lies in an array of the whole grid."""
        return tuple(slice(int(a), int(a) + n) for a, n in zip(self.lower, self.voxels.shape, strict=True))

    @property
    def merit(self) -> float:
        """By which one is shown before another."""
        return self.edge * self.size**LARGER


class Proposals(NamedTuple):
    """Regions by size, the smallest first, and the number of the one to be shown first; or why there are none."""

    regions: list[Region]
    first: int = 0
    message: str = ""


def propose_addition(clicked: Clicked, mm: np.ndarray) -> Proposals:
    """Return regions beside the mask that a click at `mm` (3,), RAS+, may mean.

    None lies outside the brain, and none is larger than MAX_ML.
    """
    found: list[Region] = []
    for reach in REACHES_MM:
        crop = cut_crop(clicked, mm, reach)
        domain = crop.tissue & ~crop.mask
        if not (domain & crop.seeds).any():
            return Proposals([], message=OUTSIDE_MESSAGE)
        found += _grow(crop, _score_likeness(crop, domain), LEVELS, domain)
    regions = _choose(found)
    if not regions or (not _has_seen(crop) and _find_largest_edge(regions) < LEAST_EDGE * _measure_spread(crop)):
        return Proposals([], message=NOTHING_MESSAGE)
    return Proposals(regions, _find_best(regions))


def propose_removal(clicked: Clicked, mm: np.ndarray) -> Proposals:
    """Return pieces of the mask that a click at `mm` (3,), RAS+, may mean: the connected one, and parts of it.

    The connected piece is to be shown first, unless it is the largest of several or larger than MAX_ML.
    """
    grid = clicked.image.grid
    labels, count = label_components(clicked.mask)
    numbers = np.setdiff1d(labels[tuple(find_near(grid, mm).T)], 0)
    if not len(numbers):
        return Proposals([], message=NO_PIECE_MESSAGE)
    piece = np.isin(labels, numbers)
    regions, box = _find_parts(clicked, mm, piece), find_bounding_box(piece)
    whole = Region(np.array([side.start for side in box]), piece[box], 0.0)
    if whole.size * grid.voxel_ml > MAX_ML:
        return Proposals(regions, _find_best(regions)) if regions else Proposals([], message=NO_PIECE_MESSAGE)
    regions = [each for each in regions if each.size * LEAST_RATIO <= whole.size][: MAX_OFFERED - 1]
    is_whole_meant = count == 1 or numbers.min() > 1 or not regions
    return Proposals([*regions, whole], len(regions) if is_whole_meant else _find_best(regions))


def refine_proposal(clicked: Clicked, clicks: Sequence[Click], shown: np.ndarray, *, removes: bool) -> Proposals:
    """Return regions like the one that was shown, (I, J, K) bool, with what the last click adds or without it.

    `removes`: that region is to be taken away from the mask, else added to it. All clicks before are kept to.
    """
    last = clicks[-1]
    if last.is_wanted:
        if removes:
            more = propose_removal(replace(clicked, mask=clicked.mask & ~shown), last.mm)
        else:
            more = propose_addition(replace(clicked, mask=clicked.mask | shown), last.mm)
        return _combine(shown, more, lambda region: shown | region)
    cut = _cut_apart(clicked.image, clicks, shown)
    parts = [cut, *_find_parts(clicked, last.mm, shown)]
    others = [tuple(find_near(clicked.image.grid, click.mm).T) for click in clicks[:-1] if click.is_wanted]
    less = [part for part in parts if part.size and not any(_paint(part, shown.shape)[other].any() for other in others)]
    less.sort(key=lambda part: -part.size)
    first = next((number for number, part in enumerate(less) if part is cut), 0)
    return _combine(shown, Proposals(less, first), lambda region: shown & ~region)


def _combine(shown: np.ndarray, changes: Proposals, combine: Callable[[np.ndarray], np.ndarray]) -> Proposals:
    """Return what a region becomes by each of the changes."""
    if not changes.regions:
        return changes
    regions = []
    for change in changes.regions:
        changed = combine(_paint(change, shown.shape))
        box = find_bounding_box(changed)
        regions.append(Region(np.array([side.start or 0 for side in box]), changed[box], change.edge))
    return changes._replace(regions=regions)


def _paint(region: Region, shape: tuple[int, ...]) -> np.ndarray:
    painted = np.zeros(shape, bool)
    painted[region.box] = region.voxels
    return painted


def _score_likeness(crop: Crop, domain: np.ndarray) -> np.ndarray:
    """Return a score that is 1 at the click, and falls to 0 where nothing is like it."""
    seeds = crop.seeds & domain
    around = crop.image[domain & ~seeds]
    here = float(np.median(crop.image[seeds]))
    there = float(np.median(around)) if around.size else here
    rise = (crop.image - there) * (1 if here >= there else -1)
    top = max(float(rise[seeds].max()), 1e-6)
    score = np.clip(rise / top, 0, 1)
    if crop.probability is not None and (peak := float(crop.probability[seeds].max())) >= SEEN:
        seen = np.clip(crop.probability / peak, 0, 1)
        score = (score + seen) / 2 if abs(here - there) >= LEAST_EDGE * _measure_spread(crop) else seen
    return score / max(float(score[seeds].max()), 1e-6)


def _find_parts(clicked: Clicked, mm: np.ndarray, piece: np.ndarray) -> list[Region]:
    """Return parts of a piece, (I, J, K) bool, that are like the click in the image or to the network."""
    found: list[Region] = []
    for reach in REACHES_MM:
        crop = cut_crop(clicked, mm, reach)
        domain = piece[crop.part]
        seeds = crop.seeds & domain
        if not seeds.any():
            continue
        scores = [-np.abs(crop.image - float(np.median(crop.image[seeds])))]
        scores += [] if crop.probability is None else [-crop.probability]
        for score in scores:
            levels = np.quantile(score[domain], 1 - QUANTILES)
            found += _grow(crop, np.minimum(score, score[seeds].max()), levels, domain)
    return _choose(found)


def _cut_apart(image: Volume, clicks: Sequence[Click], shown: np.ndarray) -> Region:
    """Return the part of a region that lies nearer to its last click than to the wanted ones, by the image."""
    box, grid = find_bounding_box(shown), image.grid
    lower, upper = (np.array([getattr(side, end) for side in box]) for end in ("start", "stop"))
    read, region = crop_grid(grid, lower, upper), shown[box]
    wanted = np.logical_or.reduce([mark_click(click.mm, read, grid) for click in clicks if click.is_wanted])
    unwanted = np.logical_or.reduce([mark_click(click.mm, read, grid) for click in clicks if not click.is_wanted])
    kept = cut_region(region, wanted & ~unwanted, unwanted & ~wanted, read_image(image, box), grid.spacing)
    return Region(lower, region & ~kept, 0.0)


def _grow(crop: Crop, score: np.ndarray, levels: np.ndarray, domain: np.ndarray) -> Iterator[Region]:
    """Yield what joins the click at each level, as long as it ends within the crop."""
    joined = find_joining_levels(score, crop.seeds, domain)
    largest, size = MAX_ML / crop.grid.voxel_ml, 1.0
    for level in levels:
        region = joined >= level
        count = np.count_nonzero(region)
        if count > largest or crop.touches_border(region):
            return
        if count > size:
            size = 1.1 * count
            yield _measure(crop, region, domain)


def _measure(crop: Crop, region: np.ndarray, domain: np.ndarray) -> Region:
    """Return the region of the crop on the whole grid, with its edge."""
    box = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in find_bounding_box(region))
    part, image = region[box], crop.image[box]
    outer = ndimage.binary_dilation(part, NEIGHBOURS) & ~part & domain[box]
    inner = ndimage.binary_dilation(outer, NEIGHBOURS) & part
    edge = abs(float(image[inner].mean() - image[outer].mean())) if inner.any() else 0.0
    lower = crop.lower + np.array([s.start for s in box]) * crop.step
    for axis, step in enumerate(crop.step):
        part = np.repeat(part, step, axis)
    size = np.minimum(part.shape, crop.upper - lower)
    return Region(lower, part[tuple(slice(n) for n in size)], edge)


def _choose(found: list[Region]) -> list[Region]:
    """Return the best of the regions, all of other sizes, the smallest first."""
    chosen: list[Region] = []
    for region in sorted(found, key=lambda each: -each.merit):
        pairs = [sorted((other.size, region.size)) for other in chosen]
        if len(chosen) < MAX_OFFERED and region.size > 1 and all(large > LEAST_RATIO * small for small, large in pairs):
            chosen.append(region)
    return sorted(chosen, key=lambda each: each.size)


def _find_best(regions: list[Region]) -> int:
    return max(range(len(regions)), key=lambda number: regions[number].merit)


def _has_seen(crop: Crop) -> bool:
    """Whether the network has seen something at the click."""
    return crop.probability is not None and bool((crop.probability[crop.seeds] >= SEEN).any())


def _find_largest_edge(regions: list[Region]) -> float:
    return max(region.edge for region in regions)


def _measure_spread(crop: Crop) -> float:
    """Return how far apart the values of the tissue lie: their standard deviation, were they distributed normally."""
    low, high = np.percentile(crop.image[crop.tissue], (25, 75))
    return float(high - low) / 1.349
