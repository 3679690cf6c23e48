"""DICOM series in: from files in any order to one Volume, with the headers that a segmentation needs to lie over it."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.imaging import dicom_frames, dicom_pixels, dicom_seg
from medapp.imaging.checks import in_time, parsing, plain_numbers, right_size, said, sound
from medapp.imaging.limits import MAX_SERIES, MAX_SLICES
from medapp.imaging.volume import Volume

NOT_IMAGES = {
    "SEG": "a segmentation", "SR": "a report", "KO": "a list of key images", "PR": "a way of displaying other images",
    "DOC": "a document", "REG": "a registration", "ECG": "a recording of signals", "HD": "a recording of signals",
    "RTSTRUCT": "a set of contours", "RTPLAN": "a radiotherapy plan", "RTDOSE": "a dose map",
}  # fmt: skip
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
DIRECTORY = "1.2.840.10008.1.3.10"
LOSSY = "The images were compressed with loss before they were uploaded."
INVERTED = "The picture is stored with bright and dark exchanged (MONOCHROME1), and is shown as stored."


class Series(NamedTuple):
    """What a user needs to choose a series: its uid, one line without the patient's name, how many slices it has."""

    uid: str
    title: str
    slices: int


class SeveralSeries(InputError):
    """The upload holds more than one series; `series` lists them, to be given to `read` by uid."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = tuple(series)
        shown = "; ".join(s.title for s in self.series[:8]) + ("; …" if len(self.series) > 8 else "")
        super().__init__(f"The upload holds {len(self.series)} series, choose one of them: {shown}.")

    def __reduce__(self) -> tuple:
        return type(self), (self.series,)


def is_dicom(head: bytes, path: Path) -> bool:
    """Whether `head` is that of a DICOM file, or of one without its preamble whose name allows it."""
    bare = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\0"
    return head[128:132] == b"DICM" or (bare and path.suffix.lower() in ("", ".dcm", ".ima", ".img"))


def read(paths: Sequence[Path], series: str | None = None) -> Volume:
    """One series as a Volume (columns, rows, slices), unit "HU" for CT, "Bq/ml" for PET in BQML, "" for the rest.

    Rescale slope and intercept are applied slice by slice. Raises SeveralSeries if there are more and `series` names
    none, and InputError for localizers, objects that are no images, several images at one place, uneven slices, and
    what is damaged.
    """
    found = _by_series(paths)
    with parsing(paths[0], "DICOM"):
        chosen = _chosen(found, series)
    return _volume(chosen)


def _chosen(found: dict[str, dict[Path, Dataset]], series: str | None) -> dict[Path, Dataset]:
    """The series that was asked for, or the only one that is no localizer."""
    if series is not None:
        if series not in found:
            raise InputError("The series that was chosen is not in this upload; choose again.")
        return found[series]
    scouts = {uid for uid, files in found.items() if all(_is_localizer(header) for header in files.values())}
    wanted = [uid for uid in found if uid not in scouts] or list(found)
    if len(wanted) > 1:
        raise SeveralSeries([_entry(uid, list(found[uid].values())) for uid in wanted])
    return found[wanted[0]]


def _by_series(paths: Sequence[Path]) -> dict[str, dict[Path, Dataset]]:
    """Series uid -> file -> header of every image, each image once; InputError if no file is an image."""
    found: dict[str, dict[Path, Dataset]] = {}
    seen, reasons = set(), []
    for path in paths:
        in_time()
        with parsing(path, "DICOM"):
            header = dicom_pixels.opened(path)
            if reason := _no_image(header):
                reasons.append(f"{said(path)} is {reason}, not an image that can be used here.")
            elif header.get("SOPInstanceUID", path) not in seen:
                seen.add(header.get("SOPInstanceUID", path))
                found.setdefault(str(header.get("SeriesInstanceUID", "")), {})[path] = header
    if len(found) > MAX_SERIES:
        raise InputError(f"The upload holds more than {MAX_SERIES} series; upload the one you want.")
    if not found:
        raise InputError(reasons[0] if reasons else "The upload holds no DICOM image.")
    return found


def _no_image(header: Dataset) -> str | None:
    if header.get("SOPClassUID") == DIRECTORY or "DirectoryRecordSequence" in header:
        return "a table of contents (DICOMDIR)"
    if header.get("SOPClassUID") == WHOLE_SLIDE:
        return "a tiled microscope slide"
    if not (header.get("Rows") and header.get("Columns")):
        return NOT_IMAGES.get(header.get("Modality"), "without a picture")
    return NOT_IMAGES.get(header.get("Modality"))


def _is_localizer(header: Dataset) -> bool:
    return "LOCALIZER" in (header.get("ImageType") or ())


def _entry(uid: str, headers: list[Dataset]) -> Series:
    first = headers[0]
    slices = sum(int(header.get("NumberOfFrames") or 1) for header in headers)
    about = said(str(first.get("SeriesDescription") or first.get("Modality") or "no description"), 40)
    number = said(str(first.get("SeriesNumber") or "–"), 8)
    size = f"{slices} slice{'s' * (slices != 1)} of {first.Columns}×{first.Rows}"
    return Series(uid, f"{number}: {about}, {size}", slices)


def _volume(files: dict[Path, Dataset]) -> Volume:
    with parsing(next(iter(files)), "a DICOM series"):  # an entry of a header is decoded when it is looked at
        kept = {path: header for path, header in files.items() if not _is_localizer(header)}
        if not kept:
            raise InputError(
                "This series is a localizer (scout), made for planning; choose the series with the images."
            )
        paths, headers = list(kept), list(kept.values())
        first = headers[0]
        unit, remarks = _unit(first)
        if len(kept) < len(files):
            remarks += (f"{len(files) - len(kept)} localizer images of the series were left out.",)
        if first.get("LossyImageCompression") == "01":
            remarks += (LOSSY,)
        if first.get("PhotometricInterpretation") == "MONOCHROME1":
            remarks += (INVERTED,)
        if len({(header.Rows, header.Columns) for header in headers}) > 1:
            raise InputError("The images of this series differ in size; export the ones that belong together.")
        if "MOSAIC" in (first.get("ImageType") or ()):
            raise InputError("This series is a Siemens mosaic, all slices in one picture; convert it to NIfTI first.")
        count = sum(int(header.get("NumberOfFrames") or 1) for header in headers)
        right_size((first.Columns, first.Rows, count), paths[0])
        if count > MAX_SLICES:
            raise InputError(f"This series has {count} slices, and at most {MAX_SLICES} are taken.")
        if count == 1 and not dicom_frames.has_place(first):
            frames, stack = dicom_frames.flat(first)
        else:
            frames = dicom_frames.frames(headers)
            stack = dicom_frames.placed(frames)
        if not sound(stack.affine):
            raise InputError("The position or the pixel size in the headers of this series is damaged.")
        remarks += stack.remarks
        if count == 1 and first.get("SamplesPerPixel", 1) == 3:
            return Volume(dicom_pixels.coloured(paths[0]), stack.affine, remarks=remarks)
        array = plain_numbers(dicom_pixels.stacked(paths, frames, stack.order, stack.places), paths[0])
        ready = dicom_seg.reduced(headers, frames, stack)
        return Volume(array, stack.affine, unit=unit, remarks=remarks, headers=ready)


def _unit(header: Dataset) -> tuple[str, tuple[str, ...]]:
    if header.get("Modality") == "CT":
        return "HU", ()
    units = header.get("Units")
    if header.get("Modality") != "PT" or units == "BQML":
        return ("Bq/ml" if units == "BQML" else ""), ()
    return "", (f"The PET values are not in Bq/ml but in units of {said(str(units or 'unknown kind'), 16)}.",)
