"""Index maps: int32 (H, W), so that every pixel belongs to one region; found ones have values 1 to n without gaps."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from scipy import ndimage
from skimage.segmentation import slic

MIN_LEFT = 0.1  # of a region's pixels, see `find_additions`
MIN_GROWTH = 0.1  # of the pixels of the mask before, see `find_additions`


def superpixels(picture: np.ndarray, count: int = 200) -> np.ndarray:
    """Divide a picture (H, W) or (H, W, 3) of any range into about `count` compact regions of similar colour.

    SLIC (Achanta et al. 2012, doi:10.1109/TPAMI.2012.120), as implemented by scikit-image.
    """
    picture = np.asarray(picture, np.float32)
    low, high = np.percentile(picture, (1, 99.5))
    picture = ((picture - low) / max(high - low, 1e-6)).clip(0, 1)
    axis = -1 if picture.ndim == 3 else None
    return renumber(slic(picture, count, compactness=0.1, sigma=1, channel_axis=axis, convert2lab=False))


def masks_to_index_map(masks: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Combine overlapping masks (H, W) bool into one map: the largest first, smaller ones on top, then the rest.

    The rest gets the highest number. A mask that is hidden completely gets none. The convention of RAT's authors.
    """
    labels = np.zeros(shape, np.int32)
    for number, mask in enumerate(sorted(masks, key=lambda mask: -int(mask.sum())), 1):
        labels[mask] = number
    labels[labels == 0] = len(masks) + 1
    return renumber(labels)


def renumber(labels: np.ndarray) -> np.ndarray:
    """Number the regions 1 to n in the order of their old numbers."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32) + 1


def merge_regions(labels: np.ndarray, first: int, second: int) -> np.ndarray:
    """Merge the second of two regions into the first. All numbers stay."""
    return np.where(labels == second, np.int32(first), labels)


def remove_region(labels: np.ndarray, number: int) -> np.ndarray:
    """Remove one region: each of its pixels joins the nearest other one. The only region of a map stays.

    The others keep their numbers.
    """
    region = labels == number
    if region.all() or not region.any():
        return labels
    nearest = ndimage.distance_transform_edt(region, return_distances=False, return_indices=True)
    return labels[tuple(nearest)]


def add_region(labels: np.ndarray, mask: np.ndarray, number: int | None = None) -> np.ndarray:
    """Add the mask (H, W) bool as a region on top of the others, which keep their numbers.

    It gets `number`, by default the next one. An empty mask changes nothing.
    """
    return np.where(mask, np.int32(number or labels.max() + 1), labels)


def find_additions(labels: np.ndarray, masks: Sequence[np.ndarray], pixel: tuple[int, int]) -> list[np.ndarray]:
    """Return what can be added as a region at a pixel (row, column) from masks (H, W) bool, the smallest first.

    Each of the returned masks holds the pixel and the one before it, and leaves every region MIN_LEFT of its pixels: of
    a region of which it would leave less it takes nothing more. Those that add less than MIN_GROWTH are left out.
    """
    areas = np.bincount(labels.ravel())
    additions: list[np.ndarray] = []
    before = np.zeros(labels.shape, bool)
    for mask in masks:
        left = areas - np.bincount(labels[mask | before], minlength=len(areas))
        addition = before | (mask & (left >= MIN_LEFT * areas)[labels])
        if addition[pixel] and addition.sum() > (1 + MIN_GROWTH) * before.sum():
            additions.append(addition)
            before = addition
    return additions


def pack_masks(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return at most eight masks (H, W) bool as one array uint8, with the bit n set in the mask n; 0 without masks."""
    return reduce(np.bitwise_or, (mask.astype(np.uint8) << n for n, mask in enumerate(masks)), np.uint8(0))


def unpack_masks(packed: np.ndarray) -> list[np.ndarray]:
    """Return the masks (H, W) bool of `pack_masks`; trailing empty ones are lost."""
    return [(packed >> n & 1).astype(bool) for n in range(int(packed.max()).bit_length())]


def match_neighbour_slice(previous: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give the regions of a slice the numbers of those regions of its neighbour that they overlap most.

    Pairs are matched from the largest overlap down, if it is at least a third of their union; the other regions get
    numbers that the neighbour does not have. The numbers may have gaps.
    """
    labels = renumber(labels)
    width = int(previous.max()) + 1
    pairs, overlaps = np.unique(labels.astype(np.int64) * width + previous, return_counts=True)
    areas, previous_areas = np.bincount(labels.ravel()), np.bincount(previous.ravel())
    numbers = np.zeros(labels.max() + 1, np.int32)
    used: set[int] = set()
    for n in np.argsort(-overlaps, kind="stable"):
        region, neighbour = divmod(int(pairs[n]), width)
        union = areas[region] + previous_areas[neighbour] - overlaps[n]
        if not numbers[region] and neighbour not in used and overlaps[n] * 3 >= union:
            numbers[region] = neighbour
            used.add(neighbour)
    new = np.flatnonzero(numbers[1:] == 0) + 1
    numbers[new] = width + np.arange(len(new))
    return numbers[labels]


def measure_index_map(labels: np.ndarray, array: np.ndarray, pixel_mm: tuple[float, float]) -> list[tuple]:
    """Return number, area in mm², mean and standard deviation of `array` (H, W) for each region, the largest first."""
    numbers, flat = np.unique(labels, return_inverse=True)
    values = np.asarray(array, np.float64).ravel()
    count = np.bincount(flat.ravel())
    mean = np.bincount(flat.ravel(), values) / count
    deviation = np.sqrt(np.maximum(np.bincount(flat.ravel(), values**2) / count - mean**2, 0))
    area = count * float(np.prod(pixel_mm))
    order = np.argsort(-count, kind="stable")
    return [
        (int(numbers[n]), round(float(area[n]), 2), round(float(mean[n]), 4), round(float(deviation[n]), 4))
        for n in order
    ]
