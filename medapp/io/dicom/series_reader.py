"""DICOM series in: from files in any order to one Volume, with the headers that results need to lie over it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.imaging import hounsfield
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
LOSSY_REMARK = "The images were compressed with loss before they were uploaded."
MONOCHROME1_REMARK = "The picture is stored with bright and dark exchanged (MONOCHROME1), and is shown as stored."
NO_DICOM_OUTPUT_REMARK = "It can have no results in DICOM, which must say where they lie."
TOO_LOW_REMARK = (
    "The values of this CT look 1024 too low, as where 1024 was subtracted twice: soft tissue lies near -1024. 1024 "
    "was added to get Hounsfield units: check them before you rely on them."
)
SUBTRACTED_REMARK = "1024 was subtracted to get Hounsfield units: check them before you rely on them."


def is_dicom(head: bytes, path: Path) -> bool:
    """Whether `head` is that of a DICOM file, or of one without its preamble whose name allows it."""
    bare = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\0"
    return head[128:132] == b"DICM" or (bare and path.suffix.lower() in ("", ".dcm", ".ima", ".img"))


def read(paths: Sequence[Path], series: str | None = None) -> Volume:
    """One series as a Volume (columns, rows, slices), unit "HU" for CT, "Bq/ml" for PET in BQML, "" for the rest.

    Rescale slope and intercept are applied slice by slice. `series` is the number, in the list of SeveralSeriesError,
    or the uid of the series. Raises SeveralSeriesError if there are more that can be meant and `series` names none, and
    InputError for localizers, objects that are no images, several images at one place, uneven slices, and what is
    damaged.
    """
    paths, headers = _read_headers(paths)
    with translate_errors(paths[0], "DICOM"):
        found = series_discovery.find_series_parts(headers, lambda n: pixels.read_values(paths[n]))
        part = series_selection.choose_part(found, headers, series)
    return _read_volume(part, paths, headers)


def _read_headers(paths: Sequence[Path]) -> tuple[list[Path], list[Dataset]]:
    """The files that are images, and their headers; InputError if none is."""
    found, reasons = {}, []
    for path in paths:
        check_time()
        with translate_errors(path, "DICOM"):
            header = pixels.read_dataset(path)
            if reason := _non_image_reason(header):
                reasons.append(f"{safe_text(path)} is {reason}, not an image that can be used here.")
            else:
                found[path] = header
    if not found:
        raise InputError(reasons[0] if reasons else "The upload holds no DICOM image.")
    return list(found), list(found.values())


def _non_image_reason(header: Dataset) -> str | None:
    if header.get("SOPClassUID") == DIRECTORY_CLASS or "DirectoryRecordSequence" in header:
        return "a table of contents (DICOMDIR)"
    if header.get("SOPClassUID") == WHOLE_SLIDE_CLASS:
        return "a tiled microscope slide"
    if not (header.get("Rows") and header.get("Columns")):
        return NON_IMAGE_MODALITIES.get(header.get("Modality"), "without a picture")
    return NON_IMAGE_MODALITIES.get(header.get("Modality"))


def _read_volume(part: SeriesPart, paths: Sequence[Path], headers: Sequence[Dataset]) -> Volume:
    with translate_errors(
        paths[part.sources[0]], "a DICOM series"
    ):  # an entry of a header is decoded when it is looked at
        used = [headers[n] for n in part.sources]
        first, path = used[0], paths[part.sources[0]]
        if all(map(series_discovery.is_localizer, used)):
            raise InputError(
                "This series is a localizer (scout), made for planning; choose the series with the images."
            )
        if "MOSAIC" in (first.get("ImageType") or ()):
            raise InputError("This series is a Siemens mosaic, all slices in one picture; convert it to NIfTI first.")
        if part.refusal:
            raise InputError(part.refusal)
        remarks = part.remarks
        if first.get("LossyImageCompression") == "01":
            remarks += (LOSSY_REMARK,)
        if first.get("PhotometricInterpretation") == "MONOCHROME1":
            remarks += (MONOCHROME1_REMARK,)
        somewhere = WITHOUT_POSITION not in part.distinctions
        stack = stack_frames(part.frames) if somewhere else _axial_stack(part, first)
        check_shape((first.Columns, first.Rows, stack.depth), path)
        if max(stack.depth, len(part.frames)) > MAX_SLICES:
            raise InputError(f"This series has {len(part.frames)} slices, and at most {MAX_SLICES} are taken.")
        if not is_valid_affine(stack.affine):
            raise InputError("The position or the pixel size in the headers of this series is damaged.")
        frames, more = _unify_rescale(part.frames)
        remarks += (*stack.remarks, *more, *to_millimetres(stack.affine, "mm", path)[1])
        if len(part.frames) == 1 and first.get("SamplesPerPixel", 1) == 3:
            return Volume(pixels.read_colour(path), stack.affine, remarks=remarks)
        array = to_image_dtype(pixels.read_stack(paths, frames, stack), path)
        array, unit, more = _to_unit(array, first, all(frame.has_rescale for frame in frames))
        ready: tuple[Dataset, ...] = ()
        if somewhere:
            ready = slice_headers.reduce_headers(headers, frames, stack)
            more += slice_headers.uid_remarks(used)
        return Volume(array, stack.affine, unit=unit, remarks=remarks + more, headers=ready)


def _unify_rescale(found: Sequence[Frame]) -> tuple[tuple[Frame, ...], tuple[str, ...]]:
    """The frames, those without a scale of their values with that of the others, and what is to be said of them."""
    scales = {(frame.slope, frame.intercept) for frame in found if frame.has_rescale}
    bare = sum(not frame.has_rescale for frame in found)
    if not bare or not scales:
        return tuple(found), ()
    told = f"{bare} of the {len(found)} slices do not give the scale of their values"
    if len(scales) > 1:
        return tuple(found), (f"{told}: they were taken as stored, and may not fit the others.",)
    ((slope, intercept),) = scales
    same = tuple(frame._replace(slope=slope, intercept=intercept, has_rescale=True) for frame in found)
    return same, (f"{told}; that of the others was taken: look whether the slices fit each other.",)


def _axial_stack(part: SeriesPart, header: Dataset) -> Stack:
    """The place of the one frame of a header that does not say where it lies, as drawn in an axial view."""
    spacing = part.frames[0].spacing
    sized = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    told = (
        (NO_POSITION_REMARK, NO_DICOM_OUTPUT_REMARK)
        if sized
        else (NO_POSITION_REMARK, NO_DICOM_OUTPUT_REMARK, NO_PIXEL_SIZE_REMARK)
    )
    return Stack(np.array([0]), np.zeros(1), np.diag([-spacing[1], -spacing[0], 1.0, 1.0]), told)


def _to_unit(array: np.ndarray, header: Dataset, scaled: bool) -> tuple[np.ndarray, str, tuple[str, ...]]:
    """The values, their unit, and what is to be said of them; CT is in HU only as far as that can be known."""
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
        told = "The values of this CT look 1024 too high" if scaled else "This CT does not give the scale of its values"
        shifted = array - np.float32(1024) if array.dtype.kind == "f" else array.astype(np.int32) - 1024
        small = shifted.dtype.kind == "i" and shifted.min() >= -(2**15) and shifted.max() < 2**15
        why = "soft tissue lies near 1024 and hardly anything below 0"
        return shifted.astype(np.int16) if small else shifted, "HU", (f"{told}: {why}. {SUBTRACTED_REMARK}",)
    if hounsfield.is_1024_too_low(array):
        raised = array + np.float32(1024) if array.dtype.kind == "f" else (array.astype(np.int32) + 1024)
        return raised, "HU", (TOO_LOW_REMARK,)
    if scaled:
        return array, "HU", ()
    if hounsfield.has_air(array):
        return array, "HU", ("This CT does not give the scale of its values; they were taken for Hounsfield units.",)
    told = "This CT does not give the scale of its values (rescale slope and intercept): they are not known to be HU."
    return array, "", (told,)
