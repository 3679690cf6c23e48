"""What the pages of a TIFF are, as ImageJ and OME describe them: slices, the colours of one, time points."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile

from medapp.errors import InputError
from medapp.io.placement import PLAUSIBLE_VOXEL_MM, UNIT_MM
from medapp.io.validation import safe_text
from medapp.limits import MAX_SLICES

MAX_DESCRIPTION_LENGTH = 4 * 1024**2  # characters of a description that are looked at
COLOUR_NAMES = ({"red", "r"}, {"green", "g"}, {"blue", "b"})
PURE_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


class PageLayout(NamedTuple):
    """`order` are the pages, channels first, then slices; 1 or 3 `channels`; `size` (mm) along columns, rows, slices.

    `size` is None where nothing is said of it, or where it is that of a microscope's pixels.
    """

    order: tuple[int, ...]
    channels: int = 1
    size: tuple[float, float, float] | None = None


def describe_pages(first: tifffile.TiffPage, count: int, path: Path) -> PageLayout:
    """What the `count` pages are, from the description on the `first`.

    Raises InputError for time points, for channels that are no colours, and if there are other pages than it says.
    """
    text = (first.description or "")[:MAX_DESCRIPTION_LENGTH]
    if text.startswith("ImageJ="):
        return _parse_imagej(text, first, count, path)
    if "<OME" in text and not re.search("<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        return _parse_ome(text, first, count, path)
    return PageLayout(tuple(range(count)))


def _parse_imagej(text: str, first: tifffile.TiffPage, count: int, path: Path) -> PageLayout:
    said_of = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    channels, slices, frames = (_parse_integer(said_of.get(key, "1")) for key in ("channels", "slices", "frames"))
    if first.samplesperpixel > 1:
        channels = 1
    if channels == slices == frames == 1:
        slices = count
    _check_planes(channels, slices, frames, count, path)
    _check_colours(channels, [], first, path)
    unit = said_of.get("unit", "").replace("\\u00B5", "µ")
    steps = [_pixel_length(first.tags.valueof(tag)) for tag in (282, 283)]
    sizes = [step * UNIT_MM.get(unit.lower(), math.nan) for step in steps]
    deep = _parse_float(said_of.get("spacing", "nan")) * UNIT_MM.get(unit.lower(), math.nan)
    return PageLayout(tuple(range(count)), channels, _checked_size((*sizes, deep), slices))


def _parse_ome(text: str, first: tifffile.TiffPage, count: int, path: Path) -> PageLayout:
    images = [node for node in ElementTree.fromstring(text.encode()).iter() if _tag_name(node) == "Image"]
    pixels = next((node for image in images for node in image if _tag_name(node) == "Pixels"), None)
    if pixels is None:
        return PageLayout(tuple(range(count)))
    if len(images) > 1:
        raise InputError(f"{safe_text(path)} holds {len(images)} images; save the one you want as a file of its own.")
    slices, frames = (_parse_integer(pixels.get(f"Size{axis}", "1")) for axis in "ZT")
    channels = max(1, _parse_integer(pixels.get("SizeC", "1")) // first.samplesperpixel)
    named = [node for node in pixels if _tag_name(node) == "Channel"]
    files = {node.get("FileName") for node in pixels.iter() if _tag_name(node) == "UUID"}
    if len(files) > 1:
        raise InputError(f"{safe_text(path)} is one of {len(files)} files of an image; save it as one file.")
    _check_planes(channels, slices, frames, count, path)
    _check_colours(channels, named, first, path)
    planes = _map_planes(pixels, channels, slices, count)
    order = tuple(planes[c, z] for z in range(slices) for c in range(channels))
    sizes = [
        _parse_float(pixels.get(f"PhysicalSize{axis}", "nan"))
        * UNIT_MM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower(), math.nan)
        for axis in "XYZ"
    ]
    return PageLayout(order, channels, _checked_size(sizes, slices))


def _map_planes(pixels: ElementTree.Element, channels: int, slices: int, count: int) -> dict[tuple[int, int], int]:
    """(channel, slice) to page."""
    swift = pixels.get("DimensionOrder", "XYCZT")
    inner = swift.find("C") < swift.find("Z")  # whether the channel changes faster than the slice
    one = [(c, z) for z in range(slices) for c in range(channels)]
    places = one if inner else [(c, z) for c in range(channels) for z in range(slices)]
    planes = dict(zip(places, range(count), strict=True))
    told = [node for node in pixels if _tag_name(node) == "TiffData" and node.get("IFD") is not None]
    if len(told) == count:  # each page on its own; fewer nodes tell of pages in their order
        numbers = [[_parse_integer(node.get(key, "0")) for key in ("FirstC", "FirstZ", "IFD")] for node in told]
        planes = {(c, z): page for c, z, page in numbers}
    return planes


def _check_planes(channels: int, slices: int, frames: int, count: int, path: Path) -> None:
    if frames > 1:
        raise InputError(
            f"{safe_text(path)} holds {frames} time points; save the one you want as a file of its own, or, if "
            "they are "
            "slices, say so in its properties (ImageJ: Image, Properties)."
        )
    if channels * slices != count or count > MAX_SLICES:
        raise InputError(
            f"{safe_text(path)} says that it holds {channels * slices} planes, and has {count} pages; save it as "
            "one TIFF."
        )


def _check_colours(channels: int, named: list[ElementTree.Element], first: tifffile.TiffPage, path: Path) -> None:
    """Raise InputError if several channels are no colours: red, green and blue, by name or by tint, or unnamed."""
    if channels == 1:
        return
    names = [node.get("Name", "") for node in named]
    whole = first.dtype is not None and first.dtype.kind == "u" and first.dtype.itemsize <= 2
    told = any(names)
    by_name = len(names) == 3 and all(n.strip().lower() in c for n, c in zip(names, COLOUR_NAMES, strict=True))
    tints = [_parse_colour(node.get("Color")) for node in named]
    by_tint = tuple(tints) == PURE_COLOURS
    if channels == 3 and whole and (by_name or by_tint or not (told or any(tints))):
        return
    listed = safe_text(", ".join(filter(None, names)))
    raise InputError(
        f"{safe_text(path)} holds {channels} channels{f' ({listed})' if listed else ''}, which are no "
        "colours; save the one "
        "you want as a picture of its own."
    )


def _parse_colour(text: str | None) -> tuple[int, ...] | None:
    """Red, green and blue of OME's number for a colour."""
    if text is None or not re.fullmatch(r"-?\d{1,10}", text):
        return None
    return tuple((int(text) % 2**32 >> shift) & 255 for shift in (24, 16, 8))


def _checked_size(sizes: Sequence[float], slices: int) -> tuple[float, float, float] | None:
    x, y, z = sizes
    z = 1.0 if slices == 1 and not math.isfinite(z) else z
    return (x, y, z) if all(PLAUSIBLE_VOXEL_MM[0] <= each <= PLAUSIBLE_VOXEL_MM[1] for each in (x, y, z)) else None


def _pixel_length(resolution: object) -> float:
    """The length of a pixel, from a tag that says how many there are to a unit."""
    if not isinstance(resolution, tuple) or len(resolution) != 2 or not all(resolution):
        return math.nan
    return resolution[1] / resolution[0]


def _parse_integer(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,6}", text.strip()) else 1


def _parse_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _tag_name(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]
