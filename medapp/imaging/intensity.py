"""Intensity: from the numbers of a scanner to the range of a network or of a screen, and back."""

import numpy as np

CLIP = (-4.0, 6.0)


def standardize(array: np.ndarray) -> np.ndarray:
    """Scale a whole MR volume so that the median of the head is 0 and its 10th to 90th percentile span 1, in float32.

    The head is what is brighter than the volume's mean, so air, padding and the black around a skull-stripped brain do
    not count. The result is clipped to `CLIP`. A constant volume becomes zeros. Never call this slice by slice: an
    empty slice would turn into amplified noise.
    """
    array = np.asarray(array, np.float32)
    head = array[array > array.mean()]
    if not head.size:
        return np.zeros_like(array)
    low, middle, high = np.percentile(head, (10, 50, 90))
    spread = max(high - low, 1e-3 * abs(middle), np.finfo(np.float32).tiny)
    return np.clip((array - middle) / spread, *CLIP)
