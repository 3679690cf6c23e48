"""Parse the text headers of NRRD and MetaImage: the necessary fields and the names of the data files."""

import re
from pathlib import Path
from typing import NamedTuple

from medapp.errors import InputError
from medapp.io import detached_headers
from medapp.io.validation import TIME_POINTS_MESSAGE, safe_text
from medapp.limits import MAX_SLICES, MAX_TEXT_HEADER_BYTES

METAIMAGE_FIELDS = {
    "ObjectType": "Image", "NDims": r"[1-5]", "BinaryData": r"\w+", "BinaryDataByteOrderMSB": r"\w+",
    "ElementByteOrderMSB": r"\w+", "CompressedData": r"\w+", "AnatomicalOrientation": r"[A-Z?]+", "DimSize": r"[\d ]+",
    "ElementType": r"\w+", "ElementNumberOfChannels": r"\d{1,3}", "HeaderSize": r"-1|\d{1,10}",
    "DistanceUnits": r"[\w?]+",
    **dict.fromkeys(
        ("TransformMatrix", "Rotation", "Orientation", "Offset", "Position", "Origin", "ElementSpacing", "ElementSize"),
        r"[-+.\deE ]+",
    ),
}  # fmt: skip
NRRD_FIELDS = {
    "type": r"[\w ]+", "dimension": r"[1-5]", "sizes": r"[\d ]+", "endian": r"\w+", "space": r"[\w -]+",
    "space dimension": r"[1-5]", "encoding": r"\w+", "kinds": r"[\w ?-]+", "centerings": r"[\w ?]+",
    "line skip": r"\d{1,4}", "byte skip": r"-1|\d{1,10}", "space units": r'[\w "µ?-]+', "units": r'[\w "µ?-]+',
    **dict.fromkeys(("spacings", "space directions", "space origin"), r"[-+.,()\w ]+"),
}  # fmt: skip
NRRD_ALIASES = {"centers": "centerings", "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
MAX_FIELD_LENGTH = 1000  # characters
LINE_PATTERN = re.compile(rb"(.*?)\r?(?:\n|\Z)")
NO_DATA_MESSAGE = (
    "{} could not be read: its header does not clearly say where the voxels are; save it again, or as NIfTI."
)


class TextHeader(NamedTuple):
    """The known `fields` of a header, and its data: separate `files`, or the byte at which it starts in this file.

    `is_segmentation` is whether 3D Slicer wrote it as a segmentation.
    """

    fields: dict[str, str]
    files: tuple[str, ...]
    start: int
    is_segmentation: bool = False


def read_header(path: Path) -> TextHeader:
    """Read the header of an NRRD or MetaImage file. Raises InputError if it is damaged or points to other folders."""
    with path.open("rb") as file:
        head = file.read(MAX_TEXT_HEADER_BYTES)
    return _parse_nrrd(head, path) if is_nrrd(head) else _parse_metaimage(head, path)


def is_nrrd(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is NRRD."""
    return head.startswith(b"NRRD")


def is_metaimage(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is MetaImage."""
    return re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=", head) is not None and b"\0" not in head[:40]


def _parse_metaimage(head: bytes, path: Path) -> TextHeader:
    fields: dict[str, str] = {}
    files: list[str] = []
    at = 0
    while at < len(head) and (line := LINE_PATTERN.match(head, at)):
        at, text = line.end(), line[1].strip()
        if not text:
            continue
        name, equals, value = (part.strip() for part in text.partition(b"="))
        if not equals:
            break
        key = name.decode("ascii", "replace")
        if key != "ElementDataFile":
            _add_field(fields, METAIMAGE_FIELDS, key, value, path)
        elif files:
            raise InputError(NO_DATA_MESSAGE.format(safe_text(path)))
        elif value.lower() == b"local":
            fields.pop("HeaderSize", None)
            return TextHeader(fields, (), at)
        elif re.fullmatch(rb"LIST( \d[Dd]?)?", value):
            return TextHeader(fields, _parse_file_list(head[at:], path), at)
        else:
            files = _parse_file_names(value, path)
    if not files or (at < len(head)) or len(head) == MAX_TEXT_HEADER_BYTES:
        raise InputError(NO_DATA_MESSAGE.format(safe_text(path)))
    return TextHeader(fields, tuple(files), 0)


def _parse_nrrd(head: bytes, path: Path) -> TextHeader:
    header = _parse_nrrd_fields(head, path)
    return header._replace(fields=_drop_nonspatial_axes(header.fields, path))


def _parse_nrrd_fields(head: bytes, path: Path) -> TextHeader:
    fields: dict[str, str] = {}
    files: list[str] = []
    at, is_first, is_segmentation = 0, True, False
    while at < len(head) and (line := LINE_PATTERN.match(head, at)):
        at, text = line.end(), line[1]
        if not text:
            return TextHeader(fields, tuple(files), at, is_segmentation)
        if is_first or text.startswith(b"#"):
            is_first = False
            continue
        name, colon, value = (part.strip() for part in text.partition(b":"))
        if not colon:
            break
        if value.startswith(b"="):
            is_segmentation = is_segmentation or re.match(rb"Segment(ation|\d+)_", name) is not None
            continue
        key = name.decode("ascii", "replace").lower()
        key = NRRD_ALIASES.get(key, key)
        if key != "data file":
            _add_field(fields, NRRD_FIELDS, key, value, path)
        elif files:
            break
        elif re.fullmatch(rb"LIST( \d[Dd]?)?", value):
            return TextHeader(fields, _parse_file_list(head[at:], path), at, is_segmentation)
        else:
            files = _parse_file_names(value, path)
    if at >= len(head) and files and len(head) < MAX_TEXT_HEADER_BYTES:
        return TextHeader(fields, tuple(files), at, is_segmentation)
    raise InputError(NO_DATA_MESSAGE.format(safe_text(path)))


def _drop_nonspatial_axes(fields: dict[str, str], path: Path) -> dict[str, str]:
    """Remove axes of one voxel that have no direction in space, such as time, from the fields.

    Raises InputError for longer ones, except those of colours, layers and the like.
    """
    directions = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    sizes, kinds = fields.get("sizes", "").split(), fields.get("kinds", "").split()
    if "none" not in directions or len(directions) != len(sizes) or (kinds and len(kinds) != len(sizes)):
        return fields
    for axis, (direction, size) in enumerate(zip(directions, sizes, strict=True)):
        if direction == "none" and size != "1" and kinds and kinds[axis] in ("time", "domain", "space"):
            raise InputError(TIME_POINTS_MESSAGE.format(safe_text(path), size))
    kept = [
        n
        for n, (direction, size) in enumerate(zip(directions, sizes, strict=True))
        if (direction, size) != ("none", "1")
    ]
    rows = {"sizes": sizes, "space directions": directions}
    rows |= {key: row for key in ("kinds", "centerings") if len(row := fields.get(key, "").split()) == len(sizes)}
    changed = {key: " ".join(row[n] for n in kept) for key, row in rows.items()}
    return (
        {k: v for k, v in fields.items() if k not in ("centerings", "kinds")} | changed | {"dimension": str(len(kept))}
    )


def _add_field(fields: dict[str, str], known: dict[str, str], key: str, value: bytes, path: Path) -> None:
    """Add the field if it is known. Raises InputError if it occurs twice or its value is invalid."""
    if key not in known or not value:
        return
    text = " ".join(value.decode("utf-8", "replace").split())
    if key in fields or len(text) > MAX_FIELD_LENGTH or not re.fullmatch(known[key], text):
        raise InputError(
            f"{safe_text(path)} could not be read: its header is damaged or unusual at {safe_text(key)}; save it again."
        )
    fields[key] = text


def _parse_file_names(value: bytes, path: Path) -> list[str]:
    """Return the data file's name, or all those of a pattern with first, last and step."""
    text = value[:MAX_FIELD_LENGTH].decode("utf-8", "replace")
    form = re.fullmatch(r"(.*%.*?d\S*) (-?\d{1,9}) (-?\d{1,9}) (-?\d{1,9})( \d)?", text)
    if form:
        return detached_headers.expand_pattern(form[1], int(form[2]), int(form[3]), int(form[4]), path)
    return [detached_headers.check_file_name(text, path)]


def _parse_file_list(rest: bytes, path: Path) -> tuple[str, ...]:
    """Return the data file names that follow the header, one per line."""
    lines = [line.strip() for line in rest.decode("utf-8", "replace").splitlines() if line.strip()]
    if not 0 < len(lines) <= MAX_SLICES:
        raise InputError(
            f"{safe_text(path)} lists {len(lines)} files with voxels, the limit is {MAX_SLICES}; save it as one file."
        )
    return tuple(detached_headers.check_file_name(line, path) for line in lines)
