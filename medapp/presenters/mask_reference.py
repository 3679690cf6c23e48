"""What segmentations are compared with: a mask or a label map that lies where the image lies."""

from collections.abc import Mapping

import numpy as np

from medapp.analysis.reference import BY_VOXELS_HINT, NOT_A_MASK_MESSAGE, describe_misplacement
from medapp.errors import InputError
from medapp.imaging.geometry import covered_fraction, is_inside
from medapp.imaging.label_maps import count_values, is_label_map
from medapp.imaging.volume import Volume
from medapp.io.raster import NO_PIXEL_SIZE_REMARK

MIN_SHARE = 0.5  # of what a reference marks that must lie within the image
SAMPLE_SIZE = 100_000  # marked voxels that are looked at


def check_mask_reference(reference: Volume, volumes: Mapping[str, Volume | None], noun: str = "reference") -> None:
    """Raises InputError for a reference that is no mask or label map, or lies elsewhere than the first of `volumes`.

    `noun` says what else it is than a reference.
    """
    if reference.array.max() > 1 and not is_label_map(reference.array):
        raise InputError(NOT_A_MASK_MESSAGE.format(count_values(reference.array)))
    image = next(volume for volume in volumes.values() if volume is not None)
    if NO_PIXEL_SIZE_REMARK in reference.remarks and 1 not in image.shape:
        raise InputError("It is a picture of one slice, which does not say where it lies; the scan has many.")
    marked = np.flatnonzero(reference.array > 0)
    if len(marked):
        index = np.stack(np.unravel_index(marked[:: len(marked) // SAMPLE_SIZE + 1], reference.shape), axis=-1)
        share = float(is_inside(image.grid.to_index(reference.grid.to_mm(index)), image.grid).mean())
    else:
        share = covered_fraction(image.grid, reference.grid)
    if share < MIN_SHARE:
        offer = f" {BY_VOXELS_HINT}" if noun == "reference" and reference.shape == image.shape else ""
        raise InputError(
            f"{describe_misplacement(reference, image, noun)} {share:.0%} of what it marks is within the image.{offer}"
        )
