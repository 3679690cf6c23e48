"""Intensity: from the numbers of a scanner to the range of a network or of a screen, and back."""

import numpy as np

STANDARD_RANGE = (-4.0, 6.0)
BLACK_TO_TISSUE = 3.0  # from black to what others are measured by
MAX_MEDIAN_RATIO = 1.5  # times the median of the head
MIN_TISSUE_VOXELS = 1000  # voxels of a tissue that a shading can be fitted to
OUTLIER_SIGMA = 2.5  # standard deviations from which a voxel is not of that tissue, such as a lesion
MAX_LOG_BIAS = 1.1  # at most, as a logarithm: a factor of 3 either way


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
    return np.clip((array - middle) / spread, *STANDARD_RANGE)


def clip_bright(array: np.ndarray, most: float = MAX_MEDIAN_RATIO) -> np.ndarray:
    """An MR volume whose brightest parts, such as fat under a surface coil, do not outshine the rest, in float32.

    What is brighter than `most` times the median of the head (found as in `standardize`), both above the volume's
    minimum, is cut to that.
    """
    array = np.asarray(array, np.float32)
    few = array.ravel()[:: max(1, array.size // 1_000_000)] - array.min()
    head = few[few > np.minimum(few, np.percentile(few, 99.9)).mean()]
    return np.minimum(array, array.min() + most * np.median(head)) if head.size else array


def normalize_to_tissue(array: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Scale a whole MR volume so that its minimum is -SPAN and the median of a `tissue` 0, in float32.

    `tissue` is bool, as large as the volume; where it is empty, the median of the head takes its place (what is
    brighter than the mean). What is brighter than CLIP allows is cut to that. A constant volume becomes zeros.
    """
    array = np.asarray(array, np.float32)
    low = array.min()
    few = array[tissue] if tissue.any() else array[array > array.mean()]
    level = np.median(few) - low if few.size else 0
    return (
        np.minimum(BLACK_TO_TISSUE * ((array - low) / level - 1), STANDARD_RANGE[1])
        if level > 0
        else np.zeros_like(array)
    )


def correct_bias_field(array: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """(X, Y, Z), at least 0, divided by the shading that makes a `tissue` uneven, whose median stays; float32.

    The shading's logarithm is a polynomial of second order in the three coordinates, by least squares over the voxels
    of the tissue, again and again without those that lie FAR from it, such as lesions. As it is where there are fewer
    than FEW, or all are alike.
    """
    array = np.asarray(array, np.float32)
    where = np.flatnonzero(tissue & (array > 0))
    if len(where) < MIN_TISSUE_VOXELS:
        return array
    where = where[:: max(1, len(where) // 30_000)]
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in array.shape]
    places = (axis[k] for axis, k in zip(axes, np.unravel_index(where, array.shape), strict=True))
    matrix, seen = np.stack(_polynomial_terms(*places), 1), np.log(array.ravel()[where])
    kept = np.ones(len(where), bool)
    for _ in range(4):
        weights = np.linalg.lstsq(matrix[kept], seen[kept])[0]
        off = np.abs(seen - matrix @ weights)
        kept = off <= OUTLIER_SIGMA * 1.4826 * np.median(off[kept]) + 1e-6
    field = sum(w * term for w, term in zip(weights, _polynomial_terms(*np.ix_(*axes)), strict=True))
    return array * np.exp((np.median(seen[kept]) - field).clip(-MAX_LOG_BIAS, MAX_LOG_BIAS))


def _polynomial_terms(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z
