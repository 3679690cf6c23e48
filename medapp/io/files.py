"""Read and write images of every format; a file's content decides its format, since names of uploads are unreliable."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medapp.errors import InputError
from medapp.imaging.scan_kinds import find_sequence
from medapp.imaging.volume import Volume
from medapp.io import archives, mgh, nifti, nrrd_metaimage, raster, tiff
from medapp.io.dicom import series_reader
from medapp.io.dicom.derived_series import write_dicom_series
from medapp.io.dicom.segmentation import write_dicom_seg
from medapp.io.dicom.series_reader import SeriesChoice, SeveralSeriesError
from medapp.io.itksnap import write_label_table
from medapp.io.missing_values import fill_missing
from medapp.io.validation import safe_text, time_limit
from medapp.limits import MAX_UPLOAD_BYTES, MAX_UPLOAD_FILES, MAX_VOXELS

__all__ = [
    "MAX_UPLOAD_BYTES", "MAX_UPLOAD_FILES", "MAX_VOXELS", "SeriesChoice", "SeveralSeriesError", "read",
    "with_data_files", "write", "write_dicom_seg", "write_dicom_series", "write_label_table",
]  # fmt: skip

READERS = {"nifti": nifti.read, "mgh": mgh.read, "itk": nrrd_metaimage.read, "picture": raster.read, "tiff": tiff.read}
EXPECTED_BYTES = {"nifti": nifti.expected_bytes, "mgh": mgh.expected_bytes}
DATA_FILE_NAMES = {"nifti": nifti.data_file_names, "itk": nrrd_metaimage.data_file_names}
DATA_FILE_SUFFIXES = (".img", ".raw", ".zraw", ".bin", ".dat", ".gz")  # of files that hold voxels without a header
HEADER_SUFFIXES = {".img": ".hdr", ".raw": ".mhd or .nhdr", ".zraw": ".mhd"}
READABLE_FORMATS = "NIfTI, DICOM, NRRD, MetaImage, MGZ, PNG, JPEG or TIFF, or a zip of one of them"
HEAD_BYTES = 1024  # from which the format is detected
MISSING_HEADER_MESSAGE = "{} holds voxels without a header; upload it together with its {}, as files or in one zip."


def read(
    paths: Sequence[Path | str],
    series: str | None = None,
    *,
    name: str = "image",
    colour: bool = False,
    labels: bool = False,
) -> Volume:
    """Read one image from one or several files, as a Volume with the axes of the file and the affine that fits them.

    `series` selects a DICOM series by its uid or number where there are several. A coloured picture is accepted only
    with `colour`, as (I, J, K, 3) uint8; a picture whose colours are all grey becomes grey in any case. A folder stands
    for the files in it. NaN and infinite voxels become background, 0 in a mask or label map (`labels`), see
    `missing_values`. Raises SeveralSeriesError, or InputError with one sentence for the user; the limits are those of
    `medapp.limits`.
    """
    with time_limit(), TemporaryDirectory(prefix="medapp-") as folder:
        unpacked = _unpack_upload([Path(p) for p in paths], Path(folder))
        formats = {path: kind for path in unpacked if (kind := _detect_format(_read_head(path), path))}
        volume = _read_one_image(formats, unpacked, series)
    if volume.is_colour and all(np.array_equal(volume.array[..., 0], volume.array[..., c]) for c in (1, 2)):
        volume = replace(volume, array=volume.array[..., 0])
    if volume.is_colour and not colour:
        raise InputError("This picture has colours, but grey values are needed; upload the original image.")
    sequence = volume.sequence or ("" if labels or len(paths) > 1 else find_sequence(Path(paths[0]).name))
    return fill_missing(replace(volume, name=name, sequence=sequence), labels=labels)


def with_data_files(path: Path) -> list[Path]:
    """Return the file itself and, if it is a header, those files beside it that it names and that exist.

    For the command line, where the user names one file of several. Raises InputError for a header that points to other
    folders.
    """
    kind = _detect_format(_read_head(path), path)
    names = DATA_FILE_NAMES[kind](path) if kind in DATA_FILE_NAMES else ()
    variants = {variant.lower() for name in names for variant in (name, f"{name}.gz", name.removesuffix(".gz"))}
    others = sorted(path.parent.iterdir()) if variants else []
    return [
        path,
        *(p for p in others if p.name.lower() in variants and p != path and p.is_file() and not p.is_symlink()),
    ]


def write(volume: Volume, path: Path) -> Path:
    """Write `volume` and return the path.

    As NIfTI (.nii, .nii.gz) with labels as integers and images as float32, or, one coloured slice, as PNG (.png).
    """
    return raster.write(volume, path) if path.suffix == ".png" else nifti.write(volume, path)


def _unpack_upload(paths: list[Path], folder: Path) -> list[Path]:
    """Return the files themselves: folders are listed, zip and gzip files unpacked into `folder`."""
    try:
        files = [file for path in paths for file in (_list_folder(path) if path.is_dir() else [path])]
    except OSError as error:
        raise InputError("A file cannot be opened, or its name is too long; give it a short name.") from error
    if not files:
        raise InputError("No file was uploaded; choose an image.")
    if len(files) > MAX_UPLOAD_FILES:
        raise InputError(f"More than {MAX_UPLOAD_FILES} files were uploaded; upload one image.")
    for file in files:
        if not file.is_file():
            raise InputError(f"{safe_text(file)} does not exist; check its name.")
    room = MAX_UPLOAD_BYTES - sum(
        file.stat().st_size for file in files if not archives.is_zip(file) and not archives.is_gzip(file)
    )
    if room < 0:
        raise InputError(
            f"The upload is larger than the limit of {MAX_UPLOAD_BYTES // 1024**3} GB; upload one image at a time."
        )
    unpacked = []
    for number, file in enumerate(files):
        inside = folder / f"z{number}"
        members = archives.unzip(file, inside, room) if archives.is_zip(file) else [file]
        room -= sum(f.stat().st_size for f in members if f != file)
        for n, member in enumerate(members):
            if archives.is_gzip(member) and (kind := _detect_packed_format(member)):
                expected_bytes = EXPECTED_BYTES.get(kind)
                member = archives.gunzip(member, folder / f"g{number}" / str(n), expected_bytes, max(room, 0))
                room -= member.stat().st_size
            unpacked.append(member)
    return unpacked


def _list_folder(folder: Path) -> list[Path]:
    """Return the files under a folder, without hidden ones and links."""
    hidden = (".", "__MACOSX")
    paths = (
        p for p in sorted(folder.rglob("*")) if not any(part.startswith(hidden) for part in p.relative_to(folder).parts)
    )
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def _detect_format(head: bytes, path: Path) -> str | None:
    """Return the format of a file that begins with `head`, or None if it is not an image."""
    if series_reader.is_dicom(head, path):
        return "dicom"
    if nifti.is_nifti(head):
        return "nifti"
    if mgh.is_mgh(head) and path.suffix.lower() in (".mgh", ".mgz", ".gz", ""):
        return "mgh"
    if nrrd_metaimage.is_nrrd(head) or (nrrd_metaimage.is_metaimage(head) or path.suffix.lower() in (".mhd", ".mha")):
        return "itk"
    if head.startswith(tiff.SIGNATURES):
        return "tiff"
    return "picture" if head.startswith(raster.SIGNATURES) else None


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _detect_packed_format(path: Path) -> str | None:
    """Return the format inside a gzip file; None for other content, such as the voxels of a separate header."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return _detect_format(archives.peek_gzip(path, HEAD_BYTES), inner)


