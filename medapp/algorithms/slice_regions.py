"""The regions of one slice by one of several methods, found once for the same picture."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np

from medapp.algorithms import segment_anything
from medapp.imaging.index_maps import measure_index_map, superpixels
from medapp.result import Table

METHODS = ("mobilesam", "superpixels", "sam_vit_b", "sam_vit_l", "sam_vit_h", "one")
PIXELS_A_SUPERPIXEL = 1300
MOST_SUPERPIXELS = 800
KEPT = 64  # index maps
LARGEST = 1024 * 1024  # pixels of a map that is kept; larger ones are found anew

_found: OrderedDict[bytes, np.ndarray] = OrderedDict()  # by what was looked at, so nobody finds another's
_lock = Lock()


def picture(array: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 for a network that knows photographs: grey is stretched from its 1st to its 99.5th percentile."""
    if array.ndim == 3:
        return np.asarray(array if array.dtype == np.uint8 else np.round(array.clip(0, 255)), np.uint8)
    low, high = np.percentile(array, (1, 99.5))
    grey = np.round((array - low) / max(float(high - low), 1e-6) * 255).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def slice_regions(
    method: str,
    array: np.ndarray,
    aid: Callable[[str], Any] | None,
    points: int = 8,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Index map int32 (H, W) of a slice (H, W) or (H, W, 3), 1 to n without gaps; `method` is one of METHODS.

    `aid(name)` gives the network where the method needs one.
    """
    shape = array.shape[:2]
    if method == "one" or min(shape) < 8 or array.min() == array.max():
        return np.ones(shape, np.int32)
    seen = picture(array)
    key = hashlib.sha256(repr((method, points, shape)).encode() + seen.tobytes()).digest()
    with _lock:
        if key in _found:
            _found.move_to_end(key)
            return _found[key].copy()
    if method == "superpixels":
        count = int(np.clip(shape[0] * shape[1] / PIXELS_A_SUPERPIXEL, 4, MOST_SUPERPIXELS))
        labels = superpixels(seen if array.ndim == 3 else seen[..., 0], count)
    else:
        assert aid is not None
        labels = segment_anything.find(aid(method), seen, points, progress)
    if labels.size <= LARGEST:
        with _lock:
            _found[key] = labels.copy()
            while len(_found) > KEPT:
                _found.popitem(last=False)
    return labels


def table(labels: np.ndarray, array: np.ndarray, pixel_mm: tuple[float, float], unit: str = "") -> Table:
    """Region by region, the largest first: area, mean and standard deviation of the image (H, W)."""
    of = f" ({unit})" if unit else ""
    rows = tuple(measure_index_map(labels, array, pixel_mm))
    columns = ("region", "area (mm²)", f"mean{of}", f"standard deviation{of}")
    return Table(columns, rows, "Regions as the network used them; figures of the restored image.")
