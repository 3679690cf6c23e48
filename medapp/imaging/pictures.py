"""PNG, JPEG and TIFF pictures in, the pages of a TIFF being slices; PNG out."""

from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from medapp.errors import InputError
from medapp.imaging.checks import in_time, parsing, plain_numbers, right_size, said
from medapp.imaging.geometry import upright
from medapp.imaging.limits import MAX_SLICES
from medapp.imaging.volume import Volume

MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])  # columns run to the patient's left, rows to the back: as drawn
NO_SIZE = "A picture has no voxel size: 1 mm is assumed, so nothing measured in millimetres can be relied upon."
SHALLOW = "The picture has 16 bits a colour, of which the upper 8 were read."


def read(path: Path, companions: list[Path]) -> Volume:
    """A picture as a Volume (columns, rows, pages), or (columns, rows, pages, 3) uint8 where it has colours.

    Raises InputError for what is damaged or too large, and for pages that differ in size.
    """
    with parsing(path, "a picture"), Image.open(path, formats=("PNG", "JPEG", "TIFF")) as picture:
        count = _count(picture, path) if picture.format == "TIFF" else 1
        right_size((*picture.size, count), path)
        if Image.MAX_IMAGE_PIXELS and picture.width * picture.height > Image.MAX_IMAGE_PIXELS:
            raise InputError(
                f"{said(path)} is too large: {picture.width} × {picture.height} pixels; cut out the part you want."
            )
        remarks = (NO_SIZE, SHALLOW) if _is_deep_colour(picture, path) else (NO_SIZE,)
        size = picture.size
        pages = [_page(page, size, path) for page in islice(ImageSequence.Iterator(picture), count)]
        if len({page.shape[2:] for page in pages}) > 1:
            raise InputError(f"{said(path)} has pages in grey and pages in colour; save them alike.")
        return Volume(plain_numbers(np.stack(pages, axis=2), path), AFFINE, remarks=remarks)


def write(volume: Volume, path: Path) -> Path:
    """Write the one slice of a coloured volume as PNG, without loss, and return the path.

    A volume (columns, rows, 1, 3), as `read` gives it, comes out as it came in.
    """
    if not volume.is_colour or 1 not in volume.shape:
        raise ValueError("only the one slice of a coloured volume is written as PNG")
    slices = upright(np.asarray(volume.array, np.uint8), volume.grid, volume.shape.index(1))
    Image.fromarray(np.ascontiguousarray(slices[0])).save(path, format="PNG")
    return path


def _count(picture: Image.Image, path: Path) -> int:
    """How many pages there are; they are looked for one by one, since a small file may hold millions."""
    for number in range(1, MAX_SLICES + 1):
        try:
            picture.seek(number)
        except EOFError:
            picture.seek(0)
            return number
    raise InputError(f"{said(path)} has more than {MAX_SLICES} pages, which is more than is taken.")


def _page(page: Image.Image, size: tuple[int, int], path: Path) -> np.ndarray:
    in_time()
    if page.size != size:
        raise InputError(f"{said(path)} has pages of different sizes; save the one you want as a picture of its own.")
    page = ImageOps.exif_transpose(page)
    if page.mode == "1":
        page = page.convert("L")
    elif page.mode == "LA":
        page = page.getchannel("L")
    elif page.mode not in ("L", "F", "RGB") and not page.mode.startswith("I"):
        page = page.convert("RGB")  # palette, transparency, printing and video colours
    return np.asarray(page).swapaxes(0, 1)


def _is_deep_colour(picture: Image.Image, path: Path) -> bool:
    if picture.mode not in ("RGB", "RGBA", "LA"):
        return False
    if picture.format == "PNG":
        return path.open("rb").read(25)[24:] == b"\x10"
    return picture.format == "TIFF" and max(getattr(picture, "tag_v2", {}).get(258, (8,))) > 8
