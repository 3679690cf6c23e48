"""NRRD and MetaImage (.nrrd, .nhdr, .mha, .mhd), through SimpleITK; positions turned from LPS to RAS.

SimpleITK never sees a stranger's header, which could lead it to other files or beyond its memory: it gets one that is
written here, of the fields that are needed, and as many voxels as these promise, decoded, in a file of their own.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import detached_headers
from medapp.io.encodings import DataLayout, decode_voxels
from medapp.io.placement import NO_ORIGIN_REMARK, NO_POSITION_REMARK, NO_SPACING_REMARK, check_affine, to_millimetres
from medapp.io.text_headers import TextHeader, is_metaimage, is_nrrd, read_header
from medapp.io.transforms import RAS_TO_LPS
from medapp.io.validation import safe_text, spatial_shape, to_image_dtype, translate_errors

__all__ = ["data_file_names", "is_metaimage", "is_nrrd", "read"]

ENCODINGS = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2", "hex": "hex", "ascii": "text",
    "txt": "text", "text": "text",
}  # fmt: skip
REWRITTEN_FIELDS = (
    "ObjectType", "BinaryData", "CompressedData", "HeaderSize", "DistanceUnits", "encoding", "line skip", "byte skip",
    "space units", "units",
)  # fmt: skip
BYTE_ORDER_FIELDS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB", "endian")
ANATOMICAL_SPACE = r"(left|right|l|r)-?(anterior|posterior|a|p)-?(superior|inferior|s|i)(-?(time|t))?"
OVERLAPPING_SEGMENTS_MESSAGE = (
    "{} holds {} layers of segments that overlap; in 3D Slicer, export the segment you want as a label map, and "
    "upload that."
)


def data_file_names(path: Path) -> tuple[str, ...]:
    """The names of the files that hold the voxels of a header; none where it holds them. Raises InputError."""
    return read_header(path).files


def read(path: Path, companions: Sequence[Path]) -> Volume:
    """An image as a Volume (I, J, K), or (I, J, K, 3) for three bytes a voxel, axes as they are in the file.

    A header that names data files finds them among `companions` by their bare names and nowhere else. What it does not
    say of voxel sizes and position is among the remarks. Raises InputError if a file is not there or the header points
    elsewhere, and for what is damaged, too large or has real further dimensions.
    """
    header = read_header(path)
    nrrd = "sizes" in header.fields
    with translate_errors(path, "NRRD" if nrrd else "MetaImage"), TemporaryDirectory(prefix="medapp-") as folder:
        layout = _data_layout(header, path)
        if nrrd and not ("endian" in header.fields or layout.encoding == "text" or _is_byte(header)):
            raise InputError(
                f"{safe_text(path)} does not say in which order the bytes of its voxels are; add a line to its "
                "header, on "
                "most machines endian: little, or save it as NIfTI."
            )
        where = _write_safe_header(header, nrrd, layout.encoding == "text", Path(folder))
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if nrrd else "MetaImageIO")
        reader.SetFileName(str(where))
        reader.ReadImageInformation()
        channels = reader.GetNumberOfComponents()
        shape = spatial_shape(reader.GetSize(), path)
        layers = "list" in header.fields.get("kinds", "").split()
        if channels > 1 and layers and (header.segments or path.name.lower().endswith(".seg.nrrd")):
            raise InputError(OVERLAPPING_SEGMENTS_MESSAGE.format(safe_text(path), channels))
        if channels > 1 and layers:
            raise InputError(
                f"{safe_text(path)} holds a list of {channels} values at every voxel, such as directions or time "
                "points. "
                "Save the one volume you want as an image of its own and upload that."
            )
        if channels not in (1, 3) or (channels == 3 and reader.GetPixelID() != sitk.sitkVectorUInt8):
            raise InputError(
                f"{safe_text(path)} holds {channels} values at every voxel, such as a deformation field; upload an "
                "image."
            )
        affine, remarks = _affine(reader, header, nrrd, path)
        dtype = sitk.GetArrayViewFromImage(sitk.Image((1, 1), reader.GetPixelID(), channels)).dtype
        sources = detached_headers.find_data_files(header.files, path, companions) if header.files else [path]
        wanted = int(np.prod(shape)) * channels * dtype.itemsize
        decode_voxels(layout, sources, where.with_name("voxels"), wanted, dtype, path)
        array = sitk.GetArrayFromImage(reader.Execute())
    spatial = array.ndim - (channels == 3)
    array = array.transpose(*reversed(range(spatial)), *range(spatial, array.ndim))
    array = array.reshape((*shape, 3) if channels == 3 else shape)
    return Volume(to_image_dtype(array, path), affine, remarks=remarks)


def _data_layout(header: TextHeader, path: Path) -> DataLayout:
    fields = header.fields
    word = fields.get("encoding", "raw").lower()
    if word not in ENCODINGS:
        raise InputError(
            f"{safe_text(path)} is packed in an unusual way ({safe_text(word)}); save it with gzip, or unpacked."
        )
    encoding = "gzip" if _is_true(fields.get("CompressedData", "")) else ENCODINGS[word]
    if "BinaryData" in fields and not _is_true(fields["BinaryData"]):
        encoding = "text"
    skip = int(fields.get("byte skip") or fields.get("HeaderSize") or 0)
    return DataLayout(encoding, 0 if header.files else header.start, int(fields.get("line skip", 0)), skip)


def _is_byte(header: TextHeader) -> bool:
    return re.search("char|int8", header.fields.get("type", "")) is not None


def _is_true(word: str) -> bool:
    return word[:1] in ("T", "t", "1")


def _write_safe_header(header: TextHeader, nrrd: bool, text: bool, folder: Path) -> Path:
    """A header in `folder` whose voxels are to lie beside it, decoded; for now there are none."""
    where = folder / ("header.nhdr" if nrrd else "header.mhd")
    fields = {
        k: v for k, v in header.fields.items() if k not in REWRITTEN_FIELDS and not (text and k in BYTE_ORDER_FIELDS)
    }
    if text:
        fields |= {"endian": sys.byteorder} if nrrd else {"BinaryDataByteOrderMSB": str(sys.byteorder == "big")}
    lines = [f"{key}: {value}" if nrrd else f"{key} = {value}" for key, value in fields.items()]
    if nrrd:
        lines = ["NRRD0004", *lines, "encoding: raw", "data file: voxels", ""]
    else:
        lines = ["ObjectType = Image", *lines, "BinaryData = True", "ElementDataFile = voxels"]
    where.write_text("\n".join(lines) + "\n", "ascii")
    where.with_name("voxels").write_bytes(b"")
    return where


def _affine(
    reader: sitk.ImageFileReader, header: TextHeader, nrrd: bool, path: Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """(4, 4) voxel index to RAS+ millimetres, and what of it is assumed.

    A flat image gets a third axis of 1 mm, at right angles.
    """
    n = min(reader.GetDimension(), 3)
    directions = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:n, :n]
    lps = np.eye(4)
    lps[:n, :n] = directions * reader.GetSpacing()[:n]
    lps[:n, 3] = reader.GetOrigin()[:n]
    has = header.fields.keys()
    if nrrd:
        unit = re.findall(r"[^\s\"?]+", header.fields.get("space units") or header.fields.get("units") or "")
        lengths = f"{header.fields.get('spacings', '')} {header.fields.get('space directions', '')}".lower()
        sized = bool(lengths.strip()) and "nan" not in lengths
        anatomical = re.fullmatch(ANATOMICAL_SPACE, header.fields.get("space", "").lower()) is not None
        turned = "space directions" in has and anatomical
        begun = bool(has & {"space origin"})
    else:
        unit = re.findall(r"[^\s?]+", header.fields.get("DistanceUnits", ""))
        sized = bool(has & {"ElementSpacing", "ElementSize"})
        turned = bool(has & {"TransformMatrix", "Rotation", "Orientation"})
        begun = bool(has & {"Position", "Offset", "Origin"})
    affine, remarks = to_millimetres(RAS_TO_LPS @ lps, unit[0] if unit else "mm", path)
    if not turned or not begun:
        remarks += (NO_ORIGIN_REMARK if turned else NO_POSITION_REMARK,)
    return check_affine(affine, path), remarks if sized else (*remarks, NO_SPACING_REMARK)
