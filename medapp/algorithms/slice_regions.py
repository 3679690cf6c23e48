"""Regions of one slice by one of several methods, cached by the picture."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from medapp.algorithms import segment_anything
from medapp.imaging.index_maps import measure_index_map, superpixels
from medapp.result import Table

REGION_METHODS = ("mobilesam", "superpixels", "sam_vit_b", "sam_vit_l", "sam_vit_h", "one")
PIXELS_PER_SUPERPIXEL = 1300
MAX_SUPERPIXELS = 800
CACHE_SIZE = 64  # index maps
MAX_CACHED_PIXELS = 1024 * 1024  # pixels; larger maps are not cached

_cache: OrderedDict[bytes, np.ndarray] = (
    OrderedDict()
)  # by the hash of the picture, so that nobody is given another's map
_cache_lock = Lock()


def to_rgb(array: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 for a network of photographs; grey is stretched from its 1st to its 99.5th percentile."""
    if array.ndim == 3:
        return np.asarray(array if array.dtype == np.uint8 else np.round(array.clip(0, 255)), np.uint8)
    low, high = np.percentile(array, (1, 99.5))
    grey = np.round((array - low) / max(float(high - low), 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def find_slice_regions(
    method: str,
    array: np.ndarray,
    get_network: Callable[[str], Any] | None,
    points_per_side: int = 8,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Return an index map int32 (H, W) of a slice (H, W) or (H, W, 3), 1 to n without gaps.

    `method` is one of REGION_METHODS; `get_network(name)` gives the network if the method needs one.
    """
    shape = array.shape[:2]
    if method == "one" or min(shape) < 8 or array.min() == array.max():
        return np.ones(shape, np.int32)
    rgb = to_rgb(array)
    key = hashlib.sha256(repr((method, points_per_side, shape)).encode() + rgb.tobytes()).digest()
    with _cache_lock:
        if key in _cache:
            _cache.move_to_end(key)
            return _cache[key].copy()
    if method == "superpixels":
        count = int(np.clip(shape[0] * shape[1] / PIXELS_PER_SUPERPIXEL, 4, MAX_SUPERPIXELS))
        labels = superpixels(rgb if array.ndim == 3 else rgb[..., 0], count)
    else:
        assert get_network is not None
        labels = segment_anything.segment_everything(get_network(method), rgb, points_per_side, progress)
    if labels.size <= MAX_CACHED_PIXELS:
        with _cache_lock:
            _cache[key] = labels.copy()
            while len(_cache) > CACHE_SIZE:
                _cache.popitem(last=False)
    return labels


def tabulate_regions(labels: np.ndarray, array: np.ndarray, pixel_mm: tuple[float, float], unit: str = "") -> Table:
    """Tabulate the regions, the largest first: area, mean and standard deviation of the image (H, W)."""
    suffix = f" ({unit})" if unit else ""
    rows = tuple(measure_index_map(labels, array, pixel_mm))
    columns = ("region", "area (mm²)", f"mean{suffix}", f"standard deviation{suffix}")
    return Table(columns, rows, "The regions that the network used; intensities of the restored image.")
