"""Index maps: int32 (H, W), values 1 to n without gaps, every pixel in one region."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from skimage.segmentation import slic


def superpixels(picture: np.ndarray, count: int = 200) -> np.ndarray:
    """About `count` compact regions of like colour in (H, W) or (H, W, 3) of any range.

    Achanta et al. 2012, doi:10.1109/TPAMI.2012.120, as scikit-image has it.
    """
    picture = np.asarray(picture, np.float32)
    low, high = np.percentile(picture, (1, 99.5))
    picture = ((picture - low) / max(high - low, 1e-6)).clip(0, 1)
    axis = -1 if picture.ndim == 3 else None
    return renumber(slic(picture, count, compactness=0.1, sigma=1, channel_axis=axis, convert2lab=False))


def masks_to_index_map(masks: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Overlapping masks (H, W) bool as one map: the largest first, smaller ones over it, then the rest.

    The rest has the highest number. A mask of which nothing stays visible has none. The convention of RAT's authors.
    """
    labels = np.zeros(shape, np.int32)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -int(mask.sum())), 1):
        labels[mask] = number
    labels[labels == 0] = len(masks) + 1
    return renumber(labels)


def renumber(labels: np.ndarray) -> np.ndarray:
    """The same regions numbered 1 to n in the order of their old numbers."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32) + 1


def merge_regions(labels: np.ndarray, first: int, second: int) -> np.ndarray:
    """The two regions as one."""
    return renumber(np.where(labels == second, first, labels))


def remove_region(labels: np.ndarray, number: int) -> np.ndarray:
    """Without one region: each of its pixels joins the nearest other one. A region that is all there is stays."""
    gone = labels == number
    if gone.all() or not gone.any():
        return labels
    nearest = ndimage.distance_transform_edt(gone, return_distances=False, return_indices=True)
    return renumber(labels[tuple(nearest)])


def add_region(labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """With one region more, laid over the others; an empty mask changes nothing."""
    return renumber(np.where(mask, labels.max() + 1, labels))


def match_neighbour_slice(previous: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The regions of a slice numbered like those of its neighbour that they overlap most; not without gaps.

    Pairs are matched from the largest overlap down if it is at least a third of the two together; the others get
    numbers that the neighbour does not have.
    """
    labels = renumber(labels)
    width = int(previous.max()) + 1
    pairs, shared = np.unique(labels.astype(np.int64) * width + previous, return_counts=True)
    own, other = np.bincount(labels.ravel()), np.bincount(previous.ravel())
    number = np.zeros(labels.max() + 1, np.int32)
    taken: set[int] = set()
    for at in np.argsort(-shared, kind="stable"):
        mine, theirs = divmod(int(pairs[at]), width)
        together = own[mine] + other[theirs] - shared[at]
        if not number[mine] and theirs not in taken and shared[at] * 3 >= together:
            number[mine] = theirs
            taken.add(theirs)
    new = np.flatnonzero(number[1:] == 0) + 1
    number[new] = width + np.arange(len(new))
    return number[labels]


def measure_index_map(labels: np.ndarray, array: np.ndarray, pixel_mm: tuple[float, float]) -> list[tuple]:
    """Number, area in mm², mean and standard deviation of `array` (H, W), of each region, the largest first."""
    numbers, flat = np.unique(labels, return_inverse=True)
    values = np.asarray(array, np.float64).ravel()
    count = np.bincount(flat.ravel())
    mean = np.bincount(flat.ravel(), values) / count
    spread = np.sqrt(np.maximum(np.bincount(flat.ravel(), values**2) / count - mean**2, 0))
    area = count * float(np.prod(pixel_mm))
    order = np.argsort(-count, kind="stable")
    return [
        (int(numbers[n]), round(float(area[n]), 2), round(float(mean[n]), 4), round(float(spread[n]), 4)) for n in order
    ]
