"""Background: the flat part around a head, wherever its value lies, and the image with that part at zero."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.imaging.volume import Volume

MIN_FACE_FRACTION, MIN_VOLUME_FRACTION = (
    0.3,
    0.05,
)  # share of the voxels on the faces, and of all, that have one value: then it is a background
MIN_INNER_VOXELS = 500  # voxels of that value in one piece that does not touch the faces, and still are background
MAX_UNDERSHOOT = (
    0.1  # of the span of the rest: so far below its background a scan may dip, as resampling and filters make it
)
MAX_GAP = 0.15  # of the span: a background further below the rest than this is not where a scanner would have put it
DARKEST_MARGIN = 0.08  # of the span, by which the darkest of a head is usually brighter than nothing
RANGE_PERCENTILES = (0.1, 99.9)  # percentiles between which the span lies
FLAT_TOLERANCE = 0.005  # of the span: so much a background may waver and still be flat, as interpolation leaves it
HOLE_COUNT_RATIO = 3  # times as often as any value near it the background's value occurs within a head: those are holes
RANGE_SAMPLES = 500_000  # voxels that percentiles are taken of


class IntensityRange(NamedTuple):
    """From the darkest to the brightest of an image, but for a few voxels."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def find_flat_background(array: np.ndarray) -> float | None:
    """The one value that most often fills the faces of (I, J, K), if it fills enough of them and of the whole."""
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
    """The image with a background of 0 and nothing below it, so that a network sees what the scanner meant.

    A flat background may lie anywhere: in the middle of the range after z-scoring, at -1, or far below. It becomes 0,
    and the head's values are shifted so that its darkest lie just above. Where nothing is flat, values below zero are
    shifted up. A scan whose background is 0 and whose head is brighter, which is the usual case, is returned as it is,
    and so is an image that is constant.
    """
    array = volume.array
    value = find_flat_background(array)
    if value is None:
        span = _intensity_range(array.ravel())
        if span.low >= -MAX_UNDERSHOOT * span.width:
            return volume
        level = _flatten_background(array, FLAT_TOLERANCE * span.width)
        if level is not None:
            return zero_background(volume.new_like(level))
        return volume.new_like(array.astype(np.float32) - np.float32(span.low))
    rest = array.ravel()[:: max(1, array.size // (4 * RANGE_SAMPLES))]
    rest = rest[rest != value]
    if not rest.size:
        return volume
    span = _intensity_range(rest)
    dips = span.low >= value - MAX_UNDERSHOOT * span.width
    if value == 0 and dips:
        return volume
    if span.low >= 0 and span.low <= span.width:
        base = 0.0  # the head's own values are untouched
    elif dips and span.low - value <= MAX_GAP * span.width:
        base = value
    else:
        base = span.low - DARKEST_MARGIN * span.width
    around = array == value
    if not dips and value <= span.high:
        outer = _drop_small_pieces(around)
        if (
            np.count_nonzero(around & ~outer)
            <= HOLE_COUNT_RATIO * _max_count_near(rest, value, span) * array.size / rest.size
        ):
            around = outer
    lifted = array.astype(np.float32) - np.float32(base)
    lifted[around] = 0
    return volume.new_like(lifted)


def _drop_small_pieces(same: np.ndarray) -> np.ndarray:
    """(I, J, K) bool without the small pieces inside: voxels of the head that happen to have the background's value."""
    pieces, count = ndimage.label(same)
    kept = np.bincount(pieces.ravel(), minlength=count + 1) >= MIN_INNER_VOXELS
    for axis in range(same.ndim):
        for end in (0, -1):
            kept[np.unique(np.take(pieces, end, axis))] = True
    kept[0] = False
    return kept[pieces]


def _flatten_background(array: np.ndarray, off: float) -> np.ndarray | None:
    """The image with one value where its background is flat within `off`; None if it is not."""
    step = find_flat_background(np.rint(array / (2 * off)))
    if step is None:
        return None
    value = np.float32(step * 2 * off)
    near = np.abs(array - value) <= 2 * off
    pieces, _ = ndimage.label(near)
    faces = [np.unique(np.take(pieces, end, axis)) for axis in range(array.ndim) for end in (0, -1)]
    around = near & np.isin(pieces, np.concatenate(faces))
    level = np.median(array[around]).astype(np.float32)
    apart = np.abs(array - level)
    around &= apart <= 1.5 * np.percentile(apart[around], 99)  # less of the head that happens to be near
    flat = np.where(around, level, array).astype(np.float32)
    return flat if find_flat_background(flat) is not None else None


def _max_count_near(rest: np.ndarray, value: float, span: IntensityRange) -> int:
    """How often, at most, one of the values close to `value` occurs among the `rest` (N,)."""
    near = rest[np.abs(rest - value) < 0.05 * span.width]
    return int(np.unique(near, return_counts=True)[1].max()) if near.size else 0


def _intensity_range(values: np.ndarray) -> IntensityRange:
    return IntensityRange(*np.percentile(values[:: max(1, values.size // RANGE_SAMPLES)], RANGE_PERCENTILES).tolist())
