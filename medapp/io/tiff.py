"""Read TIFF: pages are slices, or the colours of one, by the descriptions of ImageJ and OME.

tifffile reads the tags and the values of uncompressed and deflated pages of every type; Pillow reads those others that
it is known to read correctly.
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
from medapp.io.tiff_pages import PageLayout, describe_pages
from medapp.io.validation import LimitedReader, check_time, safe_text, to_image_dtype, translate_errors
from medapp.limits import MAX_SLICES, TRAILING_BYTES

logging.getLogger("tifffile").disabled = True  # its messages quote the file
SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
UNCOMPRESSED, DEFLATED = (1,), (8, 32946)
WHITE_IS_0, BLACK_IS_0, RGB, PALETTE = range(4)
PAGES_AS_SLICES_REMARK = "The {} pages of the file were read as slices, in their order."
PAGES_AS_COLOURS_REMARK = "The pages of the file were read as red, green and blue."


def read(path: Path, companions: object = ()) -> Volume:
    """Read a TIFF as a Volume (columns, rows, slices), or (columns, rows, slices, 3) uint8 where it has colours.

    Raises InputError for a damaged or too large file, pages of different sizes or types, time points, and channels that
    are not colours.
    """
    with (
        translate_errors(path, "a TIFF"),
        LimitedReader(path, f"{safe_text(path)} is damaged; save it again.", rest=np.inf) as file,
    ):
        count = _count_pages(file, path)
        file.seek(0)
        with tifffile.TiffFile(
            file,
            name="x.tif",
            _multifile=False,
            is_lsm=False,  # this and the next two search for pages in other ways
            is_ndpi=False,
            is_scanimage=False,
        ) as tiff:
            first = tiff.pages[0].aspage()
            check_picture_size((first.imagewidth, first.imagelength), count, path)
            layout = describe_pages(first, count, path)
            pages, remarks = _read_pages(tiff, count, path)
        array = _stack_pages(pages, layout, path)
    if array.ndim == 4 and array.dtype == np.uint16:
        remarks |= {REDUCED_DEPTH_REMARK: None}
        array = (array >> 8).astype(np.uint8)
    if array.ndim == 4 and array.dtype != np.uint8:
        raise InputError(
            f"{safe_text(path)} has colours of an unusual type ({array.dtype}); save it with 8 bits per colour."
        )
    if layout.channels == 3:
        remarks |= {PAGES_AS_COLOURS_REMARK: None}
    if array.shape[2] > 1:
        remarks |= {PAGES_AS_SLICES_REMARK.format(array.shape[2]): None}
    affine = PICTURE_AFFINE if layout.size_mm is None else PICTURE_AFFINE @ np.diag([*layout.size_mm, 1.0])
    where = NO_PIXEL_SIZE_REMARK if layout.size_mm is None else NO_POSITION_REMARK
    return Volume(to_image_dtype(array, path), affine, remarks=(where, *remarks))


def _count_pages(file: BinaryIO, path: Path) -> int:
    """Count the pages one by one, since a small file may announce millions. Raises InputError for too many."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    is_big = unpack(f"{order}H", head[2:4])[0] == 43
    offset = unpack(f"{order}{'Q' if is_big else 'I'}", head[8:16] if is_big else head[4:8])[0]
    offsets: set[int] = set()
    while offset:
        if offset in offsets:
            raise InputError(f"{safe_text(path)} is damaged: its pages form a loop; save it again.")
        offsets.add(offset)
        if len(offsets) > MAX_SLICES:
            raise InputError(
                f"{safe_text(path)} has more than {MAX_SLICES} pages, which is the limit; save the part you want."
            )
        file.seek(offset)
        tag_count = unpack(f"{order}{'Q' if is_big else 'H'}", file.read(8 if is_big else 2))[0]
        file.seek(tag_count * (20 if is_big else 12), 1)
        offset = unpack(f"{order}{'Q' if is_big else 'I'}", file.read(8 if is_big else 4))[0]
    return len(offsets)


def _read_pages(tiff: tifffile.TiffFile, count: int, path: Path) -> tuple[list[np.ndarray], dict[str, None]]:
    """Read every page, (columns, rows) or (columns, rows, 3), and return remarks as keys."""
    pages: list[np.ndarray] = []
    remarks: dict[str, None] = {}
    size: tuple[int, int] | None = None
    for number in range(count):
        check_time()
        page = tiff.pages[number].aspage()
        size = size or (page.imagewidth, page.imagelength)
        if (page.imagewidth, page.imagelength) != size:
            raise InputError(
                f"{safe_text(path)} has pages of different sizes; save the one you want as a separate picture."
            )
        if not _is_picture(page):
            raise InputError(
                f"{safe_text(path)} holds {page.samplesperpixel} channels; save the one you want as a separate picture."
            )
        if _is_simple(page):
            array, page_remarks = _read_with_tifffile(page, tiff.filehandle.size, path)
        else:
            array, page_remarks = _read_with_pillow(page, number, path)
        pages.append(array)
        remarks |= dict.fromkeys(page_remarks)
    return pages, remarks


