"""The frames of DICOM files: one account for single-frame and multi-frame (enhanced) files.

DICOM counts in LPS+ millimetres; ImageOrientationPatient gives first the direction in which the column index grows,
then that in which the row index grows, but PixelSpacing first the distance between rows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medapp.errors import InputError
from medapp.io.validation import safe_text

PLANE_KEYWORDS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


class ScanAttribute(NamedTuple):
    """What tells images apart that lie at one place: its name, its attributes, its unit.

    `sure` says that images which differ in it belong to different scans, wherever they lie.
    """

    name: str
    keywords: tuple[str, ...]
    unit: str = ""
    is_decisive: bool = False


SCAN_ATTRIBUTES = (
    ScanAttribute("series number", ("SeriesNumber",), is_decisive=True),
    ScanAttribute("", ("SeriesDescription", "ProtocolName"), is_decisive=True),
    ScanAttribute("b-value", ("DiffusionBValue",), is_decisive=True),
    ScanAttribute("echo time", ("EffectiveEchoTime", "EchoTime"), " ms", is_decisive=True),
    ScanAttribute("echo", ("EchoNumbers",), is_decisive=True),
    ScanAttribute("kind", ("ComplexImageComponent", "FrameType", "ImageType"), is_decisive=True),
    ScanAttribute("kernel", ("ConvolutionKernel",), is_decisive=True),
    ScanAttribute("inversion time", ("InversionTimes", "InversionTime"), " ms"),
    ScanAttribute("flip angle", ("FlipAngle",), "°"),
    ScanAttribute("repetition time", ("RepetitionTime",), " ms"),
    ScanAttribute("time point", ("TemporalPositionIndex", "TemporalPositionIdentifier")),
    ScanAttribute("start", ("FrameReferenceTime",), " ms"),
    ScanAttribute("trigger time", ("NominalCardiacTriggerDelayTime", "TriggerTime"), " ms"),
    ScanAttribute("acquisition", ("FrameAcquisitionNumber", "AcquisitionNumber")),
    ScanAttribute("gradient", ("DiffusionGradientOrientation",)),
    ScanAttribute("sequence", ("SequenceName",)),
    ScanAttribute("stack", ("StackID",)),
    ScanAttribute("contrast agent", ("ContrastBolusAgent",)),
    ScanAttribute("acquired at", ("FrameAcquisitionDateTime", "AcquisitionDateTime", "AcquisitionTime")),
    ScanAttribute("made at", ("ContentTime",)),
)
FRAME_KEYWORDS = (
    *PLANE_KEYWORDS, "SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "RescaleIntercept",
    *(word for mark in SCAN_ATTRIBUTES for word in mark.keywords),
)  # fmt: skip


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
    has_rescale: bool  # whether slope or intercept is given
    instance: int | None  # its number within the series, as the file gives it
    attributes: tuple[str, ...]  # the values of MARKS, "" where there is none


def read_frames(header: Dataset, source: int = 0) -> list[Frame]:
    """Every frame of a header, in the file's order; InputError if one does not say where it lies."""
    groups = _functional_groups(header)
    shared = _collect_values([*groups[0], header])
    return [_make_frame(shared | _collect_values(own), source, n, header) for n, own in enumerate(groups[1])]


def axial_frame(header: Dataset, source: int = 0) -> Frame:
    """The one frame of a header that does not say where it lies, laid down as drawn in an axial view."""
    pixel = header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or (1, 1)
    found = _collect_values([header])
    here = {"ImagePositionPatient": (0, 0, 0), "ImageOrientationPatient": (1, 0, 0, 0, 1, 0), "PixelSpacing": pixel}
    return _make_frame(found | here, source, 0, header)


def has_position(header: Dataset) -> bool:
    """Whether the first frame says where it lies in the patient and how large its pixels are."""
    shared, own = _functional_groups(header)
    return all(word in (_collect_values([*shared, header]) | _collect_values(own[0])) for word in PLANE_KEYWORDS)


def _functional_groups(header: Dataset) -> tuple[list[Dataset], list[list[Dataset]]]:
    """Where attributes stand besides the header itself: those for all frames, and those of each."""
    count = int(header.get("NumberOfFrames") or 1)
    each: Sequence[Dataset] = header.get("PerFrameFunctionalGroupsSequence") or ()
    if count > 1 and len(each) != count:
        raise InputError(
            "This multi-frame file does not say where each of its frames lies; export it as single slices."
        )
    whole: Sequence[Dataset] = header.get("SharedFunctionalGroupsSequence") or ()
    own = [_group_items(each[n]) if n < len(each) else [] for n in range(count)]
    return (_group_items(whole[0]) if len(whole) else []), own


def _group_items(group: Dataset) -> list[Dataset]:
    return [part.value[0] for part in group if part.VR == "SQ" and part.value and len(part.value)]


def _collect_values(scopes: Sequence[Dataset]) -> dict[str, Any]:
    """The value of every one of WORDS that is there; the first scope is the nearest."""
    found: dict[str, Any] = {}
    for scope in scopes:
        for word in FRAME_KEYWORDS:
            if word not in found and (value := scope.get(word)) not in (None, ""):
                found[word] = value
    return found


def _make_frame(found: dict[str, Any], source: int, n: int, header: Dataset) -> Frame:
    place = [found.get(word) for word in PLANE_KEYWORDS]
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
    depth = found.get("SpacingBetweenSlices") or found.get("SliceThickness")
    slope, intercept = found.get("RescaleSlope"), found.get("RescaleIntercept")
    instance = header.get("InstanceNumber")
    return Frame(
        source,
        n,
        position,
        orientation / lengths[:, None],
        spacing,
        abs(float(depth)) if depth else None,
        1.0 if slope is None else float(slope),
        0.0 if intercept is None else float(intercept),
        slope is not None or intercept is not None,
        n if header.get("NumberOfFrames") else None if instance is None else int(instance),
        tuple(_attribute_text(found, mark) for mark in SCAN_ATTRIBUTES),
    )


def _attribute_text(found: dict[str, Any], mark: ScanAttribute) -> str:
    value = next((found[word] for word in mark.keywords if word in found), "")
    return safe_text(
        "\\".join(map(str, value)).replace("\\", " ") if isinstance(value, list | MultiValue) else str(value)
    )
