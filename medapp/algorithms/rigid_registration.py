"""Rigid registration of a second scan of the same head, whatever its contrast, by mutual information."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from nibabel.affines import from_matvec
from scipy import ndimage

from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.volume import Volume
from medapp.io.transforms import RAS_TO_LPS

FINEST_SPACING = 2.0  # mm of the last level, after 8 and 4 mm
SAMPLED_SHARE = 0.1  # of the voxels
SAMPLING_SEED = 1
HISTOGRAM_BINS = 32
MAX_STEPS = 60  # at each spacing
MIN_START_DISTANCE = 2.0  # mm from the first start, below which a second one is not tried


class Motion(NamedTuple):
    """How far a head has moved: degrees of rotation, and mm at the centre of the head."""

    degrees: float
    mm: float


MIN_MOTION = Motion(0.5, 0.5)  # not distinguished from no motion
LARGE_MOTION = Motion(5.0, 8.0)  # more than this between two scans of one study is an error in a header
OUTLINE_SPACING = 6.0  # mm, for the comparison of outlines
MIN_OUTLINE_VIEW = 0.8  # share of the first scan's box that must lie in the second's
MIN_OUTLINE_DICE = 0.88  # Dice of the outlines from which the scans are taken to be aligned


def register_rigid(moving: Volume, fixed: Volume, within: Volume | None = None) -> np.ndarray:
    """Estimate the rigid transform (4, 4), 6 parameters, that maps fixed to moving points, both in RAS+ mm.

    Mutual information (Mattes et al. 2003, doi:10.1109/TMI.2002.803117) of any two contrasts on any grids, compared
    where `within` is above 0 if it is given. It starts from the headers and from the centres of the heads, which may be
    rotated by some 20° and lie anywhere. Where nothing can be compared, and where the motion is below MIN_MOTION, the
    headers are trusted and the identity is returned.
    """
    target, source = (_to_sitk(volume) for volume in (fixed, moving))
    mask = None
    if within is not None and within.array.any():
        inside = within.new_like((within.array > 0).astype(np.uint8), labels={1: "inside"})
        mask = _to_sitk(inside, sitk.sitkUInt8, with_isotropic_spacing(reorient(fixed.grid), FINEST_SPACING))
    attempts = []
    for start in _initial_transforms(fixed, moving):
        with suppress(RuntimeError):  # too little of one lies on the other
            attempts.append(_optimize(target, source, start, (4,), mask))
    if not attempts:
        return np.eye(4)
    _, best = min(attempts, key=lambda each: each[0])
    with suppress(RuntimeError):
        _, best = _optimize(target, source, best, (2, 1), mask)
    matrix, centre = np.reshape(best.GetMatrix(), (3, 3)), np.array(best.GetCenter())
    affine = RAS_TO_LPS @ from_matvec(matrix, centre + best.GetTranslation() - matrix @ centre) @ RAS_TO_LPS
    motion = measure_motion(affine, find_head_centre(fixed))
    return np.eye(4) if motion.degrees < MIN_MOTION.degrees and motion.mm < MIN_MOTION.mm else affine


def find_misplacement(moving: Volume, fixed: Volume) -> np.ndarray | None:
    """Return what `register_rigid` gives for a second scan that clearly does not lie on the first; else None.

    A quick comparison of the outlines on OUTLINE_SPACING decides whether to register at all; scans that agree as their
    headers say are left as they are, and so are those whose outlines would lie on each other no better than now.
    """
    now = _compare_outlines(moving, fixed)
    if now.view >= MIN_OUTLINE_VIEW and now.in_view >= MIN_OUTLINE_DICE:
        return None
    affine = register_rigid(moving, fixed)
    motion = measure_motion(affine, find_head_centre(fixed))
    if motion.degrees <= LARGE_MOTION.degrees and motion.mm <= LARGE_MOTION.mm:
        return None
    moved = moving.new_like(moving.array, affine=np.linalg.inv(affine) @ moving.affine)
    return affine if _compare_outlines(moved, fixed).everywhere > now.everywhere else None


class OutlineMatch(NamedTuple):
    """How much of the first scan's box lies in the second's, and Dice of the heads in there, and everywhere."""

    view: float
    in_view: float
    everywhere: float


def _compare_outlines(moving: Volume, fixed: Volume) -> OutlineMatch:
    """Compare how far both heads fill the same place."""
    grid = with_isotropic_spacing(reorient(fixed.grid), OUTLINE_SPACING)
    field_of_view = Volume(np.ones(moving.shape, np.uint8), moving.affine, labels={1: "view"})
    view = resample(field_of_view, grid).array > 0
    heads = []
    for volume in (moving, fixed):
        array = resample(volume, grid, outside=float(volume.array.min())).array
        clipped = np.minimum(array, np.percentile(array, 99))
        heads.append(ndimage.binary_fill_holes(clipped > clipped.min() + 0.5 * (clipped.mean() - clipped.min())))
    both, either = heads[0] & heads[1], heads[0].astype(int) + heads[1]
    dice = [2 * both[part].sum() / max(either[part].sum(), 1) for part in (view, ...)]
    return OutlineMatch(float(view.mean()), *map(float, dice))


def measure_motion(affine: np.ndarray, centre: np.ndarray) -> Motion:
    """Measure the motion of a rigid transform (4, 4) at the point `middle` (3,) in RAS+ mm."""
    degrees = np.degrees(np.arccos(np.clip((np.trace(affine[:3, :3]) - 1) / 2, -1, 1)))
    return Motion(float(degrees), float(np.linalg.norm(affine[:3, :3] @ centre + affine[:3, 3] - centre)))


def find_head_centre(volume: Volume) -> np.ndarray:
    """Return the centre (3,) of the voxels brighter than the mean, RAS+ mm; that of the box if there are none."""
    step = [max(1, n // 64) for n in volume.shape]
    few = volume.array[tuple(slice(None, None, n) for n in step)]
    bright = np.argwhere(few > few.mean())
    index = bright.mean(0) * step if len(bright) else (np.array(volume.shape) - 1) / 2
    return volume.grid.to_mm(index)


def _initial_transforms(fixed: Volume, moving: Volume) -> list[sitk.Euler3DTransform]:
    """Return the starts: as the headers have it, and with the centres of the heads on each other."""
    fixed_centre, moving_centre = (
        (RAS_TO_LPS[:3, :3] @ find_head_centre(volume)).tolist() for volume in (fixed, moving)
    )
    shift = np.subtract(moving_centre, fixed_centre)
    shifts = [np.zeros(3)] + [shift] * bool(np.linalg.norm(shift) > MIN_START_DISTANCE)
    return [sitk.Euler3DTransform(fixed_centre, 0.0, 0.0, 0.0, tuple(map(float, by))) for by in shifts]


def _optimize(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Euler3DTransform,
    shrink: tuple[int, ...],
    mask: sitk.Image | None,
) -> tuple[float, sitk.Euler3DTransform]:
    """Return minus the mutual information at the end of the descent from `start`, and where it ended."""
    transform = sitk.Euler3DTransform(start)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel([min(1.0, SAMPLED_SHARE * n**2) for n in shrink], SAMPLING_SEED)
    if mask is not None:
        method.SetMetricFixedMask(mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.005, MAX_STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(list(shrink))
    method.SetSmoothingSigmasPerLevel([n / 2 * (n > 1) for n in shrink])
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return method.GetMetricValue(), transform


def _to_sitk(volume: Volume, pixel_type: int = sitk.sitkFloat32, onto=None) -> sitk.Image:
    """Convert a volume to a SimpleITK image, on `onto` or at FINEST_SPACING."""
    grid = onto or with_isotropic_spacing(reorient(volume.grid), FINEST_SPACING)
    resampled = resample(volume, grid, outside=float(volume.array.min()))
    image = sitk.Cast(sitk.GetImageFromArray(np.ascontiguousarray(resampled.array.T)), pixel_type)
    lps_affine = RAS_TO_LPS @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(lps_affine[:3, 3].tolist())
    image.SetDirection((lps_affine[:3, :3] / grid.spacing).ravel().tolist())
    return image
