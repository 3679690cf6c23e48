"""Lesion masks: parts of one image that have no counterpart in the other, so that nothing is matched there."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from medapp.algorithms.input_checks import require_overlap
from medapp.analysis.reference import NOT_A_MASK_MESSAGE, binarize_soft_mask
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.label_maps import count_values, is_label_map
from medapp.imaging.volume import Grid, Volume

MARGIN = 2  # voxels of 1 mm around a lesion that are not matched either
MAX_SHARE = 0.6  # of a brain that may be left out


def parse_lesion(upload: Volume, image: Volume) -> Volume:
    """Return the mask, 1 inside, of an upload for `image`: what is not 0 counts, of fractions what is 0.5 or more.

    Raises InputError for an image in place of a mask, and for one that does not lie where `image` does.
    """
    require_overlap(upload, image)
    mask = binarize_soft_mask(upload)
    if not is_label_map(mask.array):
        raise InputError(f"{upload.name}: {NOT_A_MASK_MESSAGE.format(count_values(mask.array))}")
    return replace(mask, array=(mask.array > 0).astype(np.uint8), labels={1: "lesion"}, headers=())


def place_lesion(lesion: Volume | None, regions: Volume, onto: Grid) -> np.ndarray | None:
    """Return where on a grid of 1 mm the lesion and a margin lie, (I, J, K) bool; None without a lesion.

    `regions` are those of its image. Raises InputError for a mask that takes up most of the brain.
    """
    if lesion is None or not lesion.array.any():
        return None
    mask = resample(lesion, onto).array > 0
    brain = resample(regions, onto).array > 0
    if (mask & brain).sum() > MAX_SHARE * brain.sum():
        raise InputError(
            f"{lesion.name}: it covers {(mask & brain).sum() / brain.sum():.0%} of the brain, so that too little is "
            "left to be matched. It must be 1 in the lesion alone."
        )
    return ndimage.binary_dilation(mask, iterations=MARGIN)
