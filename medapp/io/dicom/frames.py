"""The frames of DICOM files, described alike for single-frame and multi-frame (enhanced) files.

DICOM positions are LPS+ millimetres. ImageOrientationPatient gives first the direction of growing column index, then
that of growing row index, but PixelSpacing first the distance between rows.
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
    """A property that distinguishes images at one position: its name, its DICOM keywords, its unit.

    `is_decisive`: images that differ in it belong to different scans, whatever their positions.
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
    *(keyword for attribute in SCAN_ATTRIBUTES for keyword in attribute.keywords),
)  # fmt: skip


class Frame(NamedTuple):
    """One slice: the index of its file, its index in it, its plane in LPS+ millimetres, and the scale of its values."""

    source: int
    number: int
    position: np.ndarray  # (3,) centre of the first pixel
    orientation: np.ndarray  # (2, 3) unit vectors along which the column and the row index grow
    spacing: np.ndarray  # (2,) mm between rows, between columns
    thickness: float | None  # mm, or the spacing between slices where that is given
    slope: float
    intercept: float
    has_rescale: bool  # whether slope or intercept is given
    instance: int | None  # InstanceNumber
    attributes: tuple[str, ...]  # the values of SCAN_ATTRIBUTES, "" where there is none


def read_frames(header: Dataset, source: int = 0) -> list[Frame]:
    """Return every frame of a header, in the file's order. Raises InputError if one has no position."""
    shared_groups, frame_groups = _functional_groups(header)
    shared = _collect_values([*shared_groups, header])
    return [_make_frame(shared | _collect_values(own), source, n, header) for n, own in enumerate(frame_groups)]


def axial_frame(header: Dataset, source: int = 0) -> Frame:
    """Return the only frame of a header without a position, placed as an axial slice in display orientation."""
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or (1, 1)
    plane = {"ImagePositionPatient": (0, 0, 0), "ImageOrientationPatient": (1, 0, 0, 0, 1, 0), "PixelSpacing": spacing}
    return _make_frame(_collect_values([header]) | plane, source, 0, header)


def has_position(header: Dataset) -> bool:
    """Tell whether the first frame has a position in the patient and a pixel size."""
    shared, own = _functional_groups(header)
    values = _collect_values([*shared, header]) | _collect_values(own[0])
    return all(keyword in values for keyword in PLANE_KEYWORDS)


def _functional_groups(header: Dataset) -> tuple[list[Dataset], list[list[Dataset]]]:
    """Return the functional groups that all frames share, and those of each frame."""
    count = int(header.get("NumberOfFrames") or 1)
    per_frame: Sequence[Dataset] = header.get("PerFrameFunctionalGroupsSequence") or ()
    if count > 1 and len(per_frame) != count:
        raise InputError(
            "This multi-frame file does not give a position for each of its frames; export it as single slices."
        )
    shared: Sequence[Dataset] = header.get("SharedFunctionalGroupsSequence") or ()
    own = [_group_items(per_frame[n]) if n < len(per_frame) else [] for n in range(count)]
    return (_group_items(shared[0]) if len(shared) else []), own


def _group_items(group: Dataset) -> list[Dataset]:
    """Return the first item of each sequence of a functional group."""
    return [part.value[0] for part in group if part.VR == "SQ" and part.value and len(part.value)]


def _collect_values(scopes: Sequence[Dataset]) -> dict[str, Any]:
    """Return the values of FRAME_KEYWORDS that are given; earlier scopes have precedence."""
    values: dict[str, Any] = {}
    for scope in scopes:
        for keyword in FRAME_KEYWORDS:
            if keyword not in values and (value := scope.get(keyword)) not in (None, ""):
                values[keyword] = value
    return values


def _make_frame(values: dict[str, Any], source: int, n: int, header: Dataset) -> Frame:
    """Make a frame of its DICOM values. Raises InputError if its position is missing or invalid."""
    plane = [values.get(keyword) for keyword in PLANE_KEYWORDS]
    if any(value is None for value in plane):
        raise InputError("An image of this series has no position in the patient; choose the original series.")
    position, orientation, spacing = (np.array(value, np.float64) for value in plane)
    if position.shape + orientation.shape + spacing.shape != (3, 6, 2):
        raise InputError("An image of this series has an invalid position in the patient; export the series again.")
    orientation = orientation.reshape(2, 3)
    lengths = np.linalg.norm(orientation, axis=1)
    is_orthonormal = (np.abs(lengths - 1) < 1e-2).all() and abs(np.dot(*orientation)) < 1e-2
    if not (is_orthonormal and np.isfinite(position).all() and (spacing > 0).all() and np.isfinite(spacing).all()):
        raise InputError(
            "The position or the pixel size in the headers of this series is damaged; export the series again."
        )
    depth = values.get("SpacingBetweenSlices") or values.get("SliceThickness")
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
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
        tuple(_attribute_text(values, attribute) for attribute in SCAN_ATTRIBUTES),
    )


def _attribute_text(values: dict[str, Any], attribute: ScanAttribute) -> str:
    value = next((values[keyword] for keyword in attribute.keywords if keyword in values), "")
    return safe_text(
        "\\".join(map(str, value)).replace("\\", " ") if isinstance(value, list | MultiValue) else str(value)
    )
