"""Read PNG and JPEG pictures; write PNG."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from medapp.errors import InputError
from medapp.imaging.geometry import to_display_slices
from medapp.imaging.volume import Volume
from medapp.io.validation import LimitedReader, check_shape, check_time, safe_text, to_image_dtype, translate_errors

SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
MIN_READ_BYTES = 1024**2  # that Pillow may read at once, however small the file
PICTURE_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])  # displayed as it is: columns to the left, rows to posterior
NO_PIXEL_SIZE_REMARK = "A picture has no voxel size: 1 mm is assumed, so measures in millimetres are not reliable."
REDUCED_DEPTH_REMARK = "The picture has 16 bits per colour; the upper 8 were read."
TRANSPARENCY_REMARK = "The picture is partly transparent; the transparency was ignored."


def read(path: Path, companions: object = ()) -> Volume:
    """Read a picture as a Volume (columns, rows, 1), or (columns, rows, 1, 3) uint8 where it has colours.

    Raises InputError for a damaged or too large file.
    """
    damaged = f"{safe_text(path)} is damaged: its header announces more data than it holds; upload it again."
    most = max(path.stat().st_size, MIN_READ_BYTES)
    limited = LimitedReader(path, damaged, most=most, rest=most)
    with translate_errors(path, "a picture"), limited as file, Image.open(file, formats=("PNG", "JPEG")) as picture:
        check_picture_size(picture.size, 1, path)
        has_16_bits = picture.format == "PNG" and picture.mode in ("RGB", "RGBA", "LA") and _png_bits(path) == 16
        array, remarks = to_array(picture)
        array = to_image_dtype(array[:, :, None], path)
    return Volume(
        array,
        PICTURE_AFFINE,
        remarks=(NO_PIXEL_SIZE_REMARK, *((REDUCED_DEPTH_REMARK,) if has_16_bits else ()), *remarks),
    )


def write(volume: Volume, path: Path) -> Path:
    """Write the only slice of a coloured volume as PNG, without loss, and return the path.

    A volume (columns, rows, 1, 3) from `read` is written as it was read. Raises ValueError for other volumes.
    """
    if not volume.is_colour or 1 not in volume.shape:
        raise ValueError("PNG is only for a coloured volume of one slice")
    slices = to_display_slices(np.asarray(volume.array, np.uint8), volume.grid, volume.shape.index(1))
    Image.fromarray(np.ascontiguousarray(slices[0])).save(path, format="PNG")
    return path


def check_picture_size(size: tuple[int, int], pages: int, path: Path) -> None:
    """Raise InputError if `pages` pictures of `size`, columns and rows, are too large."""
    check_shape((*size, pages), path)
    if Image.MAX_IMAGE_PIXELS and size[0] * size[1] > Image.MAX_IMAGE_PIXELS:
        raise InputError(f"{safe_text(path)} is too large: {size[0]} × {size[1]} pixels; crop it to the part you want.")


def to_array(picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (columns, rows), or (columns, rows, 3) uint8 for colours, turned as EXIF says, and remarks on losses."""
    check_time()
    page = ImageOps.exif_transpose(picture)
    remarks = (TRANSPARENCY_REMARK,) if _is_transparent(page) else ()
    if page.mode == "1":
        page = page.convert("L")
    elif page.mode in ("LA", "La"):
        page = page.getchannel("L")
    elif page.mode not in ("L", "F", "RGB") and not page.mode.startswith("I"):
        page = page.convert("RGB")  # palette, transparency, printing and video colours
    return np.asarray(page).swapaxes(0, 1), remarks


def _is_transparent(page: Image.Image) -> bool:
    if "A" in page.getbands():
        return page.getchannel("A").getextrema()[0] != 255
    return "transparency" in page.info and page.mode in ("P", "L", "RGB")


def _png_bits(path: Path) -> int:
    """Return the bits per sample of a PNG."""
    with path.open("rb") as file:
        return file.read(25)[24]
