"""Sort frames along their normal and build the grid that they form."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from nibabel.affines import from_matvec

from medapp.errors import InputError
from medapp.io.dicom.frames import Frame

SAME_POSITION_MM = 0.01  # mm
SAME_PLANE_TOLERANCE = 1e-2  # of unit vectors
MAX_SPACING_DEVIATION = 0.1  # relative to the distance between slices
MAX_MISSING_FRACTION = 0.25  # of the slices
MISSING_GAP_RATIO = 1.75  # of a gap that is a missing slice to the distances around it
MAX_REFINEMENT = 4  # output slices per slice where distances vary
NOT_PARALLEL_MESSAGE = (
    "The slices of this series are not parallel: it is a scout or a radial series, not a volume; choose another one."
)


class Stack(NamedTuple):
    """Frames in spatial order: `order` (n,) indexes the frames, `indices` (n,) are their positions along axis 2.

    `indices` are whole numbers unless the distance between slices varies.
    """

    order: np.ndarray
    indices: np.ndarray
    affine: np.ndarray  # (4, 4) index (column, row, slice) -> RAS+ millimetres
    remarks: tuple[str, ...]
    is_complete: bool = True  # evenly spaced, without a gap

    @property
    def depth(self) -> int:
        """Number of slices along axis 2."""
        return round(float(self.indices[-1])) + 1


def positions_along_normal(frames: Sequence[Frame]) -> np.ndarray:
    """Return the positions (n,) of the frames in millimetres along the normal of the first."""
    return np.array([frame.position for frame in frames]) @ np.cross(*frames[0].orientation)


def stack_frames(frames: Sequence[Frame]) -> Stack:
    """Sort the frames along their normal and return the grid they form; a tilted gantry becomes a sheared affine.

    All get the mean orientation. The positions of a few missing slices stay free; where the distance varies along the
    scan, the grid is as fine as the smallest distance, and slices lie between its positions. Raises InputError for
    planes that are not parallel, different pixel sizes, several frames at one position, more missing slices, irregular
    distances, and a stack that is not straight.
    """
    first = frames[0]
    if any(np.abs(f.orientation - first.orientation).max() > SAME_PLANE_TOLERANCE for f in frames):
        raise InputError(NOT_PARALLEL_MESSAGE)
    if any(np.abs(f.spacing - first.spacing).max() > 1e-3 * first.spacing.max() for f in frames):
        raise InputError("The slices of this series have different pixel sizes; export those that belong together.")
    left, _, right = np.linalg.svd(np.mean([f.orientation for f in frames], axis=0), full_matrices=False)
    orientation = left @ right
    normal = np.cross(*orientation)
    positions = np.array([f.position for f in frames])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    gaps = np.diff(positions @ normal)
    if (gaps < SAME_POSITION_MM).any():
        raise InputError(
            "This series holds several images at one position; export one of them as a separate series and upload that."
        )
    remarks: tuple[str, ...] = ()
    gap_remarks: tuple[str, ...] = ()
    if len(frames) == 1:
        if first.thickness is None:
            remarks = ("The slice has no thickness: 1 mm is assumed.",)
        step, indices = normal * (first.thickness or 1.0), np.zeros(1)
    else:
        indices, gap_remarks = _slice_indices(gaps, [frames[n].thickness for n in order])
        step = (positions[-1] - positions[0]) / indices[-1]
        deviation = np.abs(positions - positions[0] - indices[:, None] * step).max()
        if deviation > max(MAX_SPACING_DEVIATION * float(np.median(gaps)), 0.1):
            raise InputError("The slices of this series do not form one straight stack; upload one stack.")
    tilt = np.degrees(np.arccos(min(1.0, float(step @ normal) / np.linalg.norm(step))))
    if tilt > 0.5:
        remarks += (f"The gantry was tilted by {tilt:.1f}°; the sheared stack is kept as it is.",)
    matrix = np.column_stack([orientation[0] * first.spacing[1], orientation[1] * first.spacing[0], step])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ from_matvec(matrix, positions[0])
    return Stack(order, indices, affine, (*gap_remarks, *remarks), is_complete=not gap_remarks)


def _slice_indices(gaps: np.ndarray, thickness: Sequence[float | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the indices of slices that are `gaps` mm apart, and remarks. Raises InputError if they form no stack."""
    unit = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    steps = np.rint(gaps / unit)
    is_even = np.abs(gaps - steps * unit).max() <= MAX_SPACING_DEVIATION * unit
    if not is_even and len(_even_runs(gaps)) > max(3, len(gaps) // 3):
        raise InputError(
            f"The slices of this series lie at uneven distances, {gaps.min():.2f} to {gaps.max():.2f} mm; "
            "upload one evenly spaced stack."
        )
    missing = _count_missing(gaps, thickness)
    subject = "1 slice is" if missing == 1 else f"{missing} slices are"
    if missing > MAX_MISSING_FRACTION * (len(gaps) + 1):
        raise InputError(f"{subject} missing from this series; upload the complete series.")
    remarks = (f"{subject} missing from this series and interpolated from the neighbours.",) if missing else ()
    if is_even and steps.sum() == len(gaps) + missing:
        return np.concatenate([[0], np.cumsum(steps)]), remarks
    extent = float(gaps.sum())
    count = max(1, round(min(extent / unit, MAX_REFINEMENT * len(gaps))))
    if is_even and count == round(extent / unit):
        indices = np.concatenate([[0], np.cumsum(steps)])
    else:
        indices = np.concatenate([[0], np.cumsum(gaps)]) * count / extent
        indices[-1] = count
    change_remarks = (
        f"The distance between slices changes along the scan, from {gaps.min():.3g} to {gaps.max():.3g} mm: it was "
        f"resampled to slices {extent / count:.3g} mm apart, from their true positions.",
    )
    return indices, (*remarks, *change_remarks)


def _even_runs(gaps: np.ndarray) -> list[tuple[int, int]]:
    """Return (start, end) of the runs in which the distance between slices stays the same."""
    ends = [0]
    for n in range(1, len(gaps)):
        if abs(gaps[n] - np.mean(gaps[ends[-1] : n])) > MAX_SPACING_DEVIATION * gaps[n]:
            ends.append(n)
    return list(zip(ends, [*ends[1:], len(gaps)], strict=True))


def _count_missing(gaps: np.ndarray, thickness: Sequence[float | None]) -> int:
    """Count missing slices: short runs of distances too large compared with those around and with the slices.

    A run of several at an end of the scan, or of three and more within it, is how the scan was acquired.
    """
    runs, missing = _even_runs(gaps), 0
    for n, (start, end) in enumerate(runs):
        neighbours = [float(gaps[a:b].mean()) for a, b in (*runs[max(0, n - 1) : n], *runs[n + 1 : n + 2])]
        is_short = end - start <= (1 if n in (0, len(runs) - 1) else 2)
        if not neighbours or not is_short or gaps[start:end].mean() < MISSING_GAP_RATIO * max(neighbours):
            continue
        for gap in range(start, end):
            sides = [t for t in thickness[gap : gap + 2] if t]
            if not sides or min(sides) < 0.85 * gaps[gap]:
                missing += max(1, round(gaps[gap] / max(neighbours)) - 1)
    return missing
