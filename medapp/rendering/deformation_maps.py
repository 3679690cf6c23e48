"""A deformation drawn on a slice: deformed grid, displacement, log Jacobian determinant, jumps at boundaries."""

from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import annotations, colour, difference_maps
from medapp.rendering.colour import Window
from medapp.rendering.layers import sample_slice

GridSource = Literal["fixed", "moving"]

GRID_HELP: dict[GridSource, str] = {
    "fixed": "Grid of the fixed image, each point moved to its place in the moving image (fixed → moving)",
    "moving": "Grid of the moving image, warped to the fixed image",
}
GRID_COLOUR = (255, 214, 60)
FOLDING_COLOUR = (60, 255, 90)
MIN_DETERMINANT = 1e-3  # smaller determinants, and foldings, are shown as this
OPACITY_OUTSIDE = 0.3  # opacity of the maps outside the head
MAGNITUDE_COLOUR_MAP = "plasma"


def sample_displacement(deformation: Deformation, onto: Grid) -> np.ndarray:
    """Sample the displacement in RAS+ mm at the pixels of a slice grid (H, W, 1): (H, W, 3), 0 outside the field."""
    parts = [sample_slice(Volume(v, deformation.affine), onto, nearest=False) for v in deformation.vectors]
    return np.stack([values * inside for values, inside in parts], axis=-1)


def compute_log_jacobian(determinant: np.ndarray) -> np.ndarray:
    """Compute the natural logarithm of a Jacobian determinant (I, J, K), clipped at MIN_DETERMINANT."""
    return np.log(np.maximum(determinant, MIN_DETERMINANT), dtype=np.float32)


def draw_grid(
    picture: np.ndarray, onto: Grid, deformation: Deformation, way: GridSource, *, step: float = 8.0, width: float = 1.2
) -> np.ndarray:
    """Draw a grid of `step` mm over a picture (H, W, 3) of the slice grid `onto`; see GRID_HELP.

    "moving": lines where the moved point lies on a plane of the grid, for the warped image; "fixed": the slice's own
    lines with every point moved, seen along the slice's normal, for the moving image.
    """
    field = sample_displacement(deformation, onto)
    if way == "moving":
        return _draw_pulled_grid(picture, onto, field, step, width)
    return _draw_pushed_grid(picture, onto, field, step, width)


def draw_magnitude(
    picture: np.ndarray, onto: Grid, length: Volume, end: float, head: Volume | None = None
) -> np.ndarray:
    """Overlay the displacement, 0 to `end` mm, on a picture (H, W, 3) of the slice grid; fainter outside `head`."""
    values, inside = sample_slice(length, onto, nearest=False)
    share = colour.apply_window(values, Window(0.0, end))
    alpha = 0.8 * inside * np.clip(4 * share, 0, 1) * _compute_opacity(head, onto)
    return np.rint(
        colour.blend(picture.astype(np.float32), colour.apply_colour_map(share, MAGNITUDE_COLOUR_MAP), alpha)
    ).astype(np.uint8)


def draw_jacobian(picture: np.ndarray, onto: Grid, log: Volume, end: float, head: Volume | None = None) -> np.ndarray:
    """Overlay the log Jacobian determinant, -end to end, on a darkened picture (H, W, 3) of the slice grid.

    Orange: larger in the moving image, blue: smaller, green: folding; fainter outside `head`.
    """
    values, inside = sample_slice(log, onto, nearest=True)
    share = np.clip(np.abs(values) / end, 0, 1)
    alpha = inside * (0.2 + 0.75 * np.sqrt(share)) * _compute_opacity(head, onto)
    canvas = colour.blend(picture * np.float32(0.55), np.float32(difference_maps.colour_signed(values, end)), alpha)
    is_folded = inside & (values <= np.log(MIN_DETERMINANT) + 1e-4)
    return np.rint(colour.blend(canvas, np.float32(FOLDING_COLOUR), is_folded.astype(np.float32))).astype(np.uint8)


def draw_jump(picture: np.ndarray, onto: Grid, jumps: Volume, end: float) -> np.ndarray:
    """Overlay the jumps at region boundaries, 0 to `end` mm, on a darkened picture (H, W, 3) of the slice grid."""
    values, inside = sample_slice(jumps, onto, nearest=True)
    is_jump = inside & (values > 0)
    heat = colour.apply_colour_map(0.2 + 0.8 * colour.apply_window(values, Window(0.0, end)), MAGNITUDE_COLOUR_MAP)
    return np.rint(colour.blend(picture * np.float32(0.55), heat, is_jump.astype(np.float32))).astype(np.uint8)


