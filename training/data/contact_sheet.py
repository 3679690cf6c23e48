"""Contact sheets: training data in rows of tiles, to be looked at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

BORDER_COLOUR = (255, 60, 60)


def colour_border(grey: np.ndarray, border: np.ndarray | None = None) -> np.ndarray:
    """Return a tile (H, W) uint8 in colour, (H, W, 3), with the pixels of `border` (H, W) bool in red."""
    tile = np.repeat(grey[..., None], 3, -1)
    if border is not None:
        tile[border] = BORDER_COLOUR
    return tile


def join_tiles(rows: Sequence[Sequence[np.ndarray]], side: int) -> Image.Image:
    """Return a picture of rows of tiles (H, W, 3), each cut or filled up to `side` pixels a side."""

    def square(tile: np.ndarray) -> np.ndarray:
        tile = tile[:side, :side]
        return np.pad(tile, [(0, side - tile.shape[0]), (0, side - tile.shape[1]), (0, 0)])

    return Image.fromarray(np.concatenate([np.concatenate([square(tile) for tile in row], 1) for row in rows], 0))
