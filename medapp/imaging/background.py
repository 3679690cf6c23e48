"""Background: the flat part around a head, wherever its value lies, and the image with that part at zero."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.imaging.volume import Volume

FACES, WHOLE = 0.3, 0.05  # share of the voxels on the faces, and of all, that have one value: then it is a background
INNER = 500  # voxels of that value in one piece that does not touch the faces, and still are background
RINGING = 0.1  # of the span of the rest: so far below its background a scan may dip, as resampling and filters make it
GAP = 0.15  # of the span: a background further below the rest than this is not where a scanner would have put it
MARGIN = 0.08  # of the span, by which the darkest of a head is usually brighter than nothing
ENDS = (0.1, 99.9)  # percentiles between which the span lies
NEARLY = 0.005  # of the span: so much a background may waver and still be flat, as interpolation leaves it
OFTEN = 3  # times as often as any value near it the background's value occurs within a head: those are holes
SAMPLE = 500_000  # voxels that percentiles are taken of


class Span(NamedTuple):
    """From the darkest to the brightest of an image, but for a few voxels."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


def flat_background(array: np.ndarray) -> float | None:
    """The one value that most often fills the faces of (I, J, K), if it fills enough of them and of the whole."""
    faces = np.concatenate([np.take(array, end, axis).ravel() for axis in range(array.ndim) for end in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    most = int(counts.argmax())
    if counts[most] < FACES * faces.size or np.count_nonzero(array == values[most]) < WHOLE * array.size:
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
    value = flat_background(array)
    if value is None:
        span = _span(array.ravel())
        if span.low >= -RINGING * span.width:
            return volume
        level = _levelled(array, NEARLY * span.width)
        if level is not None:
            return zero_background(volume.like(level))
        return volume.like(array.astype(np.float32) - np.float32(span.low))
    rest = array.ravel()[:: max(1, array.size // (4 * SAMPLE))]
    rest = rest[rest != value]
    if not rest.size:
        return volume
    span = _span(rest)
    dips = span.low >= value - RINGING * span.width
    if value == 0 and dips:
        return volume
    if span.low >= 0 and span.low <= span.width:
        base = 0.0  # the head's own values are untouched
    elif dips and span.low - value <= GAP * span.width:
        base = value
    else:
        base = span.low - MARGIN * span.width
    around = array == value
    if not dips and value <= span.high:
        outer = _outer(around)
        if np.count_nonzero(around & ~outer) <= OFTEN * _most_near(rest, value, span) * array.size / rest.size:
            around = outer
    lifted = array.astype(np.float32) - np.float32(base)
    lifted[around] = 0
    return volume.like(lifted)


def _outer(same: np.ndarray) -> np.ndarray:
    """(I, J, K) bool without the small pieces inside: voxels of the head that happen to have the background's value."""
    pieces, count = ndimage.label(same)
    kept = np.bincount(pieces.ravel(), minlength=count + 1) >= INNER
    for axis in range(same.ndim):
        for end in (0, -1):
            kept[np.unique(np.take(pieces, end, axis))] = True
    kept[0] = False
    return kept[pieces]


def _levelled(array: np.ndarray, off: float) -> np.ndarray | None:
    """The image with one value where its background is flat within `off`; None if it is not."""
    step = flat_background(np.rint(array / (2 * off)))
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
    return flat if flat_background(flat) is not None else None


def _most_near(rest: np.ndarray, value: float, span: Span) -> int:
    """How often, at most, one of the values close to `value` occurs among the `rest` (N,)."""
    near = rest[np.abs(rest - value) < 0.05 * span.width]
    return int(np.unique(near, return_counts=True)[1].max()) if near.size else 0


def _span(values: np.ndarray) -> Span:
    return Span(*np.percentile(values[:: max(1, values.size // SAMPLE)], ENDS).tolist())
