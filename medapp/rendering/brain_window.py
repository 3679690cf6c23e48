"""Brain window: the grey values between which the tissue of a brain is told apart, whatever the skull is like."""

import numpy as np
from scipy import ndimage

from medapp.imaging.volume import Volume
from medapp.rendering.colour import Window

PERCENTILES = (1.0, 99.5)
STEP_MM = 3.0  # between the points that are read, and how far they lie from the border of the brain


def find_brain_window(image: Volume, brain: Volume | None) -> Window | None:
    """Find the window of an image inside a brain mask, which may lie on another grid.

    None where there is no brain in it, and for colour and CT, which have windows of their own.
    """
    if brain is None or image.is_colour or image.unit == "HU":
        return None
    values = sample_brain(image, brain)
    if not values.size:
        return None
    low, high = np.percentile(values, PERCENTILES)
    return Window(float(low), float(high)) if high > low else None


def sample_brain(image: Volume, brain: Volume) -> np.ndarray:
    """Sample an image (N,) at points about STEP_MM apart inside the brain, without its border if it is thick enough."""
    step = np.maximum(1, np.rint(STEP_MM / brain.spacing)).astype(int)
    coarse = brain.array[tuple(slice(None, None, s) for s in step)] > 0
    inside = ndimage.binary_erosion(coarse, border_value=1)
    points = brain.grid.to_mm(np.argwhere(inside if inside.any() else coarse) * step)
    values = ndimage.map_coordinates(
        np.asarray(image.array, np.float32), image.grid.to_index(points).T, order=0, mode="constant", cval=np.nan
    )
    return values[np.isfinite(values)]