def _read_one_image(formats: dict[Path, str], files: list[Path], series: str | None) -> Volume:
    """Read the one image among the files; whatever is not an image (texts, previews beside DICOM) is ignored."""
    if not formats:
        raise InputError(_no_image_message(files))
    images = {path: kind for path, kind in formats.items() if kind not in ("picture", "tiff")} or formats
    if any(kind in DATA_FILE_NAMES for kind in images.values()):  # a data file may look like an image by chance
        images = {
            path: kind for path, kind in images.items() if path.suffix.lower() not in DATA_FILE_SUFFIXES
        } or images
    slices = [path for path, kind in images.items() if kind == "dicom"]
    if len(slices) == len(images):
        return series_reader.read(slices, series)
    if len(images) > 1:
        names = ", ".join(safe_text(path) for path in list(images)[:4]) + (", …" if len(images) > 4 else "")
        raise InputError(f"The upload holds {len(images)} images ({names}); upload one of them.")
    ((path, kind),) = images.items()
    return READERS[kind](path, files)


def _no_image_message(files: list[Path]) -> str:
    data_files = [path for path in files if path.name.lower().removesuffix(".gz").endswith(tuple(HEADER_SUFFIXES))]
    if data_files:
        suffix = Path(data_files[0].name.lower().removesuffix(".gz")).suffix
        return MISSING_HEADER_MESSAGE.format(safe_text(data_files[0]), HEADER_SUFFIXES[suffix])
    name = safe_text(files[0]) if len(files) == 1 else "The upload"
    return f"{name} is not an image of a known format; upload {READABLE_FORMATS}."
