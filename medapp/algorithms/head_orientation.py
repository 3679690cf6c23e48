"""Orientation: the regions of a head, also of one that does not lie as its file says."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from nibabel.affines import from_matvec

from medapp.algorithms.brain_pair import FEWEST, middles
from medapp.algorithms.parcellation import REGIONS as LABELS
from medapp.algorithms.parcellation import Parcellation, likeliest, parcellate, working_grid
from medapp.algorithms.template_regions import REGIONS
from medapp.imaging.background import zero_background
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.intensity import clip_bright, standardize
from medapp.imaging.volume import Grid, Volume

COARSE = 1.5  # mm, at which orientations are compared: a right one still shows nearly all regions, a wrong one few
WITHIN = 3.0  # times the template's volume, or that part of it, in which a region's volume is plausible
ENOUGH = 21  # plausible regions of the 31 of the template; scans that lie as they say have 23 or more
BETTER = 6  # more plausible regions than as the file says, for another orientation to be taken
ALIKE = 0.75  # correlation of the places of regions with the template's, from which they tell how a head lies
WIDE = 100.0  # mm: what is smaller along any axis is no whole head, and is not turned
TURNED = (
    "{name}: the head does not lie as the file's header says ({how}). It was turned for the computation; results lie "
    "on the file's own voxels. Left and right cannot be told from the image: check them, and mend the header."
)


class Found(NamedTuple):
    """The regions on the input's grid; `affine` says where its voxels really lie, `turned` how it was turned, if so."""

    regions: Parcellation
    affine: np.ndarray
    plausible: int
    turned: str = ""

    def warnings(self, name: str) -> tuple[str, ...]:
        """What is to be said of the turn of the image of that name."""
        return (TURNED.format(name=name, how=self.turned),) if self.turned else ()


def find_regions(net, head: Volume, *, progress: Callable[[float, str], None]) -> Found:
    """The regions of a head; where few have a plausible size, all ways in which it may lie are tried.

    `net` and errors are those of `parcellate`. A head is turned only, never mirrored.
    """
    found = parcellate(net, head, progress=progress)
    plausible = count_plausible(region_volumes(found.labels))
    if plausible >= ENOUGH or min(np.array(head.shape) * head.spacing) < WIDE:
        return Found(found, head.affine, plausible)
    progress(0.5, "Looking how the head lies")
    scan, best, most = zero_background(head), None, 0
    start = _coarse_plausible(net, scan)
    for turn in _turns():
        progress(0.5, "Looking how the head lies")
        count = _coarse_plausible(net, scan.new_like(scan.array, affine=turned(scan.grid, turn)))
        if count > most:
            best, most = turn, count
        if count >= ENOUGH:
            break
    if best is None or most < start + BETTER:
        return Found(found, head.affine, plausible)
    affine = turned(head.grid, best)
    again = parcellate(net, head.new_like(head.array, affine=affine), progress=progress)
    count = count_plausible(region_volumes(again.labels))
    if count < plausible + BETTER:
        return Found(found, head.affine, plausible)
    back = Parcellation(*(replace(volume, affine=head.affine) for volume in again))
    return Found(back, affine, count, describe_turn(best))


def find_turn(regions: Volume) -> np.ndarray:
    """(3, 3) that turns a head from how its file has it to how it lies, by where its regions are; one of 24.

    For regions (classes) that are already known, from anywhere. The unit matrix where too few are there to tell.
    """
    turn, share = _likest_turn(regions)
    return turn if share > ALIKE else np.eye(3)


def lies_as_head(regions: Volume) -> bool:
    """Whether regions (classes) lie to each other as in the template, however turned; where few are there, True."""
    return _likest_turn(regions)[1] > ALIKE


def _likest_turn(regions: Volume) -> tuple[np.ndarray, float]:
    """(3, 3) of 24 turns, and the correlation of the places of the regions with the template's; 1 if few are there."""
    found = middles(regions)
    weight = np.sqrt(np.minimum(found.ml, REGIONS.ml)).ravel()
    there = weight > 0
    if there.sum() < FEWEST:
        return np.eye(3), 1.0
    weight = weight[there] / weight[there].sum()
    ours, theirs = found.mm[there] - weight @ found.mm[there], REGIONS.mm[there] - weight @ REGIONS.mm[there]
    turn = max((np.eye(3), *_turns()), key=lambda each: float(weight @ (ours @ each.T * theirs).sum(1)))
    alike = weight @ (ours @ turn.T * theirs).sum(1)
    size = np.sqrt((weight @ (ours**2).sum(1)) * (weight @ (theirs**2).sum(1)))
    return turn, float(alike / size) if size > 0 else 0.0


def region_volumes(labels: Volume) -> np.ndarray:
    """(35,) millilitres of the regions from 1."""
    return np.bincount(labels.array.ravel(), minlength=len(CLASS_NAMES))[1:] * labels.grid.voxel_ml


def count_plausible(ml: np.ndarray) -> int:
    """How many of the template's regions have, in millilitres (35,), a volume WITHIN which a head's may lie."""
    usual = REGIONS.ml.ravel()
    return int(((ml > usual / WITHIN) & (ml < usual * WITHIN)).sum())


def look_coarsely(net, head: Volume) -> tuple[Volume, Volume]:
    """A head on voxels of COARSE millimetres, and the regions there: sizes are nearly right, outlines are not."""
    grid = with_isotropic_spacing(working_grid(head), COARSE)
    drawn = resample(head, grid, outside=float(head.array.min()))
    classes = likeliest(net, standardize(clip_bright(drawn.array)))
    return drawn, Volume(classes, grid.affine, labels=LABELS)


def _coarse_plausible(net, head: Volume) -> int:
    return count_plausible(region_volumes(look_coarsely(net, head)[1]))


def turned(grid: Grid, turn: np.ndarray) -> np.ndarray:
    """(4, 4): the grid's affine after a turn (3, 3) about the middle of its box, RAS+ millimetres."""
    middle = grid.to_mm((np.array(grid.shape) - 1) / 2)
    return from_matvec(turn, middle - turn @ middle) @ grid.affine


def _turns() -> Iterator[np.ndarray]:
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


def describe_turn(turn: np.ndarray) -> str:
    """Where what the file calls the top and the front of the head really lies."""
    ends = ("right", "left"), ("front", "back"), ("top", "foot")
    said = []
    for axis, name in ((2, "top"), (1, "front")):
        to = int(np.abs(turn[:, axis]).argmax())
        end = ends[to][int(turn[to, axis] < 0)]
        if end != name:
            said.append(f"what it calls the {name} is the {end}")
    return ", ".join(said) or "it is turned"
