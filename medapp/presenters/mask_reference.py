"""What segmentations are compared with: a mask or a label map that lies where the image lies."""

from collections.abc import Mapping

import numpy as np

from medapp.analysis.reference import BY_VOXELS_HINT, describe_misplacement
from medapp.errors import InputError
from medapp.imaging.geometry import covered_fraction, is_inside
from medapp.imaging.volume import Volume
from medapp.io.raster import NO_PIXEL_SIZE_REMARK

MIN_SHARE = 0.5  # of what a reference marks that must lie within the image
SAMPLE_SIZE = 100_000  # marked voxels that are looked at
MAX_LABELS = 256  # different values; an image has more
MANY_LABELS, MIN_UNIFORMITY = 20, 0.3  # of so many values, neighbours in a label map are mostly equal, in an image not


def check_mask_reference(reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
    """Raises InputError for a reference that is no mask or label map, or lies elsewhere than the first of `volumes`."""
    values = np.unique(reference.array)
    if values[-1] > 1 and (
        len(values) > MAX_LABELS or (len(values) > MANY_LABELS and _uniformity(reference.array) < MIN_UNIFORMITY)
    ):
        raise InputError(f"It holds {len(values)} different values: it is an image, not a mask.")
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
        offer = f" {BY_VOXELS_HINT}" if reference.shape == image.shape else ""
        raise InputError(
            f"{describe_misplacement(reference, image)} {share:.0%} of what it marks is within the image.{offer}"
        )


def _uniformity(array: np.ndarray) -> float:
    """The share of the marked voxels of (I, J, K) that have the value of the next one along the first axis, 0 to 1."""
    marked = array[:-1] > 0
    return float((array[:-1] == array[1:])[marked].mean()) if marked.any() else 1.0
