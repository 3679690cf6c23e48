"""Orientation: the regions of a head, also of one that does not lie as its file says."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from nibabel.affines import from_matvec

from medapp.algorithms.brain_pair import MIN_COMMON_REGIONS, find_centroids
from medapp.algorithms.parcellation import REGION_NAMES as LABELS
from medapp.algorithms.parcellation import Parcellation, classify_voxels, make_working_grid, parcellate
from medapp.algorithms.template_regions import TEMPLATE_REGIONS
from medapp.imaging.background import zero_background
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.intensity import clip_bright, standardize
from medapp.imaging.volume import Grid, Volume

COARSE_SPACING = 1.5  # mm: the right orientation still shows nearly all regions, a wrong one few
MAX_VOLUME_RATIO = 3.0  # times the template's volume, or that part of it, in which a region's volume is plausible
ENOUGH_REGIONS = 21  # plausible regions of the 31 of the template; scans that lie as they say have 23 or more
MIN_GAIN = 6  # more plausible regions than as the file says, for another orientation to be taken
MIN_CORRELATION = 0.75  # correlation of the places of regions with the template's, from which they tell how a head lies
MIN_HEAD_SIZE = 100.0  # mm: what is smaller along any axis is no whole head, and is not turned
TURNED_WARNING = (
    "{name}: the head does not lie as the file's header says ({how}). It was turned for the computation; results lie "
    "on the file's own voxels. Left and right cannot be told from the image: check them, and mend the header."
)


class OrientedRegions(NamedTuple):
    """The regions on the input's grid; `affine` says where its voxels really lie, `turned` how it was turned, if so."""

    regions: Parcellation
    affine: np.ndarray
    plausible: int
    turned: str = ""

    def warnings(self, name: str) -> tuple[str, ...]:
        """What is to be said of the turn of the image of that name."""
        return (TURNED_WARNING.format(name=name, how=self.turned),) if self.turned else ()


def find_regions(net, head: Volume, *, progress: Callable[[float, str], None]) -> OrientedRegions:
    """The regions of a head; where few have a plausible size, all ways in which it may lie are tried.

    `net` and errors are those of `parcellate`. A head is turned only, never mirrored.
    """
    found = parcellate(net, head, progress=progress)
    plausible = count_plausible_regions(measure_region_volumes(found.labels))
    if plausible >= ENOUGH_REGIONS or min(np.array(head.shape) * head.spacing) < MIN_HEAD_SIZE:
        return OrientedRegions(found, head.affine, plausible)
    progress(0.5, "Looking how the head lies")
    scan, best, most = zero_background(head), None, 0
    start = _count_coarse_regions(net, scan)
    for turn in _axis_rotations():
        progress(0.5, "Looking how the head lies")
        count = _count_coarse_regions(net, scan.new_like(scan.array, affine=rotate_affine(scan.grid, turn)))
        if count > most:
            best, most = turn, count
        if count >= ENOUGH_REGIONS:
            break
    if best is None or most < start + MIN_GAIN:
        return OrientedRegions(found, head.affine, plausible)
    affine = rotate_affine(head.grid, best)
    again = parcellate(net, head.new_like(head.array, affine=affine), progress=progress)
    count = count_plausible_regions(measure_region_volumes(again.labels))
    if count < plausible + MIN_GAIN:
        return OrientedRegions(found, head.affine, plausible)
    back = Parcellation(*(replace(volume, affine=head.affine) for volume in again))
    return OrientedRegions(back, affine, count, describe_rotation(best))


def find_rotation(regions: Volume) -> np.ndarray:
    """(3, 3) that turns a head from how its file has it to how it lies, by where its regions are; one of 24.

    For regions (classes) that are already known, from anywhere. The unit matrix where too few are there to tell.
    """
    turn, share = _best_rotation(regions)
    return turn if share > MIN_CORRELATION else np.eye(3)


def has_head_layout(regions: Volume) -> bool:
    """Whether regions (classes) lie to each other as in the template, however turned; where few are there, True."""
    return _best_rotation(regions)[1] > MIN_CORRELATION


def _best_rotation(regions: Volume) -> tuple[np.ndarray, float]:
    """(3, 3) of 24 turns, and the correlation of the places of the regions with the template's; 1 if few are there."""
    found = find_centroids(regions)
    weight = np.sqrt(np.minimum(found.ml, TEMPLATE_REGIONS.ml)).ravel()
    there = weight > 0
    if there.sum() < MIN_COMMON_REGIONS:
        return np.eye(3), 1.0
    weight = weight[there] / weight[there].sum()
    ours = found.mm[there] - weight @ found.mm[there]
    theirs = TEMPLATE_REGIONS.mm[there] - weight @ TEMPLATE_REGIONS.mm[there]
    turn = max((np.eye(3), *_axis_rotations()), key=lambda each: float(weight @ (ours @ each.T * theirs).sum(1)))
    alike = weight @ (ours @ turn.T * theirs).sum(1)
    size = np.sqrt((weight @ (ours**2).sum(1)) * (weight @ (theirs**2).sum(1)))
    return turn, float(alike / size) if size > 0 else 0.0


def measure_region_volumes(labels: Volume) -> np.ndarray:
    """(35,) millilitres of the regions from 1."""
    return np.bincount(labels.array.ravel(), minlength=len(CLASS_NAMES))[1:] * labels.grid.voxel_ml


def count_plausible_regions(ml: np.ndarray) -> int:
    """How many of the template's regions have, in millilitres (35,), a volume WITHIN which a head's may lie."""
    usual = TEMPLATE_REGIONS.ml.ravel()
    return int(((ml > usual / MAX_VOLUME_RATIO) & (ml < usual * MAX_VOLUME_RATIO)).sum())


def parcellate_coarsely(net, head: Volume) -> tuple[Volume, Volume]:
    """A head on voxels of COARSE millimetres, and the regions there: sizes are nearly right, outlines are not."""
    grid = with_isotropic_spacing(make_working_grid(head), COARSE_SPACING)
    drawn = resample(head, grid, outside=float(head.array.min()))
    classes = classify_voxels(net, standardize(clip_bright(drawn.array)))
    return drawn, Volume(classes, grid.affine, labels=LABELS)


def _count_coarse_regions(net, head: Volume) -> int:
    return count_plausible_regions(measure_region_volumes(parcellate_coarsely(net, head)[1]))


def rotate_affine(grid: Grid, turn: np.ndarray) -> np.ndarray:
    """(4, 4): the grid's affine after a turn (3, 3) about the middle of its box, RAS+ millimetres."""
    middle = grid.to_mm((np.array(grid.shape) - 1) / 2)
    return from_matvec(turn, middle - turn @ middle) @ grid.affine


def _axis_rotations() -> Iterator[np.ndarray]:
    """The 23 ways to turn a box onto its axes, half turns and turns that keep the axis from left to right first."""
    every = []
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.linalg.det(turn) > 0:
                every.append(turn)
    rank = sorted(every, key=lambda turn: (-abs(np.diag(turn)).sum(), -abs(turn[0, 0]), -np.trace(turn)))
    yield from rank[1:]


def describe_rotation(turn: np.ndarray) -> str:
    """Where what the file calls the top and the front of the head really lies."""
    ends = ("right", "left"), ("front", "back"), ("top", "foot")
    said = []
    for axis, name in ((2, "top"), (1, "front")):
        to = int(np.abs(turn[:, axis]).argmax())
        end = ends[to][int(turn[to, axis] < 0)]
        if end != name:
            said.append(f"what it calls the {name} is the {end}")
    return ", ".join(said) or "it is turned"
