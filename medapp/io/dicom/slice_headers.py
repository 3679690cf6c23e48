"""Reduce DICOM headers to what results need to be aligned with their series: per slice one without identity."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medapp.io.dicom.frames import Frame
from medapp.io.dicom.stack import Stack

KEPT_VALUES = {  # defined by the standard; any other value could be about the patient
    "Modality": ("CT", "MR", "PT", "NM", "US", "CR", "DX", "MG", "XA", "RF", "SC"),
    "RescaleType": ("HU", "US"),
    "Units": ("BQML", "CNTS", "CPS", "GML", "NONE", "PROPCNTS", "PROPCPS"),
    "DecayCorrection": ("NONE", "START", "ADMIN"),
}
UID_PATTERN = re.compile(r"[0-9.]{1,64}")
BLANK_KEYWORDS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
DEFAULT_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "PT": "1.2.840.10008.5.1.4.1.1.128"}  # where a file has none
MR_CLASS = "1.2.840.10008.5.1.4.1.1.4"
FRAMES_OF_REFERENCE_REMARK = (
    "The slices of the series name different frames of reference; one was assumed, since their positions fit."
)


def reduce_headers(headers: Sequence[Dataset], frames: Sequence[Frame], stack: Stack) -> tuple[Dataset, ...]:
    """Return one header per index along axis 2, with nothing but uids, geometry and the meaning of the values.

    All have the same study, series, frame of reference and orientation, and positions on the grid. Each has a uid of
    its own, and its SourceImageSequence names the source image and frame where there is one at this index and its uid
    is unique. The identity of the patient is blank; free text and dates are removed.
    """
    used = [headers[n] for n in dict.fromkeys(frame.source for frame in frames)]
    uid_counts = Counter(_valid_uid(header, "SOPInstanceUID") for header in used)
    study, series, frame_uid = (
        _most_common_uid(used, keyword) for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    )
    matrix = np.diag([-1.0, -1.0, 1.0]) @ stack.affine[:3]  # to LPS+ millimetres
    sizes = np.linalg.norm(matrix[:, :3], axis=0)
    frame_at = {round(i): int(n) for n, i in zip(stack.order, stack.indices, strict=True) if abs(i - round(i)) < 1e-3}
    reduced_headers = []
    for index in range(stack.depth):
        frame = frames[frame_at.get(index, int(stack.order[np.abs(stack.indices - index).argmin()]))]
        header = headers[frame.source]
        reduced = Dataset()
        for keyword in BLANK_KEYWORDS:
            setattr(reduced, keyword, "")
        for keyword, known in KEPT_VALUES.items():
            if header.get(keyword) in known:
                setattr(reduced, keyword, header.get(keyword))
        reduced.Modality = reduced.get("Modality", "OT")
        reduced.RescaleSlope, reduced.RescaleIntercept = format_decimals([frame.slope, frame.intercept])
        reduced.StudyInstanceUID, reduced.SeriesInstanceUID, reduced.FrameOfReferenceUID = study, series, frame_uid
        reduced.SOPClassUID = _valid_uid(header, "SOPClassUID") or DEFAULT_CLASSES.get(reduced.Modality, MR_CLASS)
        uid = _valid_uid(header, "SOPInstanceUID")
        is_single_frame = not header.get("NumberOfFrames")
        has_source = index in frame_at and bool(uid) and uid_counts[uid] == 1
        reduced.SOPInstanceUID = uid if has_source and is_single_frame else generate_uid()
        if has_source:
            source = Dataset()
            source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = reduced.SOPClassUID, uid
            if not is_single_frame:
                source.ReferencedFrameNumber = frame.number + 1
            reduced.SourceImageSequence = [source]
        reduced.Rows, reduced.Columns = int(header.Rows), int(header.Columns)
        reduced.ImagePositionPatient = format_decimals(matrix[:, 3] + index * matrix[:, 2])
        reduced.ImageOrientationPatient = format_decimals((matrix[:, :2] / sizes[:2]).T.ravel())
        reduced.PixelSpacing = format_decimals([sizes[1], sizes[0]])
        reduced.SliceThickness = format_decimals([sizes[2]])[0]
        reduced_headers.append(reduced)
    return tuple(reduced_headers)


def uid_remarks(headers: Sequence[Dataset]) -> tuple[str, ...]:
    """Return remarks about missing or contradictory uids of a series."""
    studies, frames = (
        {_valid_uid(h, keyword) for h in headers} for keyword in ("StudyInstanceUID", "FrameOfReferenceUID")
    )
    missing = [name for name, uids in (("study", studies), ("frame of reference", frames)) if "" in uids]
    remarks: tuple[str, ...] = (FRAMES_OF_REFERENCE_REMARK,) if len(frames - {""}) > 1 else ()
    if missing:
        remarks += (f"The series does not name its {' and '.join(missing)}: DICOM results will have a new one.",)
    return remarks


def affine_from_headers(headers: Sequence[Dataset]) -> np.ndarray:
    """Return the affine (4, 4), index (column, row, slice) -> RAS+ millimetres, of headers from `reduce_headers`."""
    first = headers[0]
    rows, columns = map(float, first.PixelSpacing)
    orientation = np.array(first.ImageOrientationPatient, np.float64).reshape(2, 3)
    start, end = (np.array(header.ImagePositionPatient, np.float64) for header in (first, headers[-1]))
    step = (
        (end - start) / (len(headers) - 1) if len(headers) > 1 else np.cross(*orientation) * float(first.SliceThickness)
    )
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([orientation[0] * columns, orientation[1] * rows, step, start])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def _most_common_uid(headers: Sequence[Dataset], keyword: str) -> str:
    """Return the uid that most of the headers have, or a new one."""
    counts = Counter(filter(None, (_valid_uid(header, keyword) for header in headers)))
    return counts.most_common(1)[0][0] if counts else generate_uid()


def _valid_uid(header: Dataset, keyword: str) -> str:
    """Return a uid, or "" where there is none or it is invalid."""
    text = str(header.get(keyword) or "")
    return text if UID_PATTERN.fullmatch(text) else ""


def format_decimals(values: Sequence[float] | np.ndarray) -> list[str]:
    """Return numbers as DICOM decimal strings of at most 16 characters."""
    return [f"{float(value):.9g}"[:16] for value in values]
