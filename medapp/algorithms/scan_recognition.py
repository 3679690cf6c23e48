"""Scan recognition: which sequence of a head an image shows, or that it shows none, from its voxels alone.

A small network (`networks/scan_classifier.py`), trained by `training/methods/scan_classifier.py`, looks at measures of
the head on 4 mm voxels. What it is not sure of gets no name: MIN_CERTAINTY is chosen on validation patients, so that
fewer than 1 in 50 is named wrongly.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from medapp.imaging.background import zero_background
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.scan_kinds import CT, PD, PET, SEQUENCES, T1, T1_CONTRAST, T2
from medapp.imaging.volume import Volume

NO_HEAD = "no head"
KINDS = (*SEQUENCES, CT, PET, NO_HEAD)  # the network's classes, in their order
UNIONS = ((T1, T1_CONTRAST), (T2, PD), (CT, NO_HEAD))  # kinds that may be told together where they are not told apart
MIN_CERTAINTY = 0.9  # probability from which a kind is named
MAX_ODDNESS = 1.4  # above which a head is too unlike those trained on to be named
SPACING = 4.0  # mm
BOX = (48, 56, 48)  # voxels of SPACING: right to left, back to front, foot to head
ABOVE = 4  # voxels of the box above the head
HEAD_SHARE = 0.35
UPPER_SLICES = 30  # of SPACING below the top, by which the box is centred
MIN_AREA = 0.05  # of the largest slice's, with which a slice is of the head
MAX_LEVEL = 4.0  # in units of the median of the head
MAX_VOXELS = 20_000_000  # of SPACING; no scan of a head has so many
MIN_PIECE = 0.05  # of the largest piece of the head
MIN_VOXELS = 30  # of which quantiles are taken
DEPTHS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 30)  # borders of shells below the surface, voxels
CORE_DEPTH, MIDDLE_DEPTH = 5, 9  # voxels below the surface
CORE_QUANTILES = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)
CELLS = (4, 5, 4)  # of the box
MEASURES = 5 * (len(DEPTHS) - 1) + 2 * len(CORE_QUANTILES) + 4 + 3 * CELLS[0] // 2 * CELLS[1] * CELLS[2]
MIN_SLICES = 4  # across which too little of a head is seen


class Recognition(NamedTuple):
    """The kinds that an image is taken for, none if that is not certain, more than one of UNIONS; their probability."""

    kinds: tuple[str, ...] = ()
    certainty: float = 0.0


class Evidence(NamedTuple):
    """The probability of each of KINDS, (len(KINDS),), and how unlike all that was trained on a scan is, 1 if usual."""

    probabilities: np.ndarray
    oddness: float


def recognize_scan(net, volume: Volume) -> Recognition:
    """Tell which of KINDS a volume (I, J, K) shows; nothing of one in colour, constant, immense, or of a few slices.

    `net` is a `ScanClassifier` of MEASURES, see `measure_head`, and KINDS.
    """
    coarse_voxels = np.prod(np.multiply(volume.shape, volume.spacing) / SPACING)
    if volume.is_colour or min(volume.shape) < MIN_SLICES or coarse_voxels > MAX_VOXELS:
        return Recognition()
    return name_kinds(measure_kinds(net, volume))


def measure_kinds(net, volume: Volume) -> Evidence:
    """Return how likely each of KINDS is for a grey volume (I, J, K), 0 for all of a constant one."""
    coarse = reduce_scan(volume)
    if coarse.array.min() == coarse.array.max():
        return Evidence(np.zeros(len(KINDS)), 0.0)
    measures = torch.from_numpy(measure_head(*frame_head(coarse.array)))[None]
    with torch.inference_mode():
        return Evidence(net(measures)[0].softmax(0).numpy(), float(net.measure_oddness(measures)))


def name_kinds(evidence: Evidence, least: float = MIN_CERTAINTY) -> Recognition:
    """Name the kind, or the union of kinds, whose probability is at least `least`; no head that is odd."""
    share = dict(zip(KINDS, evidence.probabilities.tolist(), strict=True))
    best = max(share, key=lambda kind: share[kind])
    union = max(UNIONS, key=lambda kinds: sum(share[kind] for kind in kinds))
    for kinds in ((best,), union):
        certainty = sum(share[kind] for kind in kinds)
        if certainty >= least:
            is_odd = evidence.oddness > MAX_ODDNESS and NO_HEAD not in kinds
            return Recognition(() if is_odd else kinds, certainty)
    return Recognition((), share[best])


def reduce_scan(volume: Volume) -> Volume:
    """Return the volume in voxels of SPACING along RAS, its background 0; float32."""
    factors = np.maximum(1, np.floor(SPACING / volume.spacing + 1e-3).astype(int))
    factors = np.minimum(factors, volume.shape)
    array = volume.array
    for axis, factor in enumerate(factors):  # every other voxel is enough for a mean
        array = array[(slice(None),) * axis + (slice(0, volume.shape[axis] // factor * factor),)]
    kept = [factor // 2 if factor % 2 == 0 and factor >= 4 else factor for factor in factors]
    array = array[tuple(slice(0, None, factor // keep) for factor, keep in zip(factors, kept, strict=True))]
    blocks = [n for size, keep in zip(array.shape, kept, strict=True) for n in (size // keep, keep)]
    means = array.reshape(blocks).mean((1, 3, 5), dtype=np.float32)
    to_block = np.diag([*factors.astype(float), 1.0])
    to_block[:3, 3] = [(keep - 1) / 2 * (factor // keep) for factor, keep in zip(factors, kept, strict=True)]
    small = Volume(means, volume.affine @ to_block)
    small = zero_background(small)
    return resample(small, with_isotropic_spacing(reorient(small.grid), SPACING), outside=float(small.array.min()))


def frame_head(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return BOX voxels with the top of the head of (X, Y, Z) in them, float32, and where the head is, bool.

    The head is what is brighter than a share of the mean of what is brighter than the mean, without small pieces; its
    median becomes 1, the darkest 0.
    """
    low = np.percentile(array, 0.5)
    level = np.minimum(array, np.percentile(array, 99)) - low
    head = level > HEAD_SHARE * level[level >= level.mean()].mean()
    pieces, count = ndimage.label(head)
    if count > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        head = (sizes >= MIN_PIECE * sizes.max())[pieces] & head
    if not head.any():
        head = np.ones_like(head)
    areas = head.sum((0, 1))
    top = int(np.flatnonzero(areas > MIN_AREA * areas.max())[-1])
    upper = head[:, :, max(0, top - UPPER_SLICES) : top + 1]
    centre = [np.average(np.arange(upper.shape[axis]), weights=upper.sum((1 - axis, 2))) for axis in (0, 1)]
    start = [round(centre[0]) - BOX[0] // 2, round(centre[1]) - BOX[1] // 2, top + ABOVE + 1 - BOX[2]]
    here = tuple(slice(max(0, s), min(n, s + size)) for s, n, size in zip(start, array.shape, BOX, strict=True))
    there = tuple(slice(h.start - s, h.stop - s) for h, s in zip(here, start, strict=True))
    frame, inside = np.zeros(BOX, np.float32), np.zeros(BOX, bool)
    median = float(np.median(array[head])) - low
    frame[there] = ((array[here] - low) / (median if median > 0 else 1.0)).clip(0, MAX_LEVEL)
    inside[there] = head[here]
    return frame, inside


def measure_head(frame: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Return MEASURES numbers, float32, of what `frame_head` gives.

    Quantiles of brightness by the depth below the surface of the upper head, in the core of the head and in its middle,
    relative to the core; brightness by place, both sides together; and how much of the box the head fills.
    """
    solid = np.stack([ndimage.binary_fill_holes(each) for each in np.moveaxis(head, 2, 0)], 2)
    depth = ndimage.distance_transform_edt(np.pad(solid, 1))[1:-1, 1:-1, 1:-1]
    upper = slice(BOX[2] - ABOVE - UPPER_SLICES, BOX[2])
    values, deep = frame[:, :, upper], depth[:, :, upper]
    core = values[deep >= CORE_DEPTH] if (deep >= CORE_DEPTH).sum() > MIN_VOXELS else values[deep > 0]
    level = float(np.median(core)) if core.size else 1.0
    level = max(level, 0.05)
    rough = np.abs(values - ndimage.uniform_filter(values, 3))
    measures: list[np.ndarray] = []
    for inner, outer in pairwise(DEPTHS):
        shell = (deep > inner) & (deep <= outer)
        measures.append(_quantiles(values[shell] / level, (0.1, 0.5, 0.9)))
        measures.append(np.array([shell.mean(), rough[shell].mean() / level if shell.any() else 0]))
    measures.append(_quantiles(core / level, CORE_QUANTILES))
    measures.append(_quantiles(values[deep >= MIDDLE_DEPTH] / level, CORE_QUANTILES))
    measures.append(np.array([level, head.mean(), solid.mean(), (head & (frame > 1.5 * level)).mean()]))
    cells = np.stack(
        [
            [part.mean(), *np.percentile(part, (10, 90))]
            for slab in np.array_split((frame / level).clip(0, MAX_LEVEL), CELLS[0])
            for row in np.array_split(slab, CELLS[1], axis=1)
            for part in np.array_split(row[:, :, BOX[2] - UPPER_SLICES - ABOVE - 8 :], CELLS[2], axis=2)
        ]
    ).reshape(*CELLS, 3)
    measures.append(((cells + cells[::-1]) / 2)[: CELLS[0] // 2].ravel())
    return np.concatenate(measures).astype(np.float32)


def _quantiles(values: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """Return quantiles, at most MAX_LEVEL; zeros where there are too few values."""
    if values.size < MIN_VOXELS:
        return np.zeros(len(shares))
    return np.quantile(values, shares).clip(0, MAX_LEVEL)
