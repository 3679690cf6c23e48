"""Signed difference maps on a symmetric scale, black at zero, that the colour-blind can read."""

from functools import cache

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from PIL import Image, ImageDraw

from medapp.rendering import annotations

# Black at zero, equally bright on both sides: Okabe and Ito's vermilion and blue, which the colour-blind distinguish.
POSITIVE_COLOURS = ((0, 0, 0), (213, 94, 0), (255, 214, 170))
NEGATIVE_COLOURS = ((0, 0, 0), (0, 114, 188), (170, 226, 255))
SIGNED_COLOURS = (NEGATIVE_COLOURS, POSITIVE_COLOURS)
COLOUR_SHARES = (0, 0.6, 1)  # of the scale, where these colours lie
SIGNED_MAP = "medapp_blue_orange"  # the same colours as a map of matplotlib's
SCALE_WIDTH = 96  # pixels, with the numbers


def find_scale_end(error: np.ndarray, share: float = 99.5) -> float:
    """Find the end of the scale: a round number above `share` per cent of the absolute values; 1 if all are zero."""
    sample = np.abs(np.asarray(error, np.float32)).ravel()
    top = float(np.percentile(sample[:: max(1, sample.size // 400_000)], share)) if sample.size else 0.0
    if not top > 0:
        return 1.0
    unit = 10.0 ** np.floor(np.log10(top))
    return float(unit * min(step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * unit >= top * 0.999))


def colour_signed(error: np.ndarray, end: float) -> np.ndarray:
    """Colour a signed map (H, W), clipped to -end to end, uint8 (H, W, 3): orange above zero, blue below."""
    at = np.rint(np.clip(np.nan_to_num(error) / max(end, 1e-30), -1, 1) * 127).astype(int) + 127
    return _make_colour_table()[at]


@cache
def _make_colour_table() -> np.ndarray:
    """(255, 3) uint8: from negative over zero, at 127, to positive."""
    share = np.linspace(0, 1, 128)
    low, high = (
        np.stack([np.interp(share, COLOUR_SHARES, c) for c in zip(*ends, strict=True)], -1) for ends in SIGNED_COLOURS
    )
    return np.rint(np.concatenate([low[:0:-1], high])).astype(np.uint8)


matplotlib.colormaps.register(ListedColormap(_make_colour_table() / 255, SIGNED_MAP), force=True)


def draw_signed_scale(end: float, unit: str, height: int) -> np.ndarray:
    """Draw the colour scale with its unit, uint8 (height, SCALE_WIDTH, 3), positive at the top."""
    margin = 40
    ramp = np.linspace(end, -end, max(height - 2 * margin, 2))[:, None].repeat(18, axis=1)
    canvas = np.zeros((height, SCALE_WIDTH, 3), np.uint8)
    canvas[margin : margin + len(ramp), 8:26] = colour_signed(ramp, end)
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    pen.rectangle((7, margin - 1, 26, margin + len(ramp)), outline=annotations.TEXT_COLOUR)
    for share, value in ((0.0, end), (0.25, end / 2), (0.5, 0.0), (0.75, -end / 2), (1.0, -end)):
        y = margin + share * (len(ramp) - 1)
        pen.line((26, y, 31, y), fill=annotations.TEXT_COLOUR)
        annotations.draw_text(pen, (34, y), f"{value:+.5g}" if value else "0", "lm", 16)
    annotations.draw_text(pen, (8, 10), unit, "lt", 16)
    return np.asarray(image)


def join_pictures(pictures: list[np.ndarray], gap: int = 8) -> np.ndarray:
    """Join pictures (H, W, 3) side by side on black, `gap` pixels apart."""
    height = max(len(p) for p in pictures)
    padded = [np.pad(p, ((0, height - len(p)), (0, gap), (0, 0))) for p in pictures]
    return np.concatenate(padded, axis=1)[:, :-gap]
