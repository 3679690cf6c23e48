"""What is kept of a DICOM series for results that are to lie over it: per slice a header without any identity."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medapp.io.dicom.frames import Frame
from medapp.io.dicom.stack import Stack

KEPT_VALUES = {  # words of the standard; whatever else stands there may be about the patient
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
DEFAULT_CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "PT": "1.2.840.10008.5.1.4.1.1.128"}  # where a file names none
MR_CLASS = "1.2.840.10008.5.1.4.1.1.4"
FRAMES_OF_REFERENCE_REMARK = (
    "The slices of the series name different frames of reference; they were taken to lie in one, as their positions do."
)


def reduce_headers(headers: Sequence[Dataset], frames: Sequence[Frame], stack: Stack) -> tuple[Dataset, ...]:
    """One header per place along axis 2, with nothing but uids, geometry and the meaning of the values.

    All of them have one study, series, frame of reference and orientation, and positions on the grid. Each has a uid of
    its own, and names in SourceImageSequence the image and frame it was taken from, where one lies at the place and its
    uid is no other's. The identity of the patient is blank; free text and dates are not there.
    """
    used = [headers[n] for n in dict.fromkeys(frame.source for frame in frames)]
    names = Counter(_valid_uid(header, "SOPInstanceUID") for header in used)
    study, series, frame_uid = (
        _most_common_uid(used, word) for word in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    )
    matrix = np.diag([-1.0, -1.0, 1.0]) @ stack.affine[:3]  # to LPS+ millimetres
    sizes = np.linalg.norm(matrix[:, :3], axis=0)
    there = {round(p): int(n) for n, p in zip(stack.order, stack.indices, strict=True) if abs(p - round(p)) < 1e-3}
    found = []
    for place in range(stack.depth):
        frame = frames[there.get(place, int(stack.order[np.abs(stack.indices - place).argmin()]))]
        header = headers[frame.source]
        bare = Dataset()
        for word in BLANK_KEYWORDS:
            setattr(bare, word, "")
        for word, known in KEPT_VALUES.items():
            if header.get(word) in known:
                setattr(bare, word, header.get(word))
        bare.Modality = bare.get("Modality", "OT")
        bare.RescaleSlope, bare.RescaleIntercept = format_decimals([frame.slope, frame.intercept])
        bare.StudyInstanceUID, bare.SeriesInstanceUID, bare.FrameOfReferenceUID = study, series, frame_uid
        bare.SOPClassUID = _valid_uid(header, "SOPClassUID") or DEFAULT_CLASSES.get(bare.Modality, MR_CLASS)
        uid = _valid_uid(header, "SOPInstanceUID")
        single = not header.get("NumberOfFrames")
        named = place in there and bool(uid) and names[uid] == 1
        bare.SOPInstanceUID = uid if named and single else generate_uid()
        if named:
            source = Dataset()
            source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = bare.SOPClassUID, uid
            if not single:
                source.ReferencedFrameNumber = frame.number + 1
            bare.SourceImageSequence = [source]
        bare.Rows, bare.Columns = int(header.Rows), int(header.Columns)
        bare.ImagePositionPatient = format_decimals(matrix[:, 3] + place * matrix[:, 2])
        bare.ImageOrientationPatient = format_decimals((matrix[:, :2] / sizes[:2]).T.ravel())
        bare.PixelSpacing = format_decimals([sizes[1], sizes[0]])
        bare.SliceThickness = format_decimals([sizes[2]])[0]
        found.append(bare)
    return tuple(found)


def uid_remarks(headers: Sequence[Dataset]) -> tuple[str, ...]:
    """What is to be said of the uids of a series."""
    studies, places = ({_valid_uid(h, word) for h in headers} for word in ("StudyInstanceUID", "FrameOfReferenceUID"))
    names = [name for name, uids in (("study", studies), ("frame of reference", places)) if "" in uids]
    told: tuple[str, ...] = (FRAMES_OF_REFERENCE_REMARK,) if len(places - {""}) > 1 else ()
    if names:
        told += (f"The series does not name its {' and '.join(names)}: results in DICOM have a new one.",)
    return told


def affine_from_headers(headers: Sequence[Dataset]) -> np.ndarray:
    """(4, 4) index (column, row, slice) -> RAS+ millimetres, of headers that `reduced` has made."""
    first = headers[0]
    rows, columns = map(float, first.PixelSpacing)
    across = np.array(first.ImageOrientationPatient, np.float64).reshape(2, 3)
    start, end = (np.array(header.ImagePositionPatient, np.float64) for header in (first, headers[-1]))
    step = (end - start) / (len(headers) - 1) if len(headers) > 1 else np.cross(*across) * float(first.SliceThickness)
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([across[0] * columns, across[1] * rows, step, start])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def _most_common_uid(headers: Sequence[Dataset], word: str) -> str:
    """The uid that most of the headers have, or a new one."""
    found = Counter(filter(None, (_valid_uid(header, word) for header in headers)))
    return found.most_common(1)[0][0] if found else generate_uid()


def _valid_uid(header: Dataset, word: str) -> str:
    """A uid, or "" where there is none or something else stands in its place."""
    text = str(header.get(word) or "")
    return text if UID_PATTERN.fullmatch(text) else ""


def format_decimals(values: Sequence[float] | np.ndarray) -> list[str]:
    """Numbers as DICOM writes them, in at most 16 characters."""
    return [f"{float(value):.9g}"[:16] for value in values]
