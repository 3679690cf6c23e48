"""Missing values: voxels that a program left NaN or infinite become background."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io.validation import safe_text

MAX_SEARCH_VOXELS = 128  # along an axis; holes are searched for in every n-th voxel of a larger image
MAX_LABELS = 256
MAX_MISSING_FRACTION = 0.5  # of the object's voxels


def fill_missing(volume: Volume, *, labels: bool = False) -> Volume:
    """Replace NaN and infinite voxels of a volume (I, J, K) and add a remark with their share.

    They become the smallest finite value, or 0 in a mask or label map: with `labels`, or where the finite values are
    not negative and either all equal or few integers. Raises InputError if no voxel is finite, or if fewer than half of
    the voxels within the object of an image are.
    """
    if volume.array.dtype.kind != "f":
        return volume
    is_finite = np.isfinite(volume.array)
    missing = 1 - np.count_nonzero(is_finite) / is_finite.size
    if not missing:
        return volume
    name = safe_text(volume.name)
    name = name[:1].upper() + name[1:]
    if missing == 1:
        raise InputError(f"{name}: all voxels are NaN or infinite; export the image again.")
    mask = np.pad(_crop_to_object(is_finite), 2)
    gaps = _missing_fraction(mask, ndimage.binary_closing(mask, iterations=2))
    if gaps > MAX_MISSING_FRACTION and not labels:
        raise InputError(
            f"{name}: {_format_percent(gaps)} of the voxels within the object are NaN or infinite; export the image "
            "again."
        )
    values = volume.array[is_finite]
    labels = labels or _are_labels(values)
    value = 0.0 if labels else float(values.min())
    share = _format_percent(missing)
    remark = f"{name}: {share} of the voxels were NaN or infinite and were set to {value:g}, as background"
    holes = 0.0 if labels else _missing_fraction(mask, mask)
    remark += f"; within the object it was {_format_percent(holes)}." if holes else "."
    array = np.where(is_finite, volume.array, np.float32(value))
    return replace(volume, array=array, remarks=(*volume.remarks, remark))


def _crop_to_object(is_finite: np.ndarray) -> np.ndarray:
    """Crop (I, J, K) to the finite voxels, without axes of one voxel and with at most MAX_SEARCH_VOXELS per axis."""
    box = is_finite[ndimage.find_objects(is_finite.view(np.uint8))[0]]
    return np.squeeze(box[tuple(slice(None, None, -(-n // MAX_SEARCH_VOXELS)) for n in box.shape)])


def _are_labels(values: np.ndarray) -> bool:
    """Tell whether `values` (N,) are not negative and all equal, or few integers."""
    if values.min() < 0:
        return False
    return values.min() == values.max() or (not (values % 1).any() and len(np.unique(values)) <= MAX_LABELS)


def _missing_fraction(is_finite: np.ndarray, whole: np.ndarray) -> float:
    """Return the fraction of `whole` and of what it encloses that is not finite."""
    return 1 - np.count_nonzero(is_finite) / max(1, np.count_nonzero(ndimage.binary_fill_holes(whole | is_finite)))


def _format_percent(fraction: float) -> str:
    if 0.01 <= fraction < 0.995:
        return f"{fraction:.0%}"
    return f"{fraction * 100:.1g}%" if fraction < 0.01 else f"{min(fraction, 0.9999):.2%}"
