"""Modality: what kind of scanner an image comes from, by its DICOM headers, its unit, or its values."""

import numpy as np

from medapp.imaging.volume import Volume

MAX_AIR_HU = -850  # below lies air
MIN_CT_HU = -5000  # lower values are no padding of a CT either
SOFT_TISSUE_HU = (-200, 300)
FAT_HU = (-500, -20)
EMPTY_HU = (-700, -250)  # hardly anything has these values


def detect_modality(volume: Volume) -> str:
    """ "CT", "MR", "PET", or "" where nothing tells."""
    told = {"CT": "CT", "MR": "MR", "PT": "PET"}
    if volume.headers and (found := told.get(str(volume.headers[0].get("Modality", "")))):
        return found
    if volume.unit in ("HU", "Bq/ml"):
        return "CT" if volume.unit == "HU" else "PET"
    return "CT" if not volume.is_colour and is_hounsfield(volume.array) else ""


def is_hounsfield(array: np.ndarray) -> bool:
    """Whether values (any shape) are spread as those of a CT in Hounsfield units.

    There is air, most of the rest is soft tissue, some of it fat, and little lies between fat and air. An MR image with
    a background far below zero, or one that was shifted, is not taken for it.
    """
    few = array.ravel()[:: max(1, array.size // 1_000_000)].astype(np.float32)
    if not few.size or not MIN_CT_HU <= few.min() <= MAX_AIR_HU:
        return False
    body = few[few > MAX_AIR_HU]
    if body.size > 0.97 * few.size or body.size < 0.02 * few.size:
        return False
    soft, fat, between = (
        float(((body > low) & (body < high)).mean()) for low, high in (SOFT_TISSUE_HU, FAT_HU, EMPTY_HU)
    )
    return soft > 0.4 and fat > 0.02 and between < 0.15
