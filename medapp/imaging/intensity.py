"""Intensity: bring the values of a scanner into the range of a network or of a screen."""

import numpy as np

STANDARD_RANGE = (-4.0, 6.0)  # to which standardized values are clipped
BLACK_TO_TISSUE = 3.0  # distance from black to the reference tissue
MAX_MEDIAN_RATIO = 1.5  # of the brightest parts to the median of the head
MIN_TISSUE_VOXELS = 1000  # that a bias field can be fitted to
OUTLIER_SIGMA = 2.5  # standard deviations from which a voxel, such as a lesion, is not of the tissue
MAX_LOG_BIAS = 1.1  # a factor of 3 either way


def subsample(array: np.ndarray, count: int = 1_000_000) -> np.ndarray:
    """Return roughly `count` of the values, evenly spread: (N,), all of them if there are fewer."""
    return array.ravel()[:: max(1, array.size // count)]


def standardize(array: np.ndarray) -> np.ndarray:
    """Scale a whole MR volume so that the median of the head is 0 and its 10th to 90th percentile span 1, in float32.

    The head is what is brighter than the volume's mean (without the brightest 0.1 %, so that a hot voxel does not
    count), which leaves out air, padding and the black around a skull-stripped brain. The result is clipped to
    `STANDARD_RANGE`. A constant volume becomes zeros. Never call this slice by slice: the noise of an empty slice would
    be amplified.
    """
    array = np.asarray(array, np.float32)
    scale = find_standard_scale(array)
    if scale is None:
        return np.zeros_like(array)
    median, spread = scale
    return np.clip((array - median) / spread, *STANDARD_RANGE)


def find_standard_scale(array: np.ndarray) -> tuple[float, float] | None:
    """Return the median of the head and what its 10th to 90th percentile span, None for a constant volume."""
    array = np.asarray(array, np.float32)
    head = array[array > _head_threshold(subsample(array))]
    if not head.size:
        return None
    low, median, high = np.percentile(head, (10, 50, 90)).tolist()
    return median, max(high - low, 1e-3 * abs(median), 1e-30)


def clip_bright(array: np.ndarray, ratio: float = MAX_MEDIAN_RATIO) -> np.ndarray:
    """Clip the brightest parts of an MR volume, such as fat under a surface coil; float32.

    Values above `ratio` times the median of the head (as in `standardize`), both counted from the volume's minimum, are
    set to that.
    """
    array = np.asarray(array, np.float32)
    sample = subsample(array) - array.min()
    head = sample[sample > _head_threshold(sample)]
    return np.minimum(array, array.min() + ratio * np.median(head)) if head.size else array


def normalize_to_tissue(array: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Scale a whole MR volume so that its minimum is -BLACK_TO_TISSUE and the median of a `tissue` 0, in float32.

    `tissue` is bool, of the volume's shape; where it is empty, the median of the head takes its place (what is brighter
    than the mean). Values above `STANDARD_RANGE` are clipped. A constant volume becomes zeros.
    """
    array = np.asarray(array, np.float32)
    low = array.min()
    values = array[tissue] if tissue.any() else array[array > array.mean()]
    level = np.median(values) - low if values.size else 0
    scaled = BLACK_TO_TISSUE * ((array - low) / level - 1) if level > 0 else np.zeros_like(array)
    return np.minimum(scaled, STANDARD_RANGE[1])


def correct_bias_field(array: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    """Divide (X, Y, Z), at least 0, by the bias field that makes a `tissue` uneven and keep its median; float32.

    The field's logarithm is a polynomial of second order in the three coordinates, fitted by least squares to the
    voxels of the tissue, repeatedly without outliers such as lesions. Returned unchanged with fewer than
    MIN_TISSUE_VOXELS.
    """
    array = np.asarray(array, np.float32)
    indices = np.flatnonzero(tissue & (array > 0))
    if len(indices) < MIN_TISSUE_VOXELS:
        return array
    indices = indices[:: max(1, len(indices) // 30_000)]
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in array.shape]
    coordinates = (axis[k] for axis, k in zip(axes, np.unravel_index(indices, array.shape), strict=True))
    matrix, logarithms = np.stack(_polynomial_terms(*coordinates), 1), np.log(array.ravel()[indices])
    inliers = np.ones(len(indices), bool)
    for _ in range(4):
        weights = np.linalg.lstsq(matrix[inliers], logarithms[inliers])[0]
        residuals = np.abs(logarithms - matrix @ weights)
        inliers = residuals <= OUTLIER_SIGMA * 1.4826 * np.median(residuals[inliers]) + 1e-6
    field = sum(w * term for w, term in zip(weights, _polynomial_terms(*np.ix_(*axes)), strict=True))
    return array * np.exp((np.median(logarithms[inliers]) - field).clip(-MAX_LOG_BIAS, MAX_LOG_BIAS))


def _head_threshold(sample: np.ndarray) -> np.float32:
    """Return the mean of the sample without its brightest 0.1 %; the head is brighter."""
    return np.minimum(sample, np.percentile(sample, 99.9)).mean()


def _polynomial_terms(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, ...]:
    return np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z
