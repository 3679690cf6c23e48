"""Two pictures of the same slice in one: checkerboard, colour overlay, difference maps."""

import numpy as np

from medapp.rendering import annotations, difference_maps

FIRST_TINT, SECOND_TINT = (1.0, 0.5, 0.0), (0.0, 0.5, 1.0)  # orange and blue, which add up to grey


def draw_checkerboard(first: np.ndarray, second: np.ndarray, side: int = 48) -> np.ndarray:
    """Draw a checkerboard, uint8 (H, W, 3), of squares of `side` pixels; the first picture's is at the top left."""
    rows, columns = np.indices(first.shape[:2]) // side
    return np.where(((rows + columns) % 2 == 0)[..., None], first, second)


def draw_colour_overlay(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Draw the first picture in orange over the second in blue, uint8 (H, W, 3): grey where both are equally bright."""
    parts = [
        p.astype(np.float32).mean(axis=2, keepdims=True) * np.float32(c)
        for p, c in ((first, FIRST_TINT), (second, SECOND_TINT))
    ]
    return np.rint(np.clip(parts[0] + parts[1], 0, 255)).astype(np.uint8)


def draw_differences(fixed: np.ndarray, others: dict[str, np.ndarray], end: float = 60.0) -> np.ndarray:
    """Draw the differences of grey pictures (H, W, 3) from the fixed one side by side: uint8 (H, W', 3).

    Values are the other picture minus the fixed one, as a percentage of the window up to `end`, with the scale.
    """
    base = fixed.astype(np.float32).mean(axis=2)
    maps = [
        annotations.add_caption(
            difference_maps.colour_signed((p.astype(np.float32).mean(axis=2) - base) / 2.55, end), name, 16, "lt"
        )
        for name, p in others.items()
    ]
    return difference_maps.join_pictures([*maps, difference_maps.draw_signed_scale(end, "%", len(fixed))])
