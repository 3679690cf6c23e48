"""NRRD and MetaImage (.nrrd, .nhdr, .mha, .mhd), through SimpleITK; positions turned from LPS to RAS.

SimpleITK never sees a stranger's header, which could lead it to other files or beyond its memory: it gets one that is
written here, of the fields that are needed, and as many voxels as these promise, unpacked, in a file of their own.
"""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

import numpy as np
import SimpleITK as sitk

from medapp.errors import InputError
from medapp.imaging.checks import in_time, parsing, plain_numbers, said, sound, three_axes
from medapp.imaging.limits import MAX_HEADER, MAX_OFFSET
from medapp.imaging.nifti import NO_POSITION
from medapp.imaging.transforms import LPS
from medapp.imaging.volume import Volume

META = {
    "ObjectType": "Image", "NDims": r"[1-5]", "BinaryData": "True|true|1", "BinaryDataByteOrderMSB": r"\w+",
    "ElementByteOrderMSB": r"\w+", "CompressedData": r"\w+", "AnatomicalOrientation": r"[A-Z?]+", "DimSize": r"[\d ]+",
    "ElementType": r"\w+", "ElementNumberOfChannels": r"\d{1,3}", "HeaderSize": r"-1|\d{1,10}",
    **dict.fromkeys(
        ("TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin", "ElementSpacing", "ElementSize"),
        r"[-+.\deE ]+",
    ),
}  # fmt: skip
NRRD = {
    "type": r"[\w ]+", "dimension": r"[1-5]", "sizes": r"[\d ]+", "endian": r"\w+", "space": r"[\w -]+",
    "space dimension": r"[1-5]", "encoding": "raw|gzip|gz", "kinds": r"[\w ?-]+", "centerings": r"[\w ?]+",
    "line skip": r"\d{1,4}", "byte skip": r"-1|\d{1,10}",
    **dict.fromkeys(("spacings", "space directions", "space origin"), r"[-+.,()\w ]+"),
}  # fmt: skip
PACKING = ("ObjectType", "BinaryData", "CompressedData", "HeaderSize", "encoding", "line skip", "byte skip")
CHUNK = 1024**2
LONGEST = 1000  # characters of a field
LINE = re.compile(rb"(.*?)\r?(?:\n|\Z)")


class Header(NamedTuple):
    """The fields that are kept; the data file that is named, if any; where in the file the voxels begin otherwise."""

    fields: dict[str, str]
    data: str | None
    start: int


def is_nrrd(head: bytes) -> bool:
    return head.startswith(b"NRRD")


def is_meta(head: bytes) -> bool:
    return re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=", head) is not None and b"\0" not in head[:40]


