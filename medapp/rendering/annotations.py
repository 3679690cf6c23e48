"""Annotations of a slice: direction letters, crosshair, caption and scale bar."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from medapp.imaging.volume import Grid
from medapp.rendering.slice_grids import find_direction_letter

TEXT_COLOUR = (235, 235, 235)
CROSSHAIR_COLOUR = (150, 255, 170)
MARGIN_PIXELS = 5  # pixels from the border


def add_crosshair(picture: np.ndarray, grid: Grid, mm: Sequence[float], free: int = 12) -> np.ndarray:
    """Add a faint crosshair at `mm` (RAS+ mm) to a picture (H, W, 3), with a gap of `free` pixels around the point."""
    row, column = np.rint(grid.to_index(np.asarray(mm, float))[:2]).astype(int)
    out = picture.astype(np.float32)
    rows, columns = np.arange(out.shape[0]), np.arange(out.shape[1])
    if 0 <= row < out.shape[0]:
        out[row, np.abs(columns - column) > free] *= 0.5
        out[row, np.abs(columns - column) > free] += np.float32(CROSSHAIR_COLOUR) / 2
    if 0 <= column < out.shape[1]:
        out[np.abs(rows - row) > free, column] *= 0.5
        out[np.abs(rows - row) > free, column] += np.float32(CROSSHAIR_COLOUR) / 2
    return out.astype(np.uint8)


def add_directions(picture: np.ndarray, grid: Grid, size: int = 16) -> np.ndarray:
    """Add the letters of the four directions, `size` pixels high, and a scale bar to a picture (H, W, 3) uint8."""
    image = Image.fromarray(picture)
    pen = ImageDraw.Draw(image)
    width, height = image.size
    down, across = grid.affine[:3, 0], grid.affine[:3, 1]
    for place, anchor, direction in (
        ((width / 2, MARGIN_PIXELS), "mt", -down),
        ((width / 2, height - MARGIN_PIXELS), "mb", down),
        ((MARGIN_PIXELS, height / 2), "lm", -across),
        ((width - MARGIN_PIXELS, height / 2), "rm", across),
    ):
        draw_text(pen, place, find_direction_letter(direction), anchor, size)
    _draw_scale_bar(pen, width, height, float(np.linalg.norm(across)), max(10, size - 3))
    return np.asarray(image)


def add_caption(picture: np.ndarray, text: str, size: int = 13, corner: str = "lb") -> np.ndarray:
    """Add a short text, `size` pixels high, to a corner of a picture (H, W, 3) uint8: l or r, then t or b."""
    image = Image.fromarray(picture)
    x = MARGIN_PIXELS if corner[0] == "l" else image.width - MARGIN_PIXELS
    y = MARGIN_PIXELS if corner[1] == "t" else image.height - MARGIN_PIXELS
    draw_text(ImageDraw.Draw(image), (x, y), text, corner, size)
    return np.asarray(image)


def _draw_scale_bar(pen: ImageDraw.ImageDraw, width: int, height: int, pixel: float, size: int) -> None:
    """Draw a bar in the lower right corner, at most a third of the width: 10 or 5 cm, less in small pictures."""
    length = next((mm for mm in (100, 50, 20, 10, 5, 2, 1) if mm / pixel <= width / 3), None)
    if length is None:
        return
    right, bottom = width - MARGIN_PIXELS, height - MARGIN_PIXELS
    left = right - round(length / pixel)
    pen.rectangle((left - 1, bottom - 3, right + 1, bottom), fill=(0, 0, 0))
    pen.rectangle((left, bottom - 2, right, bottom - 1), fill=TEXT_COLOUR)
    draw_text(pen, (right, bottom - 5), f"{length} mm" if length < 50 else f"{length // 10} cm", "rb", size)


def draw_text(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, anchor: str, size: int) -> None:
    """Draw light text with a dark outline, `size` pixels high, at a pixel (x, y); `anchor` is Pillow's."""
    pen.text(place, text, TEXT_COLOUR, _load_font(size), anchor, stroke_width=2, stroke_fill=(0, 0, 0))


@lru_cache
def _load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