def _is_picture(page: tifffile.TiffPage) -> bool:
    """Tell whether the samples are grey or colours, with or without transparency."""
    samples = page.samplesperpixel
    return (
        samples in (1, 3)
        or (samples == 2 and page.extrasamples in ((1,), (2,)))
        or (samples == 4 and page.photometric not in (WHITE_IS_0, BLACK_IS_0))
    )


def _is_simple(page: tifffile.TiffPage) -> bool:
    """Tell whether tifffile reads the page: uncompressed or deflated, grey or RGB, in whole bytes."""
    photometrics = (WHITE_IS_0, BLACK_IS_0, RGB)
    is_compression_known = page.compression in UNCOMPRESSED + DEFLATED and page.predictor in (1, 2)
    return (
        is_compression_known
        and page.photometric in photometrics
        and page.dtype is not None
        and page.bitspersample % 8 == 0
    )


def _read_with_tifffile(page: tifffile.TiffPage, end: int, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read a page as (columns, rows), or (columns, rows, 3), after checking that nothing unpacks beyond its size."""
    damaged = InputError(f"{safe_text(path)} is damaged or truncated; upload it again.")
    size = page.imagewidth * page.imagelength * page.samplesperpixel * page.bitspersample // 8
    if page.is_tiled:
        check_picture_size((page.tilewidth, page.tilelength), 1, path)
    available = 0
    for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
        if offset + length > end:
            raise damaged
        if page.compression in DEFLATED:
            page.parent.filehandle.seek(offset)
            decompressor = zlib.decompressobj()
            length = len(decompressor.decompress(page.parent.filehandle.read(length), size + TRAILING_BYTES))
            if decompressor.unconsumed_tail:
                raise damaged
        available += length
    if available < size:
        raise damaged
    array = page.asarray(maxworkers=1)
    samples = page.samplesperpixel
    if samples > 1 and page.planarconfig == 2:
        array = np.moveaxis(array, 0, -1)
    array = array.reshape(page.imagelength, page.imagewidth, *([samples] if samples > 1 else []))
    if page.photometric == WHITE_IS_0 and array.dtype.kind == "u":
        array = np.iinfo(array.dtype).max - array
    opaque = np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1
    is_transparent = samples in (2, 4) and bool((array[..., -1] != opaque).any())
    array = array[..., 0] if samples == 2 else array[..., :3] if samples > 2 else array
    return array.swapaxes(0, 1), (TRANSPARENCY_REMARK,) if is_transparent else ()


def _read_with_pillow(page: tifffile.TiffPage, number: int, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Read a page with Pillow, as (columns, rows) or (columns, rows, 3).

    Raises InputError for the types that Pillow is known to read wrongly.
    """
    bits, is_signed = page.bitspersample, page.sampleformat == 2
    is_misread = (
        (page.samplesperpixel > 1 and page.planarconfig == 2)
        or (is_signed and bits == 8)
        or (bits == 32 and page.sampleformat == 1)
        or (page.photometric == WHITE_IS_0 and bits > 8)
        or bits > 32
    )
    if is_misread:
        raise InputError(
            f"{safe_text(path)} has a type that cannot be read with its compression; save it without compression."
        )
    with Image.open(path, formats=("TIFF",)) as picture:
        picture.seek(number)
        check_picture_size(picture.size, 1, path)
        array, remarks = to_array(picture)
    return array, (*remarks, REDUCED_DEPTH_REMARK) if array.ndim == 3 and bits > 8 else remarks


def _stack_pages(pages: list[np.ndarray], layout: PageLayout, path: Path) -> np.ndarray:
    """Stack pages to (columns, rows, slices), or (columns, rows, slices, 3). Raises InputError if they differ."""
    if len({page.shape for page in pages}) > 1 or len({page.dtype for page in pages}) > 1:
        raise InputError(
            f"{safe_text(path)} has pages in grey and pages in colour, or of several types; save all pages alike."
        )
    if layout.channels == 1:
        return np.stack([pages[n] for n in layout.order], axis=2)
    slices = [np.stack([pages[n] for n in layout.order[k : k + 3]], axis=2) for k in range(0, len(layout.order), 3)]
    if slices[0].ndim != 3:
        raise InputError(f"{safe_text(path)} has coloured pages in several channels; save the one you want.")
    return np.stack(slices, axis=2)
