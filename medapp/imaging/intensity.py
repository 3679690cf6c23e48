"""Intensity: from the numbers of a scanner to the range of a network or of a screen, and back."""

import numpy as np

CLIP = (-4.0, 6.0)


def standardize(array: np.ndarray) -> np.ndarray:
    """Scale a whole MR volume so that the median of the head is 0 and its 10th to 90th percentile span 1, in float32.

    The head is what is brighter than the volume's mean (taken without the brightest 0.1 %, so that a hot voxel does not
    count), which leaves out air, padding and the black around a skull-stripped brain. The result is clipped to `CLIP`.
    A constant volume becomes zeros. Never call this slice by slice: an empty slice would turn into amplified noise.
    """
    array = np.asarray(array, np.float32)
    few = array.ravel()[:: max(1, array.size // 1_000_000)]
    head = array[array > np.minimum(few, np.percentile(few, 99.9)).mean()]
    if not head.size:
        return np.zeros_like(array)
    low, middle, high = np.percentile(head, (10, 50, 90)).tolist()
    spread = max(high - low, 1e-3 * abs(middle), 1e-30)
    return np.clip((array - middle) / spread, *CLIP)
