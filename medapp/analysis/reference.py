"""Reference: whether what a result is compared with lies where the image lies, or has lost its header."""

from dataclasses import replace

import numpy as np

from medapp.analysis.mask_metrics import compute_dice
from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume

MAX_CORNER_DISTANCE = 2.0  # voxels, by which the corners of two boxes may differ that are meant to be one
MAX_OFF_DIAGONAL = 1e-3  # off the diagonal, at most, of axes that no scanner has turned
MISFIT_RATIO, MISFIT_MARGIN = 2.0, 0.1  # times, and by how much, a Dice is larger that says where a reference belongs
SOFT_MASK_THRESHOLD = 0.5  # of a lesion's probability, from which a voxel of a soft mask counts

BY_VOXELS_HINT = (
    "If so, tick “Take the reference voxel by voxel” beside it (command line: --reference-by-voxels; API: "
    "reference_by_voxels)."
)
MISFIT_WARNING = (
    "The reference fits better voxel by voxel (Dice {:.2f}) than by its header ({:.2f}): is its header wrong?"
)
SOFT_MASK_REMARK = "Reference: it holds fractions from 0 to 1; a voxel counts from 0.5 on."
BY_VOXELS_REMARK = "Reference: it was taken voxel by voxel; what its header says of its place was not used."


def require_header(reference: Volume, image: Volume) -> None:
    """Raises InputError for a reference that seems to have lost its header, and says how to take it all the same."""
    if has_lost_header(reference, image):
        raise InputError(f"{describe_misplacement(reference, image)} {BY_VOXELS_HINT}")


def describe_misplacement(reference: Volume, image: Volume) -> str:
    """The sentence on a reference that lies elsewhere."""
    said = f"The reference lies elsewhere ({measure_distance(reference.grid, image.grid):.0f} mm away)"
    return f"{said}; it has the same shape: is its header lost?" if reference.shape == image.shape else f"{said}."


def has_lost_header(reference: Volume, image: Volume) -> bool:
    """Whether the reference has as many voxels as the image, lies elsewhere, and so as if nobody had said where.

    That is along the axes, with its first voxel or its middle at 0, or with voxels of 1 mm where the image's are not.
    """
    if reference.shape != image.shape or _is_same_box(reference.grid, image.grid):
        return False
    turn = reference.affine[:3, :3]
    if np.abs(turn - np.diag(np.diag(turn))).max() > MAX_OFF_DIAGONAL * np.abs(turn).max():
        return False
    middle = reference.grid.to_mm((np.array(reference.shape) - 1) / 2)
    unsaid = np.abs(reference.affine[:3, 3]).max() < 1e-3 or bool((np.abs(middle) <= reference.spacing).all())
    return unsaid or (np.allclose(reference.spacing, 1) and not np.allclose(image.spacing, 1, atol=0.01))


def measure_distance(one: Grid, other: Grid) -> float:
    """Millimetres between the middles of two boxes."""
    middles = (grid.to_mm((np.array(grid.shape) - 1) / 2) for grid in (one, other))
    return float(np.linalg.norm(np.subtract(*middles)))


def align_by_voxels(reference: Volume, image: Volume) -> Volume:
    """The reference with its voxels on those of the image, whatever its header says.

    Raises InputError if they are not as many along each axis.
    """
    if reference.shape != image.shape:
        shapes = (" × ".join(map(str, volume.shape)) for volume in (reference, image))
        raise InputError(
            "The reference cannot be taken voxel by voxel: it has {} voxels, the image {}.".format(*shapes)
        )
    return replace(reference, affine=image.affine, remarks=(*reference.remarks, BY_VOXELS_REMARK))


def binarize_soft_mask(reference: Volume) -> Volume:
    """The reference; where it holds fractions from 0 to 1, as a probability does, 1 from HALF on, and a remark."""
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
    """What is to be said of a reference that would fit the `mask` far better voxel by voxel than by its header, or "".

    `truth` is the reference on the grid of the mask. So it is with a header whose axes are flipped, or whose voxels
    have another size than they say.
    """
    if reference.shape != mask.shape or reference.grid.is_same(mask.grid):
        return ""
    found = mask.array > 0
    voxels, header = (compute_dice(found, each.array > 0) for each in (reference, truth))
    return (
        f"{MISFIT_WARNING.format(voxels, header)} {BY_VOXELS_HINT}"
        if voxels > MISFIT_RATIO * header + MISFIT_MARGIN
        else ""
    )


def _is_same_box(one: Grid, other: Grid) -> bool:
    """Whether two grids of one shape fill the same box, in whatever order their voxels are stored."""
    ends = [np.array(np.meshgrid(*((0, n - 1) for n in grid.shape))).reshape(3, -1).T for grid in (one, other)]
    here, there = one.to_mm(ends[0]), other.to_mm(ends[1])
    apart = np.linalg.norm(here[:, None] - there[None], axis=-1)
    return bool(apart.min(1).max() <= MAX_CORNER_DISTANCE * max(other.spacing))
