"""Missing values: voxels to which a program gave no number, or an infinite one, become background."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io.validation import safe_text

MAX_SEARCH_VOXELS = 128  # voxels along an axis, among which gaps are looked for
MAX_LABELS = 256
MAX_MISSING_FRACTION = 0.5  # share of the object that may have no value


def fill_missing(volume: Volume, *, labels: bool = False) -> Volume:
    """The volume (I, J, K) with numbers for all voxels, and a remark of how many had none.

    They get the smallest value there is, or 0 in a mask or label map: where `labels`, or where the others, from 0 on,
    are few whole numbers, or one number. Raises InputError if no voxel has a number, or, in an image, fewer than half
    of those among the others.
    """
    if volume.array.dtype.kind != "f":
        return volume
    there = np.isfinite(volume.array)
    missing = 1 - np.count_nonzero(there) / there.size
    if not missing:
        return volume
    name = safe_text(volume.name)
    name = name[:1].upper() + name[1:]
    if missing == 1:
        raise InputError(f"{name}: no voxel has a number, all are NaN or infinite; export the image anew.")
    around = np.pad(_crop_to_object(there), 2)
    gaps = _missing_fraction(around, ndimage.binary_closing(around, iterations=2))
    if gaps > MAX_MISSING_FRACTION and not labels:
        raise InputError(
            f"{name}: {_format_percent(gaps)} of the voxels within the object are NaN or infinite; export the "
            "image anew."
        )
    values = volume.array[there]
    labels = labels or _are_labels(values)
    value = 0.0 if labels else float(values.min())
    share = _format_percent(missing)
    remark = f"{name}: {share} of the voxels were NaN or infinite and were set to {value:g}, as background"
    holes = 0.0 if labels else _missing_fraction(around, around)
    remark += f"; {_format_percent(holes)} of those within the object are among them." if holes else "."
    return replace(volume, array=np.where(there, volume.array, np.float32(value)), remarks=(*volume.remarks, remark))


def _crop_to_object(there: np.ndarray) -> np.ndarray:
    """The box (I, J, K) of what has values, at most LOOKED_AT voxels along an axis, without axes of one voxel."""
    box = there[ndimage.find_objects(there.view(np.uint8))[0]]
    return np.squeeze(box[tuple(slice(None, None, -(-n // MAX_SEARCH_VOXELS)) for n in box.shape)])


def _are_labels(values: np.ndarray) -> bool:
    """Whether `values` (N,), from 0 on, are one number, or few and whole."""
    if values.min() < 0:
        return False
    return values.min() == values.max() or (not (values % 1).any() and len(np.unique(values)) <= MAX_LABELS)


def _missing_fraction(there: np.ndarray, whole: np.ndarray) -> float:
    """Of `whole` and what it encloses, the share that is not there."""
    return 1 - np.count_nonzero(there) / max(1, np.count_nonzero(ndimage.binary_fill_holes(whole | there)))


def _format_percent(share: float) -> str:
    if 0.01 <= share < 0.995:
        return f"{share:.0%}"
    return f"{share * 100:.1g}%" if share < 0.01 else f"{min(share, 0.9999):.2%}"
