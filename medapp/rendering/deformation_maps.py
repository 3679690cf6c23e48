"""A deformation drawn on a slice: deformed grid, log Jacobian determinant."""

import numpy as np

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import colour, difference_maps
from medapp.rendering.layers import sample_slice

GRID_HELP = "Grid of the moving image, warped to the fixed image"
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
    picture: np.ndarray, onto: Grid, deformation: Deformation, *, step: float = 8.0, width: float = 1.2
) -> np.ndarray:
    """Draw the moving image's grid of `step` mm over a warped picture (H, W, 3) of the slice grid `onto`.

    Lines are where the moved point lies on a plane of the grid.
    """
    field = sample_displacement(deformation, onto)
    rows, columns = np.indices(onto.shape[:2])
    moved = onto.to_mm(np.stack([rows, columns, np.zeros_like(rows)], axis=-1)) + field
    ink = np.zeros(onto.shape[:2], np.float32)
    for axis in find_sheet_axes(onto):
        at = moved[..., axis] / step
        slope = np.hypot(*np.gradient(at))
        pixels = np.abs(at - np.rint(at)) / np.maximum(slope, 1e-6)
        ink = np.maximum(ink, np.clip(width / 2 + 0.5 - pixels, 0, 1))
    return np.rint(colour.blend(picture.astype(np.float32), np.float32(GRID_COLOUR), 0.85 * ink)).astype(np.uint8)


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


def find_sheet_axes(onto: Grid) -> tuple[int, int]:
    """Find the RAS axes nearest to the rows' and the columns' direction of a slice grid."""
    down, across = (int(np.argmax(np.abs(onto.affine[:3, a]))) for a in (0, 1))
    return down, across


def _compute_opacity(head: Volume | None, onto: Grid) -> np.ndarray | float:
    """(H, W): 1 in the head and OPACITY_OUTSIDE elsewhere; 1 without a head."""
    return 1.0 if head is None else OPACITY_OUTSIDE + (1 - OPACITY_OUTSIDE) * sample_slice(head, onto, nearest=False)[0]
