"""TIFF in: pages are slices, or the colours of one, as ImageJ's and OME's descriptions say.

tifffile reads the tags, and the values of what is not packed or deflated, in every type; Pillow whatever else it is
known to read rightly.
"""

import logging
import zlib
from pathlib import Path
from struct import unpack
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import Image

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io.placement import NO_POSITION_REMARK
from medapp.io.raster import (
    NO_PIXEL_SIZE_REMARK,
    PICTURE_AFFINE,
    REDUCED_DEPTH_REMARK,
    TRANSPARENCY_REMARK,
    check_picture_size,
    to_array,
)
from medapp.io.tiff_stacks import PageLayout, describe_pages
from medapp.io.validation import LimitedReader, check_time, safe_text, to_image_dtype, translate_errors
from medapp.limits import MAX_SLICES, TRAILING_BYTES

logging.getLogger("tifffile").disabled = True  # its words quote the file
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
UNCOMPRESSED, DEFLATED = (1,), (8, 32946)
WHITE_IS_0, BLACK_IS_0, RGB, PALETTE = range(4)
PAGES_AS_SLICES_REMARK = "The {} pages of the file were taken as slices, in their order."
PAGES_AS_COLOURS_REMARK = "The pages of the file were taken as red, green and blue."


def read(path: Path, companions: object = ()) -> Volume:
    """A TIFF as a Volume (columns, rows, slices), or (columns, rows, slices, 3) uint8 where it has colours.

    Raises InputError for what is damaged or too large, for pages that differ, for time points, and for channels that
    are no colours.
    """
    with (
        translate_errors(path, "a TIFF"),
        LimitedReader(path, f"{safe_text(path)} is damaged; save it anew.", rest=np.inf) as file,
    ):
        count = _count_pages(file, path)
        file.seek(0)
        with tifffile.TiffFile(
            file,
            name="x.tif",
            _multifile=False,
            is_lsm=False,  # this and the next look for pages in ways of their own
            is_ndpi=False,
            is_scanimage=False,
        ) as tiff:
            first = tiff.pages[0].aspage()
            check_picture_size((first.imagewidth, first.imagelength), count, path)
            stack = describe_pages(first, count, path)
            pages, remarks = _read_pages(tiff, count, path)
        array = _stack_pages(pages, stack, path)
    if array.ndim == 4 and array.dtype == np.uint16:
        remarks |= {REDUCED_DEPTH_REMARK: None}
        array = (array >> 8).astype(np.uint8)
    if array.ndim == 4 and array.dtype != np.uint8:
        raise InputError(
            f"{safe_text(path)} has colours of an unusual type ({array.dtype}); save it with 8 bits a colour."
        )
    if stack.channels == 3:
        remarks |= {PAGES_AS_COLOURS_REMARK: None}
    if array.shape[2] > 1:
        remarks |= {PAGES_AS_SLICES_REMARK.format(array.shape[2]): None}
    affine = PICTURE_AFFINE if stack.size is None else PICTURE_AFFINE @ np.diag([*stack.size, 1.0])
    where = NO_PIXEL_SIZE_REMARK if stack.size is None else NO_POSITION_REMARK
    return Volume(to_image_dtype(array, path), affine, remarks=(where, *remarks))


