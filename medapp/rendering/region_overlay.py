"""A region map over a picture: borders, pale colours, and the regions that are picked."""

from collections.abc import Collection

import numpy as np

from medapp.imaging.geometry import to_display_slices
from medapp.imaging.volume import Volume
from medapp.rendering import colour
from medapp.rendering.slices import resize_picture

BORDER_COLOURS = ((255, 225, 60), (10, 20, 90))  # on dark and on bright pictures
PICKED_COLOUR = colour.LABEL_COLOURS[0]


def draw_borders(
    picture: np.ndarray, labels: np.ndarray, *, picked: Collection[int] = (), tint: float = 0.12
) -> np.ndarray:
    """Draw the borders of labels (H, W) over a picture (h, w, 3) uint8 of one field; `tint`: opacity of the fill."""
    h, w = picture.shape[:2]
    rows, columns = np.arange(h) * labels.shape[0] // h, np.arange(w) * labels.shape[1] // w
    large = labels[rows][:, columns]
    canvas = colour.blend(picture.astype(np.float32), colour.colour_labels(large), np.full((h, w), np.float32(tint)))
    if picked:
        canvas = colour.blend(canvas, np.float32(PICKED_COLOUR), 0.45 * np.isin(large, list(picked)))
    canvas = colour.blend(canvas, np.float32(BORDER_COLOURS[int(picture.mean() > 110)]), 0.85 * find_borders(large))
    return np.rint(canvas).astype(np.uint8)


def find_borders(labels: np.ndarray) -> np.ndarray:
    """Find where the label changes to the right or below, (H, W) bool."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] = labels[:, 1:] != labels[:, :-1]
    edge[:-1] |= labels[1:] != labels[:-1]
    return edge


def make_border_mask(regions: Volume) -> Volume:
    """Make a mask of the borders within slices, on the same grid, for a viewer that cannot draw hundreds of labels."""
    out = np.zeros(regions.shape, np.uint8)
    for border_slice, labels in zip(
        to_display_slices(out, regions.grid), to_display_slices(regions.array, regions.grid), strict=True
    ):
        border_slice[...] = find_borders(labels)
    return regions.new_like(out, labels={1: "Region borders"}, name="Region borders", headers=())


def enlarge_with_borders(labels: np.ndarray, picture: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge a small picture (H, W, 3), pixels as squares, with the borders of its labels (H, W) one pixel wide."""
    large = resize_picture(picture, picture.shape[0] * factor, picture.shape[1] * factor, smooth=False)
    return draw_borders(large, labels, tint=0.0)
