"""Read NRRD and MetaImage (.nrrd, .nhdr, .mha, .mhd) through SimpleITK; positions are converted from LPS to RAS.

SimpleITK never sees an uploaded header, which could lead it to other files or exhaust its memory: it gets a new header
with the necessary fields only, and a separate file with as many decoded voxels as these announce.
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
    "{} holds {} layers of segments that overlap; export the segment you want as a label map in 3D "
    "Slicer and upload that."
)


def data_file_names(path: Path) -> tuple[str, ...]:
    """Return the names of the data files of a header; none where it holds the voxels. Raises InputError."""
    return read_header(path).files


def read(path: Path, companions: Sequence[Path]) -> Volume:
    """Read an image as a Volume (I, J, K), or (I, J, K, 3) for three bytes per voxel, with the axes of the file.

    Data files that the header names are searched for among `companions` by their bare names, and nowhere else. Missing
    voxel sizes and positions are mentioned in the remarks. Raises InputError for missing data files, a header that
    points to other folders, a damaged or too large file, and further dimensions.
    """
    header = read_header(path)
    from_nrrd = "sizes" in header.fields
    with translate_errors(path, "NRRD" if from_nrrd else "MetaImage"), TemporaryDirectory(prefix="medapp-") as folder:
        layout = _data_layout(header, path)
        if from_nrrd:
            _check_nrrd_fields(header, layout, path)
        safe_header = _write_safe_header(header, from_nrrd, layout.encoding == "text", Path(folder))
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if from_nrrd else "MetaImageIO")
        reader.SetFileName(str(safe_header))
        reader.ReadImageInformation()
        channels = reader.GetNumberOfComponents()
        shape = spatial_shape(reader.GetSize(), path)
        _check_channels(channels, reader.GetPixelID(), header, path)
        affine, remarks = _affine(reader, header, from_nrrd, path)
        dtype = sitk.GetArrayViewFromImage(sitk.Image((1, 1), reader.GetPixelID(), channels)).dtype
        sources = detached_headers.find_data_files(header.files, path, companions) if header.files else [path]
        size = int(np.prod(shape)) * channels * dtype.itemsize
        decode_voxels(layout, sources, safe_header.with_name("voxels"), size, dtype, path)
        array = sitk.GetArrayFromImage(reader.Execute())
    dimensions = array.ndim - (channels == 3)
    array = array.transpose(*reversed(range(dimensions)), *range(dimensions, array.ndim))
    array = array.reshape((*shape, 3) if channels == 3 else shape)
    return Volume(to_image_dtype(array, path), affine, remarks=remarks)


def _check_nrrd_fields(header: TextHeader, layout: DataLayout, path: Path) -> None:
    """Raise InputError if the byte order, or the space of directions, is not specified."""
    keys = header.fields.keys()
    is_byte = re.search("char|int8", header.fields.get("type", "")) is not None
    if not ("endian" in keys or layout.encoding == "text" or is_byte):
        raise InputError(
            f"{safe_text(path)} does not give the byte order of its voxels; add a line to its header, usually "
            "endian: little, or save it as NIfTI."
        )
    if keys & {"space directions", "space origin"} and not keys & {"space", "space dimension"}:
        raise InputError(
            f"{safe_text(path)} gives directions without the space that they refer to; add a line before them, such as "
            "space: left-posterior-superior, or save it as NIfTI."
        )


def _check_channels(channels: int, pixel_id: int, header: TextHeader, path: Path) -> None:
    """Raise InputError unless each voxel holds one value or three bytes for a colour."""
    is_list = "list" in header.fields.get("kinds", "").split()
    if channels > 1 and is_list and (header.is_segmentation or path.name.lower().endswith(".seg.nrrd")):
        raise InputError(OVERLAPPING_SEGMENTS_MESSAGE.format(safe_text(path), channels))
    if channels > 1 and is_list:
        raise InputError(
            f"{safe_text(path)} holds a list of {channels} values at every voxel, such as directions or time points. "
            "Save the one volume you want as a separate image and upload that."
        )
    if channels not in (1, 3) or (channels == 3 and pixel_id != sitk.sitkVectorUInt8):
        raise InputError(
            f"{safe_text(path)} holds {channels} values at every voxel, such as a deformation field; upload an image."
        )


def _data_layout(header: TextHeader, path: Path) -> DataLayout:
    fields = header.fields
    name = fields.get("encoding", "raw").lower()
    if name not in ENCODINGS:
        raise InputError(
            f"{safe_text(path)} has an unusual encoding ({safe_text(name)}); save it with gzip, or uncompressed."
        )
    encoding = "gzip" if _is_true(fields.get("CompressedData", "")) else ENCODINGS[name]
    if "BinaryData" in fields and not _is_true(fields["BinaryData"]):
        encoding = "text"
    skip = int(fields.get("byte skip") or fields.get("HeaderSize") or 0)
    return DataLayout(encoding, 0 if header.files else header.start, int(fields.get("line skip", 0)), skip)


def _is_true(value: str) -> bool:
    return value[:1] in ("T", "t", "1")


def _write_safe_header(header: TextHeader, from_nrrd: bool, text: bool, folder: Path) -> Path:
    """Write a header for decoded voxels beside it, in an empty file for now, and return its path."""
    target = folder / ("header.nhdr" if from_nrrd else "header.mhd")
    fields = {
        k: v for k, v in header.fields.items() if k not in REWRITTEN_FIELDS and not (text and k in BYTE_ORDER_FIELDS)
    }
    if text:
        fields |= {"endian": sys.byteorder} if from_nrrd else {"BinaryDataByteOrderMSB": str(sys.byteorder == "big")}
    lines = [f"{key}: {value}" if from_nrrd else f"{key} = {value}" for key, value in fields.items()]
    if from_nrrd:
        lines = ["NRRD0004", *lines, "encoding: raw", "data file: voxels", ""]
    else:
        lines = ["ObjectType = Image", *lines, "BinaryData = True", "ElementDataFile = voxels"]
    target.write_text("\n".join(lines) + "\n", "ascii")
    target.with_name("voxels").write_bytes(b"")
    return target


def _affine(
    reader: sitk.ImageFileReader, header: TextHeader, from_nrrd: bool, path: Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the affine (4, 4), voxel index to RAS+ millimetres, and remarks about what is assumed.

    A flat image gets a third axis of 1 mm at right angles.
    """
    n = min(reader.GetDimension(), 3)
    directions = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:n, :n]
    lps = np.eye(4)
    lps[:n, :n] = directions * reader.GetSpacing()[:n]
    lps[:n, 3] = reader.GetOrigin()[:n]
    keys = header.fields.keys()
    if from_nrrd:
        unit = re.findall(r"[^\s\"?]+", header.fields.get("space units") or header.fields.get("units") or "")
        lengths = f"{header.fields.get('spacings', '')} {header.fields.get('space directions', '')}".lower()
        has_size = bool(lengths.strip()) and "nan" not in lengths
        is_anatomical = re.fullmatch(ANATOMICAL_SPACE, header.fields.get("space", "").lower()) is not None
        has_directions = "space directions" in keys and is_anatomical
        has_origin = "space origin" in keys
    else:
        unit = re.findall(r"[^\s?]+", header.fields.get("DistanceUnits", ""))
        has_size = bool(keys & {"ElementSpacing", "ElementSize"})
        has_directions = bool(keys & {"TransformMatrix", "Rotation", "Orientation"})
        has_origin = bool(keys & {"Position", "Offset", "Origin"})
    affine, remarks = to_millimetres(RAS_TO_LPS @ lps, unit[0] if unit else "mm", path)
    if not has_directions or not has_origin:
        remarks += (NO_ORIGIN_REMARK if has_directions else NO_POSITION_REMARK,)
    return check_affine(affine, path), remarks if has_size else (*remarks, NO_SPACING_REMARK)
