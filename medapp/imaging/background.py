"""Detect the flat background around a head, whatever its value, and set it to zero."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.imaging.intensity import subsample
from medapp.imaging.volume import Volume

MIN_FACE_FRACTION = 0.3  # of the voxels on the faces that must share one value for it to be a background
MIN_VOLUME_FRACTION = 0.05  # of all voxels that must have that value
MIN_INNER_VOXELS = 500  # size from which a piece of that value that does not touch the faces is background too
MAX_UNDERSHOOT = 0.1  # of the range, by which resampling and filters may take a scan below its background
MAX_GAP = 0.15  # of the range: a background further below the rest was not put there by a scanner
DARKEST_MARGIN = 0.08  # of the range, by which the darkest part of a head is usually brighter than zero
RANGE_PERCENTILES = (0.1, 99.9)
FLAT_TOLERANCE = 0.005  # of the range, by which interpolation may make a flat background vary
HOLE_COUNT_RATIO = 3  # inside a head, a value this many times as frequent as any near it marks holes
RANGE_SAMPLES = 500_000  # voxels that percentiles are computed from


class IntensityRange(NamedTuple):
    """The range of an image's values without the few most extreme ones."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """The difference between both ends."""
        return self.high - self.low


def strip_skull(head: Volume, brain: Volume) -> Volume:
    """Return the head with its own values inside the mask `brain`, which lies on its grid.

    Outside is 0, or the minimum of the head where that is less, as mri_synthstrip has it.
    """
    outside = min(0, head.array.min())
    return head.new_like(np.where(brain.array > 0, head.array, head.array.dtype.type(outside)), name="stripped")


def find_flat_background(array: np.ndarray) -> float | None:
    """Return the most frequent value on the faces of (I, J, K), or None if too few voxels there or overall have it."""
    faces = np.concatenate([np.take(array, end, axis).ravel() for axis in range(array.ndim) for end in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    most = int(counts.argmax())
    if (
        counts[most] < MIN_FACE_FRACTION * faces.size
        or np.count_nonzero(array == values[most]) < MIN_VOLUME_FRACTION * array.size
    ):
        return None
    return float(values[most])


def zero_background(volume: Volume) -> Volume:
    """Return the image with a background of 0 and nothing below it, as networks expect it.

    A flat background may have any value: in the middle of the range after z-scoring, -1, or far below. It becomes 0,
    and the values of the head are shifted so that its darkest lie just above. Where nothing is flat, values below zero
    are shifted up. A constant image and a scan whose background is 0 and darker than the head, the usual case, are
    returned unchanged.
    """
    array = volume.array
    background = find_flat_background(array)
    if background is None:
        span = _intensity_range(array.ravel())
        if span.low >= -MAX_UNDERSHOOT * span.width:
            return volume
        flattened = _flatten_background(array, FLAT_TOLERANCE * span.width)
        if flattened is not None:
            return zero_background(volume.new_like(flattened))
        return volume.new_like(array.astype(np.float32) - np.float32(span.low))
    head = subsample(array, 4 * RANGE_SAMPLES)
    head = head[head != background]
    if not head.size:
        return volume
    span = _intensity_range(head)
    is_lowest = span.low >= background - MAX_UNDERSHOOT * span.width
    if background == 0 and is_lowest:
        return volume
    if span.low >= 0 and span.low <= span.width:
        base = 0.0  # the head keeps its values
    elif is_lowest and span.low - background <= MAX_GAP * span.width:
        base = background
    else:
        base = span.low - DARKEST_MARGIN * span.width
    mask = array == background
    if not is_lowest and background <= span.high:
        outer = _drop_small_pieces(mask)
        expected = HOLE_COUNT_RATIO * _max_count_near(head, background, span) * array.size / head.size
        if np.count_nonzero(mask & ~outer) <= expected:
            mask = outer
    shifted = array.astype(np.float32) - np.float32(base)
    shifted[mask] = 0
    return volume.new_like(shifted)


def _drop_small_pieces(mask: np.ndarray) -> np.ndarray:
    """Remove small inner pieces of (I, J, K) bool: voxels of the head that happen to have the background's value."""
    pieces, count = ndimage.label(mask)
    is_kept = np.bincount(pieces.ravel(), minlength=count + 1) >= MIN_INNER_VOXELS
    for axis in range(mask.ndim):
        for end in (0, -1):
            is_kept[np.unique(np.take(pieces, end, axis))] = True
    is_kept[0] = False
    return is_kept[pieces]


def _flatten_background(array: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Give a background that is flat within `tolerance` one value; None if there is none."""
    step = find_flat_background(np.rint(array / (2 * tolerance)))
    if step is None:
        return None
    value = np.float32(step * 2 * tolerance)
    near = np.abs(array - value) <= 2 * tolerance
    pieces, _ = ndimage.label(near)
    faces = [np.unique(np.take(pieces, end, axis)) for axis in range(array.ndim) for end in (0, -1)]
    mask = near & np.isin(pieces, np.concatenate(faces))
    level = np.median(array[mask]).astype(np.float32)
    deviation = np.abs(array - level)
    mask &= deviation <= 1.5 * np.percentile(deviation[mask], 99)  # drops parts of the head with similar values
    flattened = np.where(mask, level, array).astype(np.float32)
    return flattened if find_flat_background(flattened) is not None else None


def _max_count_near(values: np.ndarray, centre: float, span: IntensityRange) -> int:
    """Count the most frequent of the `values` (N,) close to `centre`."""
    near = values[np.abs(values - centre) < 0.05 * span.width]
    return int(np.unique(near, return_counts=True)[1].max()) if near.size else 0


def _intensity_range(values: np.ndarray) -> IntensityRange:
    return IntensityRange(*np.percentile(subsample(values, RANGE_SAMPLES), RANGE_PERCENTILES).tolist())
