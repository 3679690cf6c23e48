"""A region map over a picture: borders, pale colours, and the regions that are picked."""

from collections.abc import Collection

import numpy as np

from medapp.rendering import colour

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
