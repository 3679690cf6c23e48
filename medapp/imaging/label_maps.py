"""Label maps: tell a mask or a label map from an image by its values."""

import numpy as np

from medapp.imaging.intensity import subsample

MAX_LABELS = 256  # different values; an image has more
MANY_LABELS, MIN_UNIFORMITY = 20, 0.3  # of so many values, neighbours in a label map are mostly equal, in an image not
STEP = 3  # voxels between the rows in which neighbours are compared


def count_values(array: np.ndarray, sample: int = 200_000) -> int:
    """Count the different values of about `sample` of the voxels."""
    return len(np.unique(subsample(array, sample)))


def is_label_map(array: np.ndarray) -> bool:
    """Tell whether (I, J, K) holds labels: few different values, and of many the same in most neighbours."""
    if array.max() <= 1 and array.dtype.kind == "f":
        return count_values(array) <= 2  # fractions are a soft mask, or a normalised image
    count = count_values(array)
    return count <= MANY_LABELS or (count <= MAX_LABELS and measure_uniformity(array) >= MIN_UNIFORMITY)


def measure_uniformity(array: np.ndarray) -> float:
    """Measure which share of the marked voxels of (I, J, K) have the value of the next one along the first axis."""
    rows = array[:, ::STEP, ::STEP]
    marked = rows[:-1] > 0
    return float((rows[:-1] == rows[1:])[marked].mean()) if marked.any() else 1.0
