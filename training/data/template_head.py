"""The average head that pydeface ships, fitted round any brain."""

from functools import cache
from importlib.resources import files as shipped
from pathlib import Path

import numpy as np
from nibabel.affines import from_matvec
from scipy import ndimage

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.mni_template import TEMPLATE_MARGIN, load_template
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.io import files

HEAD_MARGIN = (
    (24, 24),
    (24, 40),
    (72, 24),
)  # voxels of 1 mm added round a scan: left and right, back and front, below, above
BRAIN_CENTRE, BRAIN_STRETCH = (
    np.array([-5.7, 0.6, -2.8]),
    np.array([0.9, 0.9, 0.85]),
)  # the average head's brain: RAS mm, size
HEAD_STEP = 2  # voxels: the average is too smooth for less
WHITE_LEVEL = 100  # of 255: where the average white matter lies in a fitted head


@cache
def average_head() -> tuple[np.ndarray, np.ndarray]:
    """Return the average head and the signed distance from its brain in mm, both (X, Y, Z) float32, RAS, 1 mm.

    The brain is that of the MNI template, aligned to the head by an affine.
    """
    head = files.read([Path(str(shipped("pydeface") / "data" / "mean_reg2mean.nii.gz"))])
    head = resample(head, with_isotropic_spacing(reorient(head.grid), 1.0))
    mask = load_template().new_like((load_template().array > 0).astype(np.uint8), labels={1: "brain"})
    middle = load_template().grid.to_mm(np.argwhere(mask.array).mean(0))
    start = from_matvec(np.diag(BRAIN_STRETCH), BRAIN_CENTRE - BRAIN_STRETCH * middle)
    affine = register_affine(head, load_template(), start=start, margin=TEMPLATE_MARGIN)
    brain = resample(mask.new_like(mask.array, affine=affine @ mask.affine), head.grid).array > 0
    signed = ndimage.distance_transform_edt(~brain) - ndimage.distance_transform_edt(brain)
    core = ndimage.binary_erosion(brain, iterations=5)
    white = np.percentile(head.array[core], 75)
    return np.asarray(head.array * (WHITE_LEVEL / white), np.float32), signed.astype(np.float32)


def fit_head(brain: np.ndarray, around: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Fit a head round a brain (X, Y, Z) bool, RAS, 1 mm: uint8, every HEAD_STEP-th voxel of its grid and HEAD_MARGIN.

    `around` is the head and the signed distance from its brain, by default the `average_head`.

    A voxel so far from the brain gets what lies as far from that head's brain, in the direction to which the boxes
    round both brains point.
    """
    head, signed = around or average_head()
    grown = np.pad(brain, HEAD_MARGIN)[::HEAD_STEP, ::HEAD_STEP, ::HEAD_STEP]
    far = HEAD_STEP * (ndimage.distance_transform_edt(~grown) - ndimage.distance_transform_edt(grown))
    (low, high), (own_low, own_high) = (np.array(_find_extent(mask), float).T for mask in (signed < 0, grown))
    places = np.indices(grown.shape, np.float32)
    for axis, scale in enumerate((high - low) / (own_high - own_low)):
        places[axis] = low[axis] + (places[axis] - own_low[axis]) * scale
    uphill = np.gradient(ndimage.gaussian_filter(signed, 2))
    steep = np.maximum(np.sqrt(sum(slope * slope for slope in uphill)), 0.3)
    for _ in range(2):
        miss = np.clip(ndimage.map_coordinates(signed, places, order=1, mode="nearest") - far, -12, 12)
        places -= [miss * ndimage.map_coordinates(slope / steep, places, order=1, mode="nearest") for slope in uphill]
    return np.rint(ndimage.map_coordinates(head, places, order=1)).clip(0, 255).astype(np.uint8)


def _find_extent(mask: np.ndarray) -> list[tuple[int, int]]:
    """The first and the last index of what is True, along each axis."""
    occupied = (np.flatnonzero(mask.any(tuple(a for a in range(3) if a != axis))) for axis in range(3))
    return [(int(index[0]), int(index[-1])) for index in occupied]