def _count_pages(file: BinaryIO, path: Path) -> int:
    """How many pages there are; they are looked for one by one, since a small file may hold millions."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = unpack(f"{order}H", head[2:4])[0] == 43
    at = unpack(f"{order}{'Q' if big else 'I'}", head[8:16] if big else head[4:8])[0]
    seen: set[int] = set()
    while at:
        if at in seen:
            raise InputError(f"{safe_text(path)} is damaged: its pages run in a ring; save it anew.")
        seen.add(at)
        if len(seen) > MAX_SLICES:
            raise InputError(
                f"{safe_text(path)} has more than {MAX_SLICES} pages, more than are taken; save the part you want."
            )
        file.seek(at)
        tags = unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))[0]
        file.seek(tags * (20 if big else 12), 1)
        at = unpack(f"{order}{'Q' if big else 'I'}", file.read(8 if big else 4))[0]
    return len(seen)


def _read_pages(tiff: tifffile.TiffFile, count: int, path: Path) -> tuple[list[np.ndarray], dict[str, None]]:
    """Every page (columns, rows), or (columns, rows, 3), and remarks, as keys."""
    pages: list[np.ndarray] = []
    remarks: dict[str, None] = {}
    size: tuple[int, int] | None = None
    for number in range(count):
        check_time()
        page = tiff.pages[number].aspage()
        size = size or (page.imagewidth, page.imagelength)
        if (page.imagewidth, page.imagelength) != size:
            raise InputError(
                f"{safe_text(path)} has pages of different sizes; save the one you want as a picture of its own."
            )
        if not _is_picture(page):
            raise InputError(
                f"{safe_text(path)} holds {page.samplesperpixel} channels; save the one you want as a picture of its "
                "own."
            )
        if _is_simple(page):
            array, more = _read_with_tifffile(page, tiff.filehandle.size, path)
        else:
            array, more = _read_with_pillow(page, number, path)
        pages.append(array)
        remarks |= dict.fromkeys(more)
    return pages, remarks


def _is_picture(page: tifffile.TiffPage) -> bool:
    """Whether its samples are grey or colours, with or without transparency."""
    samples = page.samplesperpixel
    return (
        samples in (1, 3)
        or (samples == 2 and page.extrasamples in ((1,), (2,)))
        or (samples == 4 and page.photometric not in (WHITE_IS_0, BLACK_IS_0))
    )


def _is_simple(page: tifffile.TiffPage) -> bool:
    kinds = (WHITE_IS_0, BLACK_IS_0, RGB)
    packing = page.compression in UNCOMPRESSED + DEFLATED and page.predictor in (1, 2)
    return packing and page.photometric in kinds and page.dtype is not None and page.bitspersample % 8 == 0


def _read_with_tifffile(page: tifffile.TiffPage, end: int, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """(columns, rows), or (columns, rows, 3), of a page that tifffile reads; nothing unpacks beyond its size."""
    fault = InputError(f"{safe_text(path)} is damaged or truncated; upload it again.")
    wanted = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample // 8
    if page.is_tiled:
        check_picture_size((page.tilewidth, page.tilelength), 1, path)
    there = 0
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset + length > end:
            raise fault
        if page.compression in DEFLATED:
            page.parent.filehandle.seek(offset)
            box = zlib.decompressobj()
            length = len(box.decompress(page.parent.filehandle.read(length), wanted + TRAILING_BYTES))
            if box.unconsumed_tail:
                raise fault
        there += length
    if there < wanted:
        raise fault
    array = page.asarray(maxworkers=1)
    samples = page.samplesperpixel
    if samples > 1 and page.planarconfig == 2:
        array = np.moveaxis(array, 0, -1)
    array = array.reshape(page.imagelength, page.imagewidth, *([samples] if samples > 1 else []))
    if page.photometric == WHITE_IS_0 and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    opaque = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1
    clear = samples in (2, 4) and bool((array[..., -1] != opaque).any())
    array = array[..., 0] if samples == 2 else array[..., :3] if samples > 2 else array
    return array.swapaxes(0, 1), (TRANSPARENCY_REMARK,) if clear else ()


def _read_with_pillow(page: tifffile.TiffPage, number: int, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """The same of a page that Pillow reads. Raises InputError for the types that it is known to read wrongly."""
    bits, signed = page.bitspersample, page.sampleformat == 2
    wrong = (
        (page.samplesperpixel > 1 and page.planarconfig == 2)
        or (signed and bits == 8)
        or (bits == 32 and page.sampleformat == 1)
        or (page.photometric == WHITE_IS_0 and bits > 8)
        or bits > 32
    )
    if wrong:
        raise InputError(
            f"{safe_text(path)} is packed in a way in which its type is not read; save it without compression."
        )
    with Image.open(path, formats=("TIFF",)) as picture:
        picture.seek(number)
        check_picture_size(picture.size, 1, path)
        array, remarks = to_array(picture)
    return array, (*remarks, REDUCED_DEPTH_REMARK) if array.ndim == 3 and bits > 8 else remarks


def _stack_pages(pages: list[np.ndarray], stack: PageLayout, path: Path) -> np.ndarray:
    """(columns, rows, slices), or (columns, rows, slices, 3). Raises InputError for pages that differ."""
    if len({page.shape for page in pages}) > 1 or len({page.dtype for page in pages}) > 1:
        raise InputError(
            f"{safe_text(path)} has pages in grey and pages in colour, or of several types; save them alike."
        )
    if stack.channels == 1:
        return np.stack([pages[n] for n in stack.order], axis=2)
    slices = [np.stack([pages[n] for n in stack.order[k : k + 3]], axis=2) for k in range(0, len(stack.order), 3)]
    if slices[0].ndim != 3:
        raise InputError(f"{safe_text(path)} has coloured pages in several channels; save the one you want.")
    return np.stack(slices, axis=2)
