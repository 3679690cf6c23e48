"""Colours: windows, label colours, colour maps, outlines and blending."""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
from scipy import ndimage

# Okabe and Ito's colours, which the colour-blind can distinguish, ordered for contrast between neighbours on grey.
LABEL_COLOURS = (
    (255, 110, 30),  # vermilion, a little brighter than theirs to stand out on grey
    (86, 180, 233),  # sky blue
    (240, 228, 66),  # yellow
    (0, 190, 140),  # bluish green
    (230, 140, 190),  # reddish purple
    (230, 159, 0),  # orange
    (60, 130, 220),  # blue
)
REFERENCE_COLOUR = (86, 180, 233)
AUTOMATIC_COLOUR = (230, 230, 230)  # of a mask before it was corrected by hand


class Window(NamedTuple):
    """The values that are shown as black and as white."""

    low: float
    high: float


CT_WINDOWS = {  # Hounsfield units
    "brain": Window(0, 80),
    "stroke": Window(20, 50),
    "subdural": Window(-50, 150),
    "soft tissue": Window(-160, 240),
    "lung": Window(-1350, 150),
    "bone": Window(-450, 1050),
}


def find_window(array: np.ndarray, unit: str = "") -> Window:
    """Find the window from the 1st to the 99.5th percentile of the head (or body), in an array of any shape.

    The head is above a tenth of the range from the darkest to the brightest values, which excludes air and includes
    cerebrospinal fluid. CT (unit "HU") gets the soft-tissue window. At most 200,000 values are read.
    """
    if unit == "HU":
        return CT_WINDOWS["soft tissue"]
    step = max(1, int(np.ceil((array.size / 200_000) ** (1 / array.ndim))))
    sample = np.asarray(array[(slice(None, None, step),) * array.ndim], np.float32)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return Window(0.0, 1.0)
    dark, bright = np.percentile(sample, (0.5, 99.5))
    head = sample[sample > dark + 0.1 * (bright - dark)]
    low, high = np.percentile(head if head.size else sample, (1, 99.5))
    return Window(float(low), float(high)) if high > low else Window(float(low) - 0.5, float(low) + 0.5)


def apply_window(array: np.ndarray, window: Window) -> np.ndarray:
    """Map values to their place in the window, 0 to 1, float32 of the array's shape; NaN becomes 0."""
    array = np.nan_to_num(np.asarray(array, np.float32), nan=window.low, posinf=window.high, neginf=window.low)
    return np.clip((array - window.low) / max(window.high - window.low, 1e-12), 0, 1)


def to_grey(array: np.ndarray, window: Window) -> np.ndarray:
    """Convert values through the window to uint8 of the array's shape."""
    return np.rint(apply_window(array, window) * 255).astype(np.uint8)


def get_label_colour(label: int) -> tuple[int, int, int]:
    """Return the colour of label 1, 2, ...; the colours repeat after the last."""
    return LABEL_COLOURS[(int(label) - 1) % len(LABEL_COLOURS)]


def colour_labels(labels: np.ndarray, own: Mapping[int, tuple[int, int, int]] | None = None) -> np.ndarray:
    """Convert labels (...) to colours (..., 3) float32, 0 to 255; 0 is black. `own` replaces colours by label."""
    table = {int(n): (own or {}).get(int(n), get_label_colour(n)) for n in np.unique(labels)}
    numbers = np.array(list(table))
    colours = np.array(list(table.values()), np.float32)[np.searchsorted(numbers, labels)]
    return colours * (labels > 0)[..., None]


def apply_colour_map(heat: np.ndarray, name: str) -> np.ndarray:
    """Convert values (...) from 0 to 1 to colours (..., 3) float32, 0 to 255, of matplotlib's map `name`."""
    table = np.float32(matplotlib.colormaps[name](np.arange(256))[:, :3] * 255)
    return table[np.rint(heat * 255).astype(np.uint8)]


def trace_outline(labels: np.ndarray, width: int) -> np.ndarray:
    """Trace a line of `width` pixels around every label of (H, W), outside it so that no lesion is hidden."""
    grown = labels
    cross = ndimage.generate_binary_structure(2, 1)
    for step in range(width):
        grown = ndimage.grey_dilation(grown, footprint=np.ones((3, 3)) if step % 2 else cross)
    return np.where(grown != labels, grown, 0)


def blend(canvas: np.ndarray, colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Blend `colours` (H, W, 3) or (3,) over `canvas` (H, W, 3) float32 with opacity `alpha` (H, W) from 0 to 1."""
    return canvas + alpha[..., None] * (colours - canvas)


def to_css(colour: tuple[int, int, int]) -> str:
    """Write a colour as CSS and Plotly do, for example "#ff6e1e"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
