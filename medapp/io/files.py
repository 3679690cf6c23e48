"""Every format in and out. Content decides what a file is, since the names of uploads cannot be relied upon."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medapp.errors import InputError
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
DATA_FILE_SUFFIXES = (".img", ".raw", ".zraw", ".bin", ".dat", ".gz")  # endings of files that hold voxels alone
READABLE_FORMATS = "NIfTI, DICOM, NRRD, MetaImage, MGZ, PNG, JPEG or TIFF, or a zip of one of them"
HEAD_BYTES = 1024  # bytes that tell what a file is
MISSING_HEADER_MESSAGE = "{} holds voxels without their header; upload it together with its {}, as files or in one zip."


def read(
    paths: Sequence[Path | str],
    series: str | None = None,
    *,
    name: str = "image",
    colour: bool = False,
    labels: bool = False,
) -> Volume:
    """One image from one or many files, as a Volume with the axes of the file and the affine that is right for them.

    `series` names, by uid, the DICOM series to take where there are several. A coloured picture is taken only if
    `colour`, as (I, J, K, 3) uint8; a picture whose colours are all grey is grey, whatever `colour` says. A folder
    stands for the files in it. Voxels that are no number, or infinite, become background, in a mask or label map
    (`labels`) 0: see `missing_values`. Raises SeveralSeriesError, or InputError with one sentence for the user; what is
    taken has the limits of `medapp.limits`.
    """
    with time_limit(), TemporaryDirectory(prefix="medapp-") as folder:
        found = _unpack_upload([Path(p) for p in paths], Path(folder))
        kinds = {path: kind for path in found if (kind := _detect_format(_read_head(path), path))}
        volume = _read_one_image(kinds, found, series)
    if volume.is_colour and all(np.array_equal(volume.array[..., 0], volume.array[..., c]) for c in (1, 2)):
        volume = replace(volume, array=volume.array[..., 0])
    if volume.is_colour and not colour:
        raise InputError("This is a coloured picture, and grey values are needed here; upload the original image.")
    return fill_missing(replace(volume, name=name), labels=labels)


def with_data_files(path: Path) -> list[Path]:
    """The file itself and, if it is a header, the files beside it that it names, as far as they are there.

    For the command line, whose user names one file of several. Raises InputError for a header that leads elsewhere.
    """
    kind = _detect_format(_read_head(path), path)
    names = DATA_FILE_NAMES[kind](path) if kind in DATA_FILE_NAMES else ()
    ways = {way.lower() for name in names for way in (name, f"{name}.gz", name.removesuffix(".gz"))}
    there = sorted(path.parent.iterdir()) if ways else []
    return [path, *(p for p in there if p.name.lower() in ways and p != path and p.is_file() and not p.is_symlink())]


def write(volume: Volume, path: Path) -> Path:
    """Write `volume` and return the path: NIfTI (.nii, .nii.gz), labels as whole numbers, images as float32; or PNG,
    for a picture of one slice in colour."""
    return raster.write(volume, path) if path.suffix == ".png" else nifti.write(volume, path)


def _unpack_upload(paths: list[Path], folder: Path) -> list[Path]:
    """The files themselves: folders listed, zips and gzips unpacked into `folder`."""
    try:
        files = [file for path in paths for file in (_list_folder(path) if path.is_dir() else [path])]
    except OSError as error:
        raise InputError("The name of a file is too long, or it cannot be opened; give it a short name.") from error
    if not files:
        raise InputError("No file was uploaded.")
    if len(files) > MAX_UPLOAD_FILES:
        raise InputError(f"More than {MAX_UPLOAD_FILES} files were uploaded; upload one image.")
    for file in files:
        if not file.is_file():
            raise InputError(f"{safe_text(file)} is not there.")
    room = MAX_UPLOAD_BYTES - sum(
        file.stat().st_size for file in files if not archives.is_zip(file) and not archives.is_gzip(file)
    )
    if room < 0:
        raise InputError(
            f"The upload is larger than {MAX_UPLOAD_BYTES // 1024**3} GB, which is more than is taken; upload one "
            "image."
        )
    plain = []
    for number, file in enumerate(files):
        inside = folder / f"z{number}"
        unzipped = archives.unzip(file, inside, room) if archives.is_zip(file) else [file]
        room -= sum(f.stat().st_size for f in unzipped if f != file)
        for n, one in enumerate(unzipped):
            if archives.is_gzip(one) and (kind := _detect_packed_format(one)):
                promise = EXPECTED_BYTES.get(kind)
                one = archives.gunzip(one, folder / f"g{number}" / str(n), promise, max(room, 0))
                room -= one.stat().st_size
            plain.append(one)
    return plain


def _list_folder(folder: Path) -> list[Path]:
    hidden = (".", "__MACOSX")
    found = (
        p for p in sorted(folder.rglob("*")) if not any(part.startswith(hidden) for part in p.relative_to(folder).parts)
    )
    return [path for path in found if path.is_file() and not path.is_symlink()]


def _detect_format(head: bytes, path: Path) -> str | None:
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
    """What a gzip file holds; None for what is no image, such as the voxels of a header that lies elsewhere."""
    inner = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return _detect_format(archives.peek_gzip(path, HEAD_BYTES), inner)


def _read_one_image(kinds: dict[Path, str], found: list[Path], series: str | None) -> Volume:
    """The one image among the files; whatever is no image (texts, previews beside DICOM) is passed over."""
    if not kinds:
        header = {".img": ".hdr", ".raw": ".mhd or .nhdr", ".zraw": ".mhd"}
        lone = [path for path in found if path.name.lower().removesuffix(".gz").endswith(tuple(header))]
        if lone:
            ending = Path(lone[0].name.lower().removesuffix(".gz")).suffix
            raise InputError(MISSING_HEADER_MESSAGE.format(safe_text(lone[0]), header[ending]))
        names = safe_text(found[0]) if len(found) == 1 else "The upload"
        raise InputError(f"{names} is no image that can be read here; upload {READABLE_FORMATS}.")
    images = {path: kind for path, kind in kinds.items() if kind not in ("picture", "tiff")} or kinds
    if any(kind in DATA_FILE_NAMES for kind in images.values()):  # voxels alone may look like an image
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
    return READERS[kind](path, found)