def draw_magnitude_scale(end: float, unit: str, height: int, *, low: float = 0.0) -> np.ndarray:
    """Draw the colour scale of displacement and jumps, uint8 (height, SCALE_WIDTH, 3), `end` at the top."""
    margin = 40
    ramp = np.linspace(1, low, max(height - 2 * margin, 2))[:, None].repeat(18, axis=1)
    canvas = np.zeros((height, difference_maps.SCALE_WIDTH, 3), np.uint8)
    canvas[margin : margin + len(ramp), 8:26] = colour.apply_colour_map(ramp, MAGNITUDE_COLOUR_MAP)
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    pen.rectangle((7, margin - 1, 26, margin + len(ramp)), outline=annotations.TEXT_COLOUR)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = margin + share * (len(ramp) - 1)
        pen.line((26, y, 31, y), fill=annotations.TEXT_COLOUR)
        annotations.draw_text(pen, (34, y), f"{end * (1 - share):.4g}", "lm", 16)
    annotations.draw_text(pen, (8, 10), unit, "lt", 16)
    return np.asarray(image)


def find_sheet_axes(onto: Grid) -> tuple[int, int]:
    """Find the RAS axes nearest to the rows' and the columns' direction of a slice grid."""
    down, across = (int(np.argmax(np.abs(onto.affine[:3, a]))) for a in (0, 1))
    return down, across


def _compute_opacity(head: Volume | None, onto: Grid) -> np.ndarray | float:
    """(H, W): 1 in the head and OPACITY_OUTSIDE elsewhere; 1 without a head."""
    return 1.0 if head is None else OPACITY_OUTSIDE + (1 - OPACITY_OUTSIDE) * sample_slice(head, onto, nearest=False)[0]


def _draw_pulled_grid(picture: np.ndarray, onto: Grid, field: np.ndarray, step: float, width: float) -> np.ndarray:
    """The grid of the moving image, where the moved points lie on its planes."""
    rows, columns = np.indices(onto.shape[:2])
    moved = onto.to_mm(np.stack([rows, columns, np.zeros_like(rows)], axis=-1)) + field
    ink = np.zeros(onto.shape[:2], np.float32)
    for axis in find_sheet_axes(onto):
        at = moved[..., axis] / step
        slope = np.hypot(*np.gradient(at))
        pixels = np.abs(at - np.rint(at)) / np.maximum(slope, 1e-6)
        ink = np.maximum(ink, np.clip(width / 2 + 0.5 - pixels, 0, 1))
    return np.rint(colour.blend(picture.astype(np.float32), np.float32(GRID_COLOUR), 0.85 * ink)).astype(np.uint8)


def _draw_pushed_grid(picture: np.ndarray, onto: Grid, field: np.ndarray, step: float, width: float) -> np.ndarray:
    """The grid of the fixed image, every point of its lines moved."""
    h, w = onto.shape[:2]
    shift = field @ np.linalg.inv(onto.affine[:3, :3]).T  # in pixels down and across
    fine = 2  # times larger, so that lines are smooth
    ink = Image.new("L", (fine * w, fine * h))
    pen = ImageDraw.Draw(ink)
    for along, axis in ((0, find_sheet_axes(onto)[0]), (1, find_sheet_axes(onto)[1])):
        start, slope = onto.affine[axis, 3], onto.affine[axis, along]
        ends = sorted((start / step, (start + slope * (onto.shape[along] - 1)) / step))
        for line in np.arange(np.ceil(ends[0]), ends[1] + 1e-9):
            fixed = (line * step - start) / slope
            near = int(np.clip(round(fixed), 0, onto.shape[along] - 1))
            moved = shift[near] if along == 0 else shift[:, near]
            run = np.arange(len(moved))
            down, across = (fixed, run) if along == 0 else (run, fixed)
            points = np.stack([across + moved[:, 1] + 0.5, down + moved[:, 0] + 0.5], axis=-1)[::2] * fine
            pen.line([tuple(p) for p in points], fill=255, width=round(fine * width))
    alpha = 0.85 / 255 * np.asarray(ink.resize((w, h), Image.Resampling.BOX), np.float32)
    return np.rint(colour.blend(picture.astype(np.float32), np.float32(GRID_COLOUR), alpha)).astype(np.uint8)
