"""What the pages of a TIFF are, by the descriptions of ImageJ and OME: slices, colours or time points."""

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

MAX_DESCRIPTION_LENGTH = 4 * 1024**2  # characters
COLOUR_NAMES = ({"red", "r"}, {"green", "g"}, {"blue", "b"})
PURE_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


class PageLayout(NamedTuple):
    """The `order` of the pages, channels first, then slices; 1 or 3 `channels`; `size_mm` of (column, row, slice).

    `size_mm` is None where it is not given, or where it is that of a microscope's pixels.
    """

    order: tuple[int, ...]
    channels: int = 1
    size_mm: tuple[float, float, float] | None = None


def describe_pages(first: tifffile.TiffPage, count: int, path: Path) -> PageLayout:
    """Return what the `count` pages are, by the description on the `first`.

    Raises InputError for time points, channels that are not colours, and a number of pages that contradicts it.
    """
    text = (first.description or "")[:MAX_DESCRIPTION_LENGTH]
    if text.startswith("ImageJ="):
        return _parse_imagej(text, first, count, path)
    if "<OME" in text and not re.search("<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        return _parse_ome(text, first, count, path)
    return PageLayout(tuple(range(count)))


def _parse_imagej(text: str, first: tifffile.TiffPage, count: int, path: Path) -> PageLayout:
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    channels, slices, frames = (_parse_integer(fields.get(key, "1")) for key in ("channels", "slices", "frames"))
    if first.samplesperpixel > 1:
        channels = 1
    if channels == slices == frames == 1:
        slices = count
    _check_planes(channels, slices, frames, count, path)
    _check_colours(channels, [], first, path)
    unit_mm = UNIT_MM.get(fields.get("unit", "").replace("\\u00B5", "µ").lower(), math.nan)
    sizes = [_pixel_length(first.tags.valueof(tag)) * unit_mm for tag in (282, 283)]
    depth = _parse_float(fields.get("spacing", "nan")) * unit_mm
    return PageLayout(tuple(range(count)), channels, _checked_size((*sizes, depth), slices))


def _parse_ome(text: str, first: tifffile.TiffPage, count: int, path: Path) -> PageLayout:
    images = [node for node in ElementTree.fromstring(text.encode()).iter() if _tag_name(node) == "Image"]
    pixels = next((node for image in images for node in image if _tag_name(node) == "Pixels"), None)
    if pixels is None:
        return PageLayout(tuple(range(count)))
    if len(images) > 1:
        raise InputError(f"{safe_text(path)} holds {len(images)} images; save the one you want as a separate file.")
    slices, frames = (_parse_integer(pixels.get(f"Size{axis}", "1")) for axis in "ZT")
    channels = max(1, _parse_integer(pixels.get("SizeC", "1")) // first.samplesperpixel)
    channel_nodes = [node for node in pixels if _tag_name(node) == "Channel"]
    files = {node.get("FileName") for node in pixels.iter() if _tag_name(node) == "UUID"}
    if len(files) > 1:
        raise InputError(f"{safe_text(path)} is one of {len(files)} files of an image; save the image as one file.")
    _check_planes(channels, slices, frames, count, path)
    _check_colours(channels, channel_nodes, first, path)
    planes = _map_planes(pixels, channels, slices, count)
    order = tuple(planes[c, z] for z in range(slices) for c in range(channels))
    sizes = [
        _parse_float(pixels.get(f"PhysicalSize{axis}", "nan"))
        * UNIT_MM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm").lower(), math.nan)
        for axis in "XYZ"
    ]
    return PageLayout(order, channels, _checked_size(sizes, slices))


def _map_planes(pixels: ElementTree.Element, channels: int, slices: int, count: int) -> dict[tuple[int, int], int]:
    """Map (channel, slice) to the page."""
    dimension_order = pixels.get("DimensionOrder", "XYCZT")
    if dimension_order.find("C") < dimension_order.find("Z"):  # the channel changes faster than the slice
        indices = [(c, z) for z in range(slices) for c in range(channels)]
    else:
        indices = [(c, z) for c in range(channels) for z in range(slices)]
    planes = dict(zip(indices, range(count), strict=True))
    data_nodes = [node for node in pixels if _tag_name(node) == "TiffData" and node.get("IFD") is not None]
    if len(data_nodes) == count:  # one node per page; with fewer the pages are in order
        numbers = [[_parse_integer(node.get(key, "0")) for key in ("FirstC", "FirstZ", "IFD")] for node in data_nodes]
        planes = {(c, z): page for c, z, page in numbers}
    return planes


def _check_planes(channels: int, slices: int, frames: int, count: int, path: Path) -> None:
    """Raise InputError for time points, or if the number of pages is not that of channels and slices."""
    if frames > 1:
        raise InputError(
            f"{safe_text(path)} holds {frames} time points; save the one you want as a separate file, or, if they are "
            "slices, change its properties accordingly (ImageJ: Image, Properties)."
        )
    if channels * slices != count or count > MAX_SLICES:
        raise InputError(
            f"{safe_text(path)} announces {channels * slices} planes but has {count} pages; save it as one TIFF of at "
            f"most {MAX_SLICES} pages."
        )


def _check_colours(channels: int, nodes: list[ElementTree.Element], first: tifffile.TiffPage, path: Path) -> None:
    """Raise InputError for several channels that are not red, green and blue by name or colour, or unnamed."""
    if channels == 1:
        return
    names = [node.get("Name", "") for node in nodes]
    colours = [_parse_colour(node.get("Color")) for node in nodes]
    has_colour_type = first.dtype is not None and first.dtype.kind == "u" and first.dtype.itemsize <= 2
    has_colour_names = len(names) == 3 and all(
        name.strip().lower() in known for name, known in zip(names, COLOUR_NAMES, strict=True)
    )
    is_rgb = has_colour_names or tuple(colours) == PURE_COLOURS or not (any(names) or any(colours))
    if channels == 3 and has_colour_type and is_rgb:
        return
    listed = safe_text(", ".join(filter(None, names)))
    raise InputError(
        f"{safe_text(path)} holds {channels} channels{f' ({listed})' if listed else ''} that are not colours; save the "
        "one you want as a separate picture."
    )


def _parse_colour(text: str | None) -> tuple[int, ...] | None:
    """Return red, green and blue of OME's number for a colour."""
    if text is None or not re.fullmatch(r"-?\d{1,10}", text):
        return None
    return tuple((int(text) % 2**32 >> shift) & 255 for shift in (24, 16, 8))


def _checked_size(sizes: Sequence[float], slices: int) -> tuple[float, float, float] | None:
    """Return the sizes if all are plausible for a scan, in mm; a single slice without a size is 1 mm thick."""
    x, y, z = sizes
    z = 1.0 if slices == 1 and not math.isfinite(z) else z
    return (x, y, z) if all(PLAUSIBLE_VOXEL_MM[0] <= size <= PLAUSIBLE_VOXEL_MM[1] for size in (x, y, z)) else None


def _pixel_length(resolution: object) -> float:
    """Return the length of a pixel from a resolution tag, which gives pixels per unit as a fraction."""
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
