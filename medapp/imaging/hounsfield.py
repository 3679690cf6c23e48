"""Tell whether the values of a CT are in Hounsfield units or off by 1024, as scanners store them."""

import numpy as np

from medapp.imaging.intensity import subsample

HU_OFFSET = 1024  # from HU to the values that most scanners store
PADDING_HU = -1500  # scanners fill corners with values below this
MAX_AIR_HU = -200  # an image in HU with lower values shows air, lung or fat
MIN_CT_HU = -5000  # not even padding is lower
MAX_BODY_AIR_HU = -850  # air around a body is below this
SOFT_TISSUE_HU = (-200, 300)
FAT_HU = (-500, -20)
EMPTY_HU = (-700, -250)  # between fat and air, where a body has hardly any values


def is_hounsfield(array: np.ndarray) -> bool:
    """Tell whether the values (any shape) are distributed like those of a CT in Hounsfield units.

    There is air, most of the rest is soft tissue, some of it fat, and little lies between fat and air. An MR image with
    a background far below zero, or one that was shifted, does not qualify.
    """
    sample = _sample(array)
    if not sample.size or not MIN_CT_HU <= sample.min() <= MAX_BODY_AIR_HU:
        return False
    body = sample[sample > MAX_BODY_AIR_HU]
    if body.size > 0.97 * sample.size or body.size < 0.02 * sample.size:
        return False
    soft, fat, empty = (
        float(((body > low) & (body < high)).mean()) for low, high in (SOFT_TISSUE_HU, FAT_HU, EMPTY_HU)
    )
    return soft > 0.4 and fat > 0.02 and empty < 0.15


def has_air(array: np.ndarray) -> bool:
    """Tell whether the smallest value is as far below zero as in Hounsfield units, and not farther."""
    sample = _sample(array)
    return bool(sample.size and MAX_AIR_HU >= sample.min() >= MIN_CT_HU)


def is_1024_too_high(array: np.ndarray) -> bool:
    """Tell whether the values look like Hounsfield units plus 1024: hardly any below zero, soft tissue around 1024.

    The peak of soft tissue must stand out from its neighbourhood on both sides, as bone of that density does not.
    """
    sample = _sample(array)
    sample = sample[sample > PADDING_HU]
    if not sample.size or np.percentile(sample, 0.1) < -50:
        return False
    soft, below, above = (
        float(np.mean((sample >= HU_OFFSET + low) & (sample < HU_OFFSET + high))) / (high - low)
        for low, high in ((-150, 250), (-450, -250), (350, 550))
    )
    return soft * 400 >= 0.05 and soft >= 3 * max(below, above)


def is_1024_too_low(array: np.ndarray) -> bool:
    """Tell whether the values look like Hounsfield units minus 1024, as where a program subtracted the offset twice.

    Soft tissue is near -1024, air near -2048, and little near 0.
    """
    sample = _sample(array)
    if not sample.size:
        return False
    air, soft, bone, dense = (
        float(np.mean((sample >= low) & (sample < high)))
        for low, high in ((-2150, -1900), (-1174, -774), (-774, -150), (-150, 250))
    )
    return air >= 0.02 and soft >= 0.1 and dense <= max(0.01, min(bone, 0.2 * soft))


def _sample(array: np.ndarray) -> np.ndarray:
    return subsample(array).astype(np.float32)
