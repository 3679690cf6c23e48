"""Whether the values of a CT can be Hounsfield units, or are shifted as scanners store them."""

import numpy as np

HU_OFFSET = 1024  # from HU to what most scanners store
PADDING_HU = -1500  # below lies what scanners fill corners with
MAX_AIR_HU = -200  # an image that has lower values holds air, or fat and lung, in HU


def has_air(array: np.ndarray) -> bool:
    """Whether values go as far below zero as they do in Hounsfield units, and not farther."""
    few = _subsample(array)
    return bool(few.size and MAX_AIR_HU >= few.min() >= -5000)


def is_1024_too_high(array: np.ndarray) -> bool:
    """Whether the values look like Hounsfield units plus 1024: hardly any below zero, soft tissue heaped up at 1024.

    The heap must stand out from what lies at either side, as bone of that density does not.
    """
    few = _subsample(array)
    few = few[few > PADDING_HU]
    if not few.size or np.percentile(few, 0.1) < -50:
        return False
    soft, below, above = (
        float(np.mean((few >= HU_OFFSET + low) & (few < HU_OFFSET + high))) / (high - low)
        for low, high in ((-150, 250), (-450, -250), (350, 550))
    )
    return soft * 400 >= 0.05 and soft >= 3 * max(below, above)


def is_1024_too_low(array: np.ndarray) -> bool:
    """Whether the values look like Hounsfield units minus 1024: soft tissue near -1024, air near -2048, little near 0.

    So they are where a program has subtracted twice what scanners add.
    """
    few = _subsample(array)
    if not few.size:
        return False
    air, soft, bone, dense = (
        float(np.mean((few >= low) & (few < high)))
        for low, high in ((-2150, -1900), (-1174, -774), (-774, -150), (-150, 250))
    )
    return air >= 0.02 and soft >= 0.1 and dense <= max(0.01, min(bone, 0.2 * soft))


def _subsample(array: np.ndarray) -> np.ndarray:
    """About a million of the values, float32."""
    return array.ravel()[:: max(1, array.size // 1_000_000)].astype(np.float32)
