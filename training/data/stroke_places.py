"""Where small strokes lie: cortical ribbons, deep parts of larger shapes, and lacunes; (X, Y, Z) bool each."""

import numpy as np
from scipy import ndimage
from torch import Tensor

from training.core.random_source import RandomSource
from training.data.brain_tissues import TISSUE_GROUP
from training.data.stroke_lesions import CORTEX, WHITE, Box

DEEP_GROUPS = (7, 8, 9, 10, 13)  # of tissue: thalamus, caudate, putamen, pallidum, brain stem
LACUNE_MARGIN = 6  # voxels round a lacune that may change


def keep_ribbon(mask: np.ndarray, tissue: Tensor, mm: float) -> np.ndarray:
    """Return what of a shape lies in the cortex or within `mm` below it."""
    cortex = TISSUE_GROUP[tissue.long()].numpy() == CORTEX
    return mask & (ndimage.distance_transform_edt(~cortex) <= mm)


def keep_deep(mask: np.ndarray, tissue: Tensor, mm: float) -> np.ndarray:
    """Return the largest piece of what of a shape lies further than `mm` from the cortex."""
    group = TISSUE_GROUP[tissue.long()].numpy()
    deep = mask & (ndimage.distance_transform_edt(group != CORTEX) > mm) & (group != 0)
    pieces, count = ndimage.label(deep)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax() if count else deep


def draw_lacune(tissue: Tensor, radii: tuple[float, float], rng: RandomSource) -> tuple[Box, np.ndarray] | None:
    """Draw a box and a ragged ellipsoid in it, in deep grey matter, brain stem or white matter away from the cortex."""
    group = TISSUE_GROUP[tissue[::2, ::2, ::2].long()].numpy()
    wanted = np.isin(group, DEEP_GROUPS) if rng.bernoulli(0.6) else group == WHITE
    wanted &= ~ndimage.binary_dilation(group == CORTEX, iterations=3)
    places = np.argwhere(wanted) * 2
    if not len(places):
        return None
    centre, half = places[rng.randint(len(places))], np.array([rng.uniform(*radii) for _ in range(3)])
    half[rng.randint(3)] *= rng.uniform(1, 1.6)
    reach = int(half.max()) + LACUNE_MARGIN
    low, high = np.maximum(centre - reach, 0), np.minimum(centre + reach + 1, tissue.shape)
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    size = tuple((high - low).tolist())
    turn = np.linalg.qr(rng.normal(3, 3).numpy())[0]
    away = np.tensordot(turn, np.indices(size) + (low - centre)[:, None, None, None], 1) / half[:, None, None, None]
    ragged = 0.15 * rng.smooth_field(size, 5)[0].numpy()
    return (x, y, z), np.linalg.norm(away, axis=0) + ragged < 1
