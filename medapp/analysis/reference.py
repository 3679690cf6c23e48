"""Check whether a reference lies where the image lies, has lost its header, or is a soft mask."""

from dataclasses import replace

import numpy as np

from medapp.analysis.mask_metrics import compute_dice
from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume

MAX_CORNER_DISTANCE = 2.0  # voxels by which the corners of boxes meant to be the same may differ
MAX_OFF_DIAGONAL = 1e-3  # relative, of axes that are not oblique
MISFIT_RATIO, MISFIT_MARGIN = 2.0, 0.1  # how much larger a Dice must be to tell where a reference belongs
SOFT_MASK_THRESHOLD = 0.5  # probability from which a voxel of a soft mask counts

NOT_A_MASK_MESSAGE = "It holds {} different values: it is an image, not a mask."
BY_VOXELS_HINT = (
    "If so, tick “Take the reference voxel by voxel” beside it (command line: --reference-by-voxels; API: "
    "reference_by_voxels)."
)
MISFIT_WARNING = (
    "The reference fits better voxel by voxel (Dice {:.2f}) than by its header ({:.2f}): is its header wrong?"
)
SOFT_MASK_REMARK = "Reference: it holds fractions from 0 to 1; voxels of 0.5 or more count."
BY_VOXELS_REMARK = "Reference: taken voxel by voxel; the position in its header was ignored."


def require_header(reference: Volume, image: Volume) -> None:
    """Raise InputError for a reference that seems to have lost its header, and say how to use it all the same."""
    if has_lost_header(reference, image):
        raise InputError(f"{describe_misplacement(reference, image)} {BY_VOXELS_HINT}")


def describe_misplacement(reference: Volume, image: Volume, noun: str = "reference") -> str:
    """Describe how far a reference, or what the noun says, lies from the image, in a sentence."""
    message = f"The {noun} lies {measure_distance(reference.grid, image.grid):.0f} mm away from the image"
    return f"{message}, but has its shape: is its header lost?" if reference.shape == image.shape else f"{message}."


def has_lost_header(reference: Volume, image: Volume) -> bool:
    """Tell whether the reference has the image's shape but lies elsewhere, with the geometry of a missing header.

    That is unrotated, with its first voxel or its centre at 0, or with voxels of 1 mm where the image's are not.
    """
    if reference.shape != image.shape or _is_same_box(reference.grid, image.grid):
        return False
    matrix = reference.affine[:3, :3]
    if np.abs(matrix - np.diag(np.diag(matrix))).max() > MAX_OFF_DIAGONAL * np.abs(matrix).max():
        return False
    middle = reference.grid.to_mm((np.array(reference.shape) - 1) / 2)
    is_default = np.abs(reference.affine[:3, 3]).max() < 1e-3 or bool((np.abs(middle) <= reference.spacing).all())
    return is_default or (np.allclose(reference.spacing, 1) and not np.allclose(image.spacing, 1, atol=0.01))


def measure_distance(one: Grid, other: Grid) -> float:
    """Measure the distance between the centres of two grids in mm."""
    middles = (grid.to_mm((np.array(grid.shape) - 1) / 2) for grid in (one, other))
    return float(np.linalg.norm(np.subtract(*middles)))


def align_by_voxels(reference: Volume, image: Volume) -> Volume:
    """Return the reference with the image's affine, whatever its header says; raises InputError for another shape."""
    if reference.shape != image.shape:
        shapes = (" × ".join(map(str, volume.shape)) for volume in (reference, image))
        raise InputError(
            "The reference cannot be taken voxel by voxel: it has {} voxels, the image {}.".format(*shapes)
        )
    return replace(reference, affine=image.affine, remarks=(*reference.remarks, BY_VOXELS_REMARK))


def binarize_soft_mask(reference: Volume) -> Volume:
    """Turn a reference of fractions from 0 to 1 into a mask, with a remark; return any other as it is."""
    array = reference.array
    if array.dtype.kind != "f" or array.min() < 0 or array.max() > 1 or not (array % 1).any():
        return reference
    mask = (array >= SOFT_MASK_THRESHOLD).astype(np.uint8)
    return replace(
        reference,
        array=mask,
        labels=reference.labels or {1: "reference"},
        remarks=(*reference.remarks, SOFT_MASK_REMARK),
    )


def describe_misfit(reference: Volume, truth: Volume, mask: Volume) -> str:
    """Return a warning if the reference fits the mask far better voxel by voxel than by its header, else "".

    `truth` is the reference on the grid of the mask. This happens when the header has flipped axes or wrong voxel
    sizes.
    """
    if reference.shape != mask.shape or reference.grid.is_same(mask.grid):
        return ""
    ours = mask.array > 0
    voxels, header = (compute_dice(ours, each.array > 0) for each in (reference, truth))
    return (
        f"{MISFIT_WARNING.format(voxels, header)} {BY_VOXELS_HINT}"
        if voxels > MISFIT_RATIO * header + MISFIT_MARGIN
        else ""
    )


def _is_same_box(one: Grid, other: Grid) -> bool:
    """Whether two grids of one shape fill the same box, whatever the order of their axes."""
    distances = np.linalg.norm(one.corners[:, None] - other.corners[None], axis=-1)
    return bool(distances.min(1).max() <= MAX_CORNER_DISTANCE * max(other.spacing))
