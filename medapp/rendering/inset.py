"""Insets: the same part of several pictures, magnified, side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

from medapp.rendering import annotations
from medapp.rendering.slices import SliceFrame, resize_picture

PANEL_PIXELS = 380  # pixels a side
CAPTION_PIXELS = 30  # pixels above each panel, for its caption
FRAME_COLOUR = (86, 180, 233)


def select_part(shape: Sequence[int], across: float, down: float, zoom: float) -> tuple[slice, slice]:
    """Select rows and columns `zoom` times fewer than those of a slice (H, W), around a point given as shares 0 to 1.

    The part is as square as the slice allows, at least 8 voxels a side, and moved inside at the edges.
    """
    side = max(8, round(max(shape[0], shape[1]) / zoom))
    out = []
    for n, share in ((shape[0], down), (shape[1], across)):
        length = min(side, n)
        start = int(np.clip(round(share * n - length / 2), 0, n - length))
        out.append(slice(start, start + length))
    return out[0], out[1]


def draw_panels(pictures: Mapping[str, np.ndarray], columns: int) -> np.ndarray:
    """Draw captioned pictures (H, W, 3) of one size, voxels as squares, in rows of `columns`: uint8 (H', W', 3)."""
    tiles = [_draw_panel(caption, picture) for caption, picture in pictures.items()]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate(tiles[at : at + columns], axis=1) for at in range(0, len(tiles), columns)]
    return np.concatenate(rows)


def draw_frame(picture: np.ndarray, frame: SliceFrame, part: tuple[slice, slice]) -> np.ndarray:
    """Draw a rectangle around the part on the picture of the whole slice, uint8 (H, W, 3)."""
    image = Image.fromarray(picture)
    tall, wide = frame.height / frame.rows, frame.width / frame.columns
    edges = (part[1].start * wide, part[0].start * tall, part[1].stop * wide - 1, part[0].stop * tall - 1)
    pen = ImageDraw.Draw(image)
    pen.rectangle(edges, outline=(0, 0, 0), width=5)
    pen.rectangle([e + d for e, d in zip(edges, (1, 1, -1, -1), strict=True)], outline=FRAME_COLOUR, width=3)
    return np.asarray(image)


def _draw_panel(caption: str, picture: np.ndarray) -> np.ndarray:
    scale = PANEL_PIXELS / max(picture.shape[:2])
    height, width = (max(1, round(n * scale)) for n in picture.shape[:2])
    out = np.zeros((PANEL_PIXELS + CAPTION_PIXELS + 6, PANEL_PIXELS + 6, 3), np.uint8)
    top, left = CAPTION_PIXELS + (PANEL_PIXELS - height) // 2, 3 + (PANEL_PIXELS - width) // 2
    out[top : top + height, left : left + width] = resize_picture(picture, height, width, smooth=False)
    image = Image.fromarray(out)
    annotations.draw_text(ImageDraw.Draw(image), (6, CAPTION_PIXELS / 2), caption, "lm", 17)
    return np.asarray(image)
