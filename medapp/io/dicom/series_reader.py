"""Read a DICOM series: from files in any order to one Volume, with the headers that aligned results need."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.imaging import hounsfield
from medapp.imaging.scan_kinds import find_sequence
from medapp.imaging.volume import Volume
from medapp.io.dicom import pixels, series_discovery, series_selection, slice_headers
from medapp.io.dicom.frames import Frame
from medapp.io.dicom.series_discovery import WITHOUT_POSITION, SeriesPart
from medapp.io.dicom.series_selection import SeriesChoice, SeveralSeriesError
from medapp.io.dicom.stack import Stack, stack_frames
from medapp.io.placement import NO_POSITION_REMARK, to_millimetres
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.io.validation import check_shape, check_time, is_valid_affine, safe_text, to_image_dtype, translate_errors
from medapp.limits import MAX_SLICES

__all__ = ["SeriesChoice", "SeveralSeriesError", "is_dicom", "read"]

NON_IMAGE_MODALITIES = {
    "SEG": "a segmentation", "SR": "a report", "KO": "a list of key images", "PR": "a way of displaying other images",
    "DOC": "a document", "REG": "a registration", "ECG": "a recording of signals", "HD": "a recording of signals",
    "RTSTRUCT": "a set of contours", "RTPLAN": "a radiotherapy plan", "RTDOSE": "a dose map",
}  # fmt: skip
WHOLE_SLIDE_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
LOSSY_REMARK = "The images were stored with lossy compression."
MONOCHROME1_REMARK = "The picture is stored with inverted brightness (MONOCHROME1) and is shown as stored."
NO_DICOM_OUTPUT_REMARK = "Results cannot be written as DICOM, which needs a position."
TOO_LOW_REMARK = (
    "The values of this CT look 1024 too low, as if 1024 was subtracted twice: soft tissue is near -1024. 1024 was "
    "added to get Hounsfield units: check them before relying on them."
)
NO_RESCALE = "This CT does not give the scale of its values"
SUBTRACTED_REMARK = "1024 was subtracted to get Hounsfield units: check them before relying on them."


def is_dicom(head: bytes, path: Path) -> bool:
    """Tell whether a file that begins with `head` is DICOM, or, by its name too, DICOM without preamble."""
    lacks_preamble = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\0"
    return head[128:132] == b"DICM" or (lacks_preamble and path.suffix.lower() in ("", ".dcm", ".ima", ".img"))


def read(paths: Sequence[Path], series: str | None = None) -> Volume:
    """Read one series as a Volume (columns, rows, slices), unit "HU" for CT, "Bq/ml" for PET in BQML, otherwise "".

    Rescale slope and intercept are applied slice by slice. `series` is the uid of the series or its number in the list
    of SeveralSeriesError. Raises SeveralSeriesError if there are several and `series` names none, and InputError for
    localizers, objects that are not images, several images at one position, uneven slices, and damaged files.
    """
    paths, headers = _read_headers(paths)
    with translate_errors(paths[0], "DICOM"):
        parts = series_discovery.find_series_parts(headers, lambda n: pixels.read_values(paths[n]))
        part = series_selection.choose_part(parts, headers, series)
    return _read_volume(part, paths, headers)


def _read_headers(paths: Sequence[Path]) -> tuple[list[Path], list[Dataset]]:
    """Return the files that are images, and their headers. Raises InputError if none is."""
    images, reasons = {}, []
    for path in paths:
        check_time()
        with translate_errors(path, "DICOM"):
            header = pixels.read_dataset(path)
            if reason := _non_image_reason(header):
                reasons.append(f"{safe_text(path)} is {reason}; upload an image instead.")
            else:
                images[path] = header
    if not images:
        raise InputError(reasons[0] if reasons else "The upload holds no DICOM image; choose another file.")
    return list(images), list(images.values())


def _non_image_reason(header: Dataset) -> str | None:
    """Return what the object is, for a message, if it is not an image."""
    if header.get("SOPClassUID") == DIRECTORY_CLASS or "DirectoryRecordSequence" in header:
        return "a table of contents (DICOMDIR)"
    if header.get("SOPClassUID") == WHOLE_SLIDE_CLASS:
        return "a tiled microscope slide"
    if not (header.get("Rows") and header.get("Columns")):
        return NON_IMAGE_MODALITIES.get(header.get("Modality"), "without a picture")
    return NON_IMAGE_MODALITIES.get(header.get("Modality"))


def _read_volume(part: SeriesPart, paths: Sequence[Path], headers: Sequence[Dataset]) -> Volume:
    """Read the pixels of a part. Raises InputError where it is not a volume."""
    with translate_errors(paths[part.sources[0]], "a DICOM series"):  # pydicom decodes an entry when it is accessed
        used = [headers[n] for n in part.sources]
        first, path = used[0], paths[part.sources[0]]
        if all(map(series_discovery.is_localizer, used)):
            raise InputError("This series is a localizer (scout) for planning; choose the series with the images.")
        if "MOSAIC" in (first.get("ImageType") or ()):
            raise InputError("This series is a Siemens mosaic, all slices in one picture; convert it to NIfTI first.")
        if part.refusal:
            raise InputError(part.refusal)
        remarks = part.remarks
        if first.get("LossyImageCompression") == "01":
            remarks += (LOSSY_REMARK,)
        if first.get("PhotometricInterpretation") == "MONOCHROME1":
            remarks += (MONOCHROME1_REMARK,)
        has_position = WITHOUT_POSITION not in part.distinctions
        stack = stack_frames(part.frames) if has_position else _axial_stack(part, first)
        check_shape((first.Columns, first.Rows, stack.depth), path)
        if max(stack.depth, len(part.frames)) > MAX_SLICES:
            raise InputError(f"This series has {len(part.frames)} slices, the limit is {MAX_SLICES}; upload fewer.")
        if not is_valid_affine(stack.affine):
            raise InputError(
                "The position or the pixel size in the headers of this series is damaged; export the series again."
            )
        frames, rescale_remarks = _unify_rescale(part.frames)
        remarks += (*stack.remarks, *rescale_remarks, *to_millimetres(stack.affine, "mm", path)[1])
        if len(part.frames) == 1 and first.get("SamplesPerPixel", 1) == 3:
            return Volume(pixels.read_colour(path), stack.affine, remarks=remarks)
        array = to_image_dtype(pixels.read_stack(paths, frames, stack), path)
        array, unit, unit_remarks = _to_unit(array, first, all(frame.has_rescale for frame in frames))
        reduced: tuple[Dataset, ...] = ()
        if has_position:
            reduced = slice_headers.reduce_headers(headers, frames, stack)
            unit_remarks += slice_headers.uid_remarks(used)
        remarks += unit_remarks
        return Volume(array, stack.affine, unit=unit, remarks=remarks, headers=reduced, sequence=_find_sequence(first))


def _find_sequence(header: Dataset) -> str:
    """Return the sequence of MR that a header tells by the words of its series; nothing else of them is kept."""
    if header.get("Modality") != "MR":
        return ""
    words = [str(header.get(keyword) or "") for keyword in ("SeriesDescription", "ProtocolName")]
    enhanced = bool(header.get("ContrastBolusAgent"))
    return next(filter(None, (find_sequence(text, enhanced) for text in words)), "")


def _unify_rescale(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], tuple[str, ...]]:
    """Give frames without rescale slope and intercept those of the others, and return all with remarks."""
    scales = {(frame.slope, frame.intercept) for frame in frames if frame.has_rescale}
    missing = sum(not frame.has_rescale for frame in frames)
    if not missing or not scales:
        return tuple(frames), ()
    remark = f"{missing} of the {len(frames)} slices do not give the scale of their values"
    if len(scales) > 1:
        return tuple(frames), (f"{remark}: they were read as stored and may not match the others.",)
    ((slope, intercept),) = scales
    unified = tuple(frame._replace(slope=slope, intercept=intercept, has_rescale=True) for frame in frames)
    return unified, (f"{remark}; that of the others was used: check whether the slices match.",)


def _axial_stack(part: SeriesPart, header: Dataset) -> Stack:
    """Return the stack of a single frame without a position, as an axial slice in display orientation."""
    spacing = part.frames[0].spacing
    size = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    remarks = (NO_POSITION_REMARK, NO_DICOM_OUTPUT_REMARK, *(() if size else (NO_PIXEL_SIZE_REMARK,)))
    return Stack(np.array([0]), np.zeros(1), np.diag([-spacing[1], -spacing[0], 1.0, 1.0]), remarks)


def _to_unit(array: np.ndarray, header: Dataset, has_rescale: bool) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """Return the values, their unit and remarks; CT is called HU only where that is known."""
    units = header.get("Units")
    if header.get("Modality") == "PT" and units != "BQML":
        return (
            array,
            "",
            (f"The PET values are not in Bq/ml but in units of {safe_text(str(units or 'unknown kind'), 16)}.",),
        )
    if header.get("Modality") != "CT":
        return array, "Bq/ml" if units == "BQML" else "", ()
    if hounsfield.is_1024_too_high(array):
        cause = "The values of this CT look 1024 too high" if has_rescale else NO_RESCALE
        shifted = array - np.float32(1024) if array.dtype.kind == "f" else array.astype(np.int32) - 1024
        remark = f"{cause}: soft tissue is near 1024 and hardly anything below 0. {SUBTRACTED_REMARK}"
        return pixels.shrink_integers(shifted), "HU", (remark,)
    if hounsfield.is_1024_too_low(array):
        shifted = array + np.float32(1024) if array.dtype.kind == "f" else array.astype(np.int32) + 1024
        return shifted, "HU", (TOO_LOW_REMARK,)
    if has_rescale:
        return array, "HU", ()
    if hounsfield.has_air(array):
        return array, "HU", (f"{NO_RESCALE}; Hounsfield units were assumed.",)
    return array, "", (f"{NO_RESCALE} (rescale slope and intercept): it is unknown whether they are HU.",)
