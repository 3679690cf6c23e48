"""Rigid: how a second scan of the same head has to be turned and shifted to lie on the first, whatever its contrast."""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from nibabel.affines import from_matvec
from scipy import ndimage

from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.volume import Volume
from medapp.io.transforms import RAS_TO_LPS

FINEST_SPACING = 2.0  # mm at which the scans are compared last, after 4 and 8 mm
SAMPLED_SHARE = 0.1  # of the voxels
SAMPLING_SEED = 1
HISTOGRAM_BINS = 32
MAX_STEPS = 60  # at each spacing
MIN_START_DISTANCE = 2.0  # mm: a start whose heads lie nearer than this to the other's is no other start


class Motion(NamedTuple):
    """How far a head of usual size has moved: degrees of the turn, millimetres in the head's middle."""

    degrees: float
    mm: float


MIN_MOTION = Motion(0.5, 0.5)  # less than this is not told from nothing
LARGE_MOTION = Motion(5.0, 8.0)  # more than this between two scans of one study is a mistake in a header
OUTLINE_SPACING = 6.0  # mm, for the comparison of outlines
MIN_OUTLINE_VIEW = 0.8  # share of the first scan's box that must lie in the second's
MIN_OUTLINE_DICE = 0.88  # Dice of the outlines from which the scans are taken to be aligned


def register_rigid(moving: Volume, fixed: Volume, within: Volume | None = None) -> np.ndarray:
    """(4, 4) with six parameters that sends fixed to moving points, RAS+ millimetres to RAS+ millimetres.

    Mutual information (Mattes et al. 2003, doi:10.1109/TMI.2002.803117) of any two contrasts on any grids, compared
    where `within` is above 0 if it is given. Starts from the places that the files tell and from the heads' middles,
    which may be turned by some 20° and lie anywhere. Where nothing can be compared, and where the files are as right as
    this can tell (SURE), they are believed.
    """
    target, source = (_to_sitk(volume) for volume in (fixed, moving))
    mask = None
    if within is not None and within.array.any():
        drawn = within.new_like((within.array > 0).astype(np.uint8), labels={1: "inside"})
        mask = _to_sitk(drawn, sitk.sitkUInt8, with_isotropic_spacing(reorient(fixed.grid), FINEST_SPACING))
    tried = []
    for start in _initial_transforms(fixed, moving):
        with suppress(RuntimeError):  # too little of one lies on the other
            tried.append(_optimize(target, source, start, (4,), mask))
    if not tried:
        return np.eye(4)
    _, best = min(tried, key=lambda each: each[0])
    with suppress(RuntimeError):
        _, best = _optimize(target, source, best, (2, 1), mask)
    turn, centre = np.reshape(best.GetMatrix(), (3, 3)), np.array(best.GetCenter())
    affine = RAS_TO_LPS @ from_matvec(turn, centre + best.GetTranslation() - turn @ centre) @ RAS_TO_LPS
    small = measure_motion(affine, find_head_centre(fixed))
    return np.eye(4) if small.degrees < MIN_MOTION.degrees and small.mm < MIN_MOTION.mm else affine


def find_misplacement(moving: Volume, fixed: Volume) -> np.ndarray | None:
    """(4, 4) as `rigid` gives it, for a second scan of a head that clearly does not lie on the first; else None.

    A quick look at the outlines of both, on AWRY millimetres, decides whether to compare at all; two scans that lie on
    each other as well as their files say are left as they are.
    """
    if _outlines_agree(moving, fixed):
        return None
    affine = register_rigid(moving, fixed)
    found = measure_motion(affine, find_head_centre(fixed))
    return affine if found.degrees > LARGE_MOTION.degrees or found.mm > LARGE_MOTION.mm else None


def _outlines_agree(moving: Volume, fixed: Volume) -> bool:
    """Whether both heads fill the same place, wherever both are in view."""
    grid = with_isotropic_spacing(reorient(fixed.grid), OUTLINE_SPACING)
    seen = Volume(np.ones(moving.shape, np.uint8), moving.affine, labels={1: "view"})
    view = resample(seen, grid).array > 0
    if view.mean() < MIN_OUTLINE_VIEW:
        return False
    heads = []
    for volume in (moving, fixed):
        drawn = resample(volume, grid, outside=float(volume.array.min())).array
        some = np.minimum(drawn, np.percentile(drawn, 99))
        heads.append(ndimage.binary_fill_holes(some > some.min() + 0.5 * (some.mean() - some.min())) & view)
    a, b = heads
    return bool(2 * (a & b).sum() >= MIN_OUTLINE_DICE * (a.sum() + b.sum()))


def measure_motion(affine: np.ndarray, middle: np.ndarray) -> Motion:
    """Of a rigid (4, 4), at the point `middle` (3,) in RAS+ millimetres."""
    turn = np.degrees(np.arccos(np.clip((np.trace(affine[:3, :3]) - 1) / 2, -1, 1)))
    return Motion(float(turn), float(np.linalg.norm(affine[:3, :3] @ middle + affine[:3, 3] - middle)))


def find_head_centre(volume: Volume) -> np.ndarray:
    """(3,) centre of what is brighter than the mean, RAS+ millimetres; that of the box where nothing is."""
    step = [max(1, n // 64) for n in volume.shape]
    few = volume.array[tuple(slice(None, None, n) for n in step)]
    bright = np.argwhere(few > few.mean())
    index = bright.mean(0) * step if len(bright) else (np.array(volume.shape) - 1) / 2
    return volume.grid.to_mm(index)


def _initial_transforms(fixed: Volume, moving: Volume) -> list[sitk.Euler3DTransform]:
    """As the files have it, and with the middles of the heads on each other."""
    here, there = ((RAS_TO_LPS[:3, :3] @ find_head_centre(volume)).tolist() for volume in (fixed, moving))
    shift = np.subtract(there, here)
    shifts = [np.zeros(3)] + [shift] * bool(np.linalg.norm(shift) > MIN_START_DISTANCE)
    return [sitk.Euler3DTransform(here, 0.0, 0.0, 0.0, tuple(map(float, by))) for by in shifts]


def _optimize(
    fixed: sitk.Image,
    moving: sitk.Image,
    start: sitk.Euler3DTransform,
    shrink: tuple[int, ...],
    mask: sitk.Image | None,
) -> tuple[float, sitk.Euler3DTransform]:
    """Minus the mutual information at the end of the descent from `start`, and where it ended."""
    found = sitk.Euler3DTransform(start)
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
    method.SetInitialTransform(found, inPlace=True)
    method.Execute(fixed, moving)
    return method.GetMetricValue(), found


def _to_sitk(volume: Volume, kind: int = sitk.sitkFloat32, onto=None) -> sitk.Image:
    """The volume at SPACING, as the library has it."""
    grid = onto or with_isotropic_spacing(reorient(volume.grid), FINEST_SPACING)
    drawn = resample(volume, grid, outside=float(volume.array.min()))
    image = sitk.Cast(sitk.GetImageFromArray(np.ascontiguousarray(drawn.array.T)), kind)
    place = RAS_TO_LPS @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetOrigin(place[:3, 3].tolist())
    image.SetDirection((place[:3, :3] / grid.spacing).ravel().tolist())
    return image
