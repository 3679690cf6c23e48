"""Frames in order along their normal, and the grid they form."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from nibabel.affines import from_matvec

from medapp.errors import InputError
from medapp.io.dicom.frames import Frame

SAME_POSITION_MM = 0.01  # mm
SAME_PLANE_TOLERANCE = 1e-2  # of unit vectors
MAX_SPACING_DEVIATION = 0.1  # of the distance between slices
MAX_MISSING_FRACTION = 0.25  # of the slices
MISSING_GAP_RATIO = 1.75  # times the distance around it
MAX_REFINEMENT = 4  # slices drawn for each there is, where distances vary


class Stack(NamedTuple):
    """Frames in order: `order` (n,) indexes the frames, `places` (n,) are their indices along axis 2.

    These are whole numbers but where the distance between slices varies.
    """

    order: np.ndarray
    indices: np.ndarray
    affine: np.ndarray  # (4, 4) index (column, row, slice) -> RAS+ millimetres
    remarks: tuple[str, ...]

    @property
    def depth(self) -> int:
        """Slices along axis 2."""
        return round(float(self.indices[-1])) + 1


def positions_along_normal(found: Sequence[Frame]) -> np.ndarray:
    """(n,) millimetres of the frames along the normal of the first."""
    return np.array([f.position for f in found]) @ np.cross(*found[0].orientation)


def stack_frames(found: Sequence[Frame]) -> Stack:
    """The frames sorted along their normal, and the grid they form; a tilted gantry becomes a sheared affine.

    One orientation, the mean, holds for all. A few slices that are missing leave their place free; where the distance
    varies along the scan, the grid is as fine as the smallest, and slices lie between its places. Raises InputError for
    planes that are not parallel, pixels that differ in size, several frames at one place, more missing slices,
    distances without rule, and a stack that is not straight.
    """
    first = found[0]
    if any(np.abs(f.orientation - first.orientation).max() > SAME_PLANE_TOLERANCE for f in found):
        raise InputError("The slices of this series are not parallel: it is a scout or a radial series, not a volume.")
    if any(np.abs(f.spacing - first.spacing).max() > 1e-3 * first.spacing.max() for f in found):
        raise InputError(
            "The slices of this series have pixels of different sizes; export the ones that belong together."
        )
    left, _, right = np.linalg.svd(np.mean([f.orientation for f in found], axis=0), full_matrices=False)
    orientation = left @ right
    normal = np.cross(*orientation)
    positions = np.array([f.position for f in found])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    gaps = np.diff(positions @ normal)
    if (gaps < SAME_POSITION_MM).any():
        raise InputError(
            "This series holds several images at one place; export one of them as a series of its own and upload that."
        )
    remarks: tuple[str, ...] = ()
    if len(found) == 1:
        if first.thickness is None:
            remarks = ("The slice does not give its thickness: 1 mm is assumed.",)
        step, places = normal * (first.thickness or 1.0), np.zeros(1)
    else:
        places, remarks = _slice_indices(gaps, [found[n].thickness for n in order])
        step = (positions[-1] - positions[0]) / places[-1]
        off = np.abs(positions - positions[0] - places[:, None] * step).max()
        if off > max(MAX_SPACING_DEVIATION * float(np.median(gaps)), 0.1):
            raise InputError("The slices of this series do not lie in one straight stack; upload one stack.")
    tilt = np.degrees(np.arccos(min(1.0, float(step @ normal) / np.linalg.norm(step))))
    if tilt > 0.5:
        remarks += (f"The gantry was tilted by {tilt:.1f}°; the sheared stack is shown and measured as it lies.",)
    matrix = np.column_stack([orientation[0] * first.spacing[1], orientation[1] * first.spacing[0], step])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ from_matvec(matrix, positions[0])
    return Stack(order, places, affine, remarks)


def _slice_indices(gaps: np.ndarray, thickness: Sequence[float | None]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Places of slices that lie `gaps` mm apart, and what is to be said of them; InputError if they make no stack."""
    unit = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    steps = np.rint(gaps / unit)
    even = np.abs(gaps - steps * unit).max() <= MAX_SPACING_DEVIATION * unit
    if not even and len(_even_runs(gaps)) > max(3, len(gaps) // 3):
        raise InputError(
            f"The slices of this series lie at uneven distances, {gaps.min():.2f} to {gaps.max():.2f} mm; "
            "upload one evenly spaced stack."
        )
    missing = _count_missing(gaps, thickness)
    slices = "1 slice is" if missing == 1 else f"{missing} slices are"
    if missing > MAX_MISSING_FRACTION * (len(gaps) + 1):
        raise InputError(f"{slices} missing from this series; upload it whole.")
    remarks = (f"{slices} missing from this series and filled in from the neighbours.",) if missing else ()
    if even and steps.sum() == len(gaps) + missing:
        return np.concatenate([[0], np.cumsum(steps)]), remarks
    reach = float(gaps.sum())
    count = max(1, round(min(reach / unit, MAX_REFINEMENT * len(gaps))))
    if even and count == round(reach / unit):
        places = np.concatenate([[0], np.cumsum(steps)])
    else:
        places = np.concatenate([[0], np.cumsum(gaps)]) * count / reach
        places[-1] = count
    changes = (
        f"The distance between slices changes along the scan, from {gaps.min():.3g} to {gaps.max():.3g} mm: it was "
        f"drawn with slices {reach / count:.3g} mm apart, each from where its neighbours truly lie.",
    )
    return places, (*remarks, *changes)


def _even_runs(gaps: np.ndarray) -> list[tuple[int, int]]:
    """(start, end) of the stretches in which the distance stays the same."""
    ends = [0]
    for n in range(1, len(gaps)):
        if abs(gaps[n] - np.mean(gaps[ends[-1] : n])) > MAX_SPACING_DEVIATION * gaps[n]:
            ends.append(n)
    return list(zip(ends, [*ends[1:], len(gaps)], strict=True))


def _count_missing(gaps: np.ndarray, thickness: Sequence[float | None]) -> int:
    """How many slices are missing: in short stretches of distances too large for what lies around and for the slices.

    A stretch of several at an end of the scan, or of three and more within it, is how the scan was made.
    """
    runs, missing = _even_runs(gaps), 0
    for n, (start, end) in enumerate(runs):
        around = [float(gaps[a:b].mean()) for a, b in (*runs[max(0, n - 1) : n], *runs[n + 1 : n + 2])]
        short = end - start <= (1 if n in (0, len(runs) - 1) else 2)
        if not around or not short or gaps[start:end].mean() < MISSING_GAP_RATIO * max(around):
            continue
        for gap in range(start, end):
            sides = [t for t in thickness[gap : gap + 2] if t]
            if not sides or min(sides) < 0.85 * gaps[gap]:
                missing += max(1, round(gaps[gap] / max(around)) - 1)
    return missing
