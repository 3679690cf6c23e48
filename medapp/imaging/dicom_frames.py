"""Where the frames of a DICOM series lie: one account for single-frame and multi-frame (enhanced) files.

DICOM counts in LPS+ millimetres; ImageOrientationPatient gives first the direction in which the column index grows,
then that in which the row index grows, but PixelSpacing first the distance between rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from nibabel.affines import from_matvec
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.imaging.nifti import NO_POSITION
from medapp.imaging.pictures import NO_SIZE

SAME_PLACE = 0.01  # mm
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
UNEVEN = 0.1  # of the distance between slices
MAX_MISSING = 0.25  # of the slices
DIFFERENCES = (
    ("echo times", ("EffectiveEchoTime", "EchoTime")),
    ("b-values", ("DiffusionBValue",)),
    ("inversion times", ("InversionTime", "InversionTimes")),
    ("time points", ("TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime", "FrameReferenceTime")),
    ("kinds of image, such as magnitude and phase", ("ImageType", "FrameType", "ComplexImageComponent")),
    ("acquisitions", ("AcquisitionNumber", "AcquisitionTime", "AcquisitionDateTime")),
)


class Frame(NamedTuple):
    """One slice: its file, its number in it from 0, its plane in LPS+ millimetres, and what its values mean."""

    source: int
    number: int
    position: np.ndarray  # (3,) centre of the first pixel
    orientation: np.ndarray  # (2, 3) unit vectors along which the column and the row index grow
    spacing: np.ndarray  # (2,) between rows, between columns
    thickness: float | None
    slope: float
    intercept: float
    marks: tuple[str, ...]  # the values of DIFFERENCES


class Stack(NamedTuple):
    """Frames in order: `order` indexes the frames, `places` (len(order),) are their indices along axis 2."""

    order: np.ndarray
    places: np.ndarray
    affine: np.ndarray  # (4, 4) index (column, row, slice) -> RAS+ millimetres
    remarks: tuple[str, ...]


def frames(headers: Sequence[Dataset]) -> list[Frame]:
    """Every frame of every header, in the order given; InputError if one does not say where it lies."""
    return [_frame(header, source, n) for source, header in enumerate(headers) for n in range(_count(header))]


def flat(header: Dataset) -> tuple[list[Frame], Stack]:
    """The one frame of a header that does not say where it lies, laid down as drawn in an axial view."""
    pixel = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    spacing = np.array(pixel or (1, 1), np.float64)
    frame = Frame(0, 0, np.zeros(3), np.eye(2, 3), spacing, None, *_rescale([header]), ())
    affine = np.diag([-spacing[1], -spacing[0], 1.0, 1.0])
    return [frame], Stack(np.array([0]), np.array([0]), affine, (NO_POSITION,) if pixel else (NO_POSITION, NO_SIZE))


def has_place(header: Dataset) -> bool:
    """Whether the first frame says where it lies in the patient and how large its pixels are."""
    return all(_find(_scopes(header, 0), word) is not None for word in PLACE)


def placed(found: Sequence[Frame]) -> Stack:
    """The frames sorted along their normal, and the grid they form; a tilted gantry becomes a sheared affine.

    Slices that are missing leave their place free. Raises InputError for planes that are not parallel, pixels that
    differ in size, several frames at one place, uneven distances, and a stack that is not straight.
    """
    first = found[0]
    if any(np.abs(f.orientation - first.orientation).max() > 1e-2 for f in found):
        raise InputError("The slices of this series are not parallel: it is a scout or a radial series, not a volume.")
    if any(np.abs(f.spacing - first.spacing).max() > 1e-3 * first.spacing.max() for f in found):
        raise InputError(
            "The slices of this series have pixels of different sizes; export the ones that belong together."
        )
    normal = np.cross(*first.orientation)
    positions = np.array([f.position for f in found])
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    gaps = np.diff(positions @ normal)
    if (gaps < SAME_PLACE).any():
        raise InputError(_several(found, gaps))
    remarks: tuple[str, ...] = ()
    if len(found) == 1:
        if first.thickness is None:
            remarks = ("The slice does not give its thickness: 1 mm is assumed.",)
        step, places = normal * (first.thickness or 1.0), np.array([0])
    else:
        steps = np.rint(gaps / np.median(gaps)).astype(int)
        off = np.abs(gaps - steps * np.median(gaps)).max()
        if steps.min() < 1 or off > UNEVEN * np.median(gaps):
            raise InputError(
                f"The slices of this series lie at uneven distances, {gaps.min():.2f} to {gaps.max():.2f} mm; "
                "upload one evenly spaced stack."
            )
        places = np.concatenate([[0], np.cumsum(steps)])
        step = (positions[-1] - positions[0]) / places[-1]
        remarks = _missing(places)
        if np.abs(positions - positions[0] - places[:, None] * step).max() > max(UNEVEN * np.median(gaps), 0.1):
            raise InputError("The slices of this series do not lie in one straight stack; upload one stack.")
    tilt = np.degrees(np.arccos(min(1.0, float(step @ normal) / np.linalg.norm(step))))
    if tilt > 0.5:
        remarks += (f"The gantry was tilted by {tilt:.1f}°; the sheared stack is shown and measured as it lies.",)
    matrix = np.column_stack([first.orientation[0] * first.spacing[1], first.orientation[1] * first.spacing[0], step])
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ from_matvec(matrix, positions[0])
    return Stack(order, places, affine, remarks)


def _count(header: Dataset) -> int:
    count = int(header.get("NumberOfFrames") or 1)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if count > 1 and (groups is None or len(groups) != count):
        raise InputError(
            "This multi-frame file does not say where each of its frames lies; export it as single slices."
        )
    return count


def _scopes(header: Dataset, n: int) -> list[Dataset]:
    """Where the attributes of frame `n` may stand, nearest first."""
    named = (("PerFrameFunctionalGroupsSequence", n), ("SharedFunctionalGroupsSequence", 0))
    groups = [header[word][number] for word, number in named if header.get(word)]
    return [*(part.value[0] for group in groups for part in group if part.VR == "SQ" and len(part.value)), header]


def _find(scopes: Sequence[Dataset], word: str) -> Any:
    return next((value for scope in scopes if (value := scope.get(word)) not in (None, "")), None)


def _rescale(scopes: Sequence[Dataset]) -> tuple[float, float]:
    slope, intercept = _find(scopes, "RescaleSlope"), _find(scopes, "RescaleIntercept")
    return 1.0 if slope is None else float(slope), float(intercept or 0)


def _frame(header: Dataset, source: int, n: int) -> Frame:
    scopes = _scopes(header, n)
    place = [_find(scopes, word) for word in PLACE]
    if any(value is None for value in place):
        raise InputError(
            "An image of this series does not say where it lies in the patient; choose the original series."
        )
    position, orientation, spacing = (np.array(value, np.float64) for value in place)
    if position.shape + orientation.shape + spacing.shape != (3, 6, 2):
        raise InputError("An image of this series does not say plainly where it lies in the patient.")
    orientation = orientation.reshape(2, 3)
    lengths = np.linalg.norm(orientation, axis=1)
    upright = (np.abs(lengths - 1) < 1e-2).all() and abs(np.dot(*orientation)) < 1e-2
    if not (upright and np.isfinite(position).all() and (spacing > 0).all() and np.isfinite(spacing).all()):
        raise InputError("The position or the pixel size in the headers of this series is damaged.")
    depth = _find(scopes, "SpacingBetweenSlices") or _find(scopes, "SliceThickness")
    marks = tuple(str(next((v for w in words if (v := _find(scopes, w)) is not None), "")) for _, words in DIFFERENCES)
    return Frame(
        source,
        n,
        position,
        orientation / lengths[:, None],
        spacing,
        abs(float(depth)) if depth else None,
        *_rescale(scopes),
        marks,
    )


def _several(found: Sequence[Frame], gaps: np.ndarray) -> str:
    each = len(found) / (1 + int((gaps >= SAME_PLACE).sum()))
    names = [
        what for n, (what, _) in enumerate(DIFFERENCES) if 1 < len({f.marks[n] for f in found}) <= len(found) / 2 + 1
    ]
    why = f" (different {names[0]})" if names else ""
    count = f"{each:.0f} images" if each == int(each) else "several images"
    return f"This series holds {count} at each place{why}; export one of them as a series of its own and upload that."


def _missing(places: np.ndarray) -> tuple[str, ...]:
    missing = int(places[-1]) + 1 - len(places)
    if not missing:
        return ()
    if missing > MAX_MISSING * len(places):
        raise InputError(f"{missing} slices are missing from this series; upload it whole.")
    slices = "1 slice is" if missing == 1 else f"{missing} slices are"
    return (f"{slices} missing from this series and filled in from the neighbours; it can have no DICOM segmentation.",)