def read(path: Path, companions: list[Path]) -> Volume:
    """An image as a Volume (I, J, K), or (I, J, K, 3) for three bytes a voxel, axes as they are in the file.

    A header that names a data file finds it among `companions` by its bare name and nowhere else. Raises InputError if
    it is not there or the header points elsewhere, and for what is damaged, too large or has real further dimensions.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER)
    nrrd = is_nrrd(head)
    with parsing(path, "NRRD" if nrrd else "MetaImage"), TemporaryDirectory(prefix="medapp-") as folder:
        header = _nrrd(head, path) if nrrd else _meta(head, path)
        source = _companion(header.data, path, companions) if header.data else path
        where = _written(header, nrrd, Path(folder))
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if nrrd else "MetaImageIO")
        reader.SetFileName(str(where))
        reader.ReadImageInformation()
        channels = reader.GetNumberOfComponents()
        shape = three_axes(reader.GetSize(), path)
        if channels not in (1, 3) or (channels == 3 and reader.GetPixelID() != sitk.sitkVectorUInt8):
            raise InputError(
                f"{said(path)} holds {channels} values at every voxel, such as a deformation field, not an image."
            )
        affine = _affine(reader, path)
        size = sitk.Image((1, 1), reader.GetPixelID(), channels).GetSizeOfPixelComponent()
        _pour(header, source, where.with_name("voxels"), int(np.prod(shape)) * channels * size, path)
        array = sitk.GetArrayFromImage(reader.Execute())
    spatial = array.ndim - (channels == 3)
    array = array.transpose(*reversed(range(spatial)), *range(spatial, array.ndim))
    array = array.reshape((*shape, 3) if channels == 3 else shape)
    placed = header.fields.keys() & ({"space", "space dimension"} if nrrd else {"Position", "Offset", "Origin"})
    return Volume(plain_numbers(array, path), affine, remarks=() if placed else (NO_POSITION,))


def _meta(head: bytes, path: Path) -> Header:
    fields: dict[str, str] = {}
    at = 0
    while line := LINE.match(head, at):
        at = line.end()
        words = re.fullmatch(rb"\s*(\w+)[ \t]*=[ \t]*(.*?)[ \t]*", line[1])
        if not words:
            break
        key, value = words[1].decode("ascii", "replace"), words[2]
        if key == "ElementDataFile":
            data = None if value == b"LOCAL" else _data_file(value, path)
            if data is None:
                fields.pop("HeaderSize", None)
            return Header(fields, data, at)
        _keep(fields, META, key, value, path)
    raise InputError(f"{said(path)} could not be read: its header does not say plainly where the voxels are.")


def _nrrd(head: bytes, path: Path) -> Header:
    fields: dict[str, str] = {}
    data, at, first = None, 0, True
    while at < len(head) and (line := LINE.match(head, at)):
        at, text = line.end(), line[1]
        if not text:
            return Header(fields, data, at)
        words = re.fullmatch(rb"\s*([A-Za-z ]+?)\s*:(?!=)[ \t]*(.*?)[ \t]*", text)
        if not (first or words or text.startswith(b"#") or b":=" in text):
            break
        key = words[1].decode("ascii").lower() if words else ""
        if words and key in ("data file", "datafile"):
            if data is not None:
                break
            data = _data_file(words[2], path)
        elif words:
            _keep(fields, NRRD, {"centers": "centerings"}.get(key, key), words[2], path)
        first = False
    if at >= len(head) and data is not None and len(head) < MAX_HEADER:
        return Header(fields, data, at)
    raise InputError(f"{said(path)} could not be read: its header does not say plainly where the voxels are.")


def _keep(fields: dict[str, str], known: dict[str, str], key: str, value: bytes, path: Path) -> None:
    """Add the field if it is known; InputError if it is there already or has no value of its kind."""
    if key not in known or not value:
        return
    text = value.decode("ascii", "replace")
    if key in fields or len(text) > LONGEST or not re.fullmatch(known[key], text):
        raise InputError(f"{said(path)} could not be read: its header is damaged or unusual at {said(key)}.")
    fields[key] = text


def _data_file(value: bytes, path: Path) -> str:
    """The bare name of the file that holds the voxels. Raises InputError for any other."""
    name = value.decode("utf-8", "replace").strip()
    if not re.fullmatch(r"[\w][\w .()+-]*", name) or ".." in name or name.upper().startswith("LIST"):
        raise InputError(
            f"{said(path)} points to voxels in another folder or in many files; upload one header and one data file."
        )
    return name


def _written(header: Header, nrrd: bool, folder: Path) -> Path:
    """A header in `folder` whose voxels are to lie beside it, unpacked; for now there are none."""
    where = folder / ("header.nhdr" if nrrd else "header.mhd")
    fields = {key: value for key, value in header.fields.items() if key not in PACKING}
    lines = [f"{key}: {value}" if nrrd else f"{key} = {value}" for key, value in fields.items()]
    if nrrd:
        lines = ["NRRD0004", *lines, "encoding: raw", "data file: voxels", ""]
    else:
        lines = ["ObjectType = Image", *lines, "BinaryData = True", "ElementDataFile = voxels"]
    where.write_text("\n".join(lines) + "\n", "ascii")
    where.with_name("voxels").write_bytes(b"")
    return where


def _pour(header: Header, source: Path, target: Path, wanted: int, path: Path) -> None:
    """Write the `wanted` bytes of the voxels, unpacked, into `target`. Raises InputError if there are fewer."""
    fields = header.fields
    packed = fields.get("encoding", "raw") != "raw" or fields.get("CompressedData", "").lower() in ("true", "1")
    skip = int(fields.get("byte skip") or fields.get("HeaderSize") or 0)
    if not -1 <= skip <= MAX_OFFSET or (skip < 0 and packed):
        raise InputError(f"{said(path)} could not be read: its header does not say plainly where the voxels are.")
    with source.open("rb") as file, target.open("wb") as out:
        file.seek(max(0, source.stat().st_size - wanted) if skip < 0 else 0 if header.data else header.start)
        for _ in range(int(fields.get("line skip", 0))):
            file.readline(MAX_HEADER)
        left, skip = wanted, max(0, skip)
        for chunk in _unpacked(file) if packed else iter(lambda: file.read(CHUNK), b""):
            in_time()
            out.write(chunk[skip : skip + left])
            left -= len(chunk[skip : skip + left])
            skip = max(0, skip - len(chunk))
            if left <= 0:
                return
    raise InputError(f"{said(path)} is truncated: it holds fewer voxels than its header says; upload it again.")


def _unpacked(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file packed by zlib or gzip, a piece at a time."""
    box = zlib.decompressobj(zlib.MAX_WBITS | 32)
    while not box.eof and (piece := box.unconsumed_tail or file.read(CHUNK)):
        yield box.decompress(piece, CHUNK)
    yield box.flush()


def _companion(name: str, path: Path, companions: list[Path]) -> Path:
    plain = [re.sub(r"[^\w.]", "", other.name).lower() for other in companions]  # an upload loses odd characters
    wanted = re.sub(r"[^\w.]", "", name).lower()
    if wanted not in plain or companions[plain.index(wanted)] == path:
        raise InputError(
            f"{said(path)} is only a header: upload it together with {said(name)}, or as one .mha, .nrrd or .zip."
        )
    return companions[plain.index(wanted)]


def _affine(reader: sitk.ImageFileReader, path: Path) -> np.ndarray:
    """(4, 4) voxel index to RAS+ millimetres; a flat image gets a third axis of 1 mm, at right angles."""
    n = min(reader.GetDimension(), 3)
    directions = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:n, :n]
    lps = np.eye(4)
    lps[:n, :n] = directions * reader.GetSpacing()[:n]
    lps[:n, 3] = reader.GetOrigin()[:n]
    affine = LPS @ lps
    if not sound(affine):
        raise InputError(
            f"{said(path)} does not say where its voxels lie: the directions in its header are damaged or flat."
        )
    return affine
