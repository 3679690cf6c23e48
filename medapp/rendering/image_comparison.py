"""Two pictures of the same slice in one: checkerboard, colour overlay, difference maps."""

import numpy as np

FIRST_TINT, SECOND_TINT = (1.0, 0.5, 0.0), (0.0, 0.5, 1.0)  # orange and blue, which add up to grey


def draw_colour_overlay(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Draw the first picture in orange over the second in blue, uint8 (H, W, 3): grey where both are equally bright."""
    parts = [
        p.astype(np.float32).mean(axis=2, keepdims=True) * np.float32(c)
        for p, c in ((first, FIRST_TINT), (second, SECOND_TINT))
    ]
    return np.rint(np.clip(parts[0] + parts[1], 0, 255)).astype(np.uint8)
