"""Looks of old infarcts beyond the hollow ones of `stroke_lesions`: grey rims, grey lesions, partial cavities.

A look says how dark a lesion is at every depth: 0 is the brightness of white matter, 1 that of fluid, and grey matter
lies near 0.45. The scar round a cavity is about as bright as grey matter, and may be all that there is.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from training.core.random_source import RandomSource
from training.data.brain_tissues import TISSUE_GROUP
from training.data.stroke_lesions import keep_tissue

WHITE_GROUPS = (1, 5)  # of tissue: cerebral and cerebellar white matter
DARKER_GREY = 0.2  # by how much what is grey by nature is darker in a lesion, at least


class Look(NamedTuple):
    """How dark a lesion is.

    `rim` mm of scar as dark as `grey`, which falls to `edge` of that at the border within `fade` mm; inside it a cavity
    as dark as `hollow`, on `cavity` of the lesion's thickness (0: none), `off` mm out of its middle, its border `soft`
    mm wide; `patchy` is how much of it scar strands take.
    """

    rim: float
    grey: float
    edge: float = 1.0
    fade: float = 1.0
    hollow: float = 0.95
    cavity: float = 1.0
    off: float = 0.0
    soft: float = 1.0
    patchy: float = 0.0


def draw_look(rng: RandomSource) -> Look:
    """Draw a look to learn from."""
    kind, one = rng.uniform(0, 1), rng.uniform
    look = Look(
        one(0.4, 2), one(0.3, 0.75), one(0.5, 1), one(0.5, 3), one(0.8, 1), soft=one(0.5, 2.5), patchy=one(0, 0.6)
    )
    if kind < 0.3:  # a wide grey rim
        return look._replace(rim=one(1.5, 6), grey=one(0.25, 0.65))
    if kind < 0.6:  # wholly grey
        return look._replace(grey=one(0.27, 0.7), cavity=0.0)
    if kind < 0.8:  # a cavity in a part of it
        return look._replace(
            rim=one(0.5, 3), grey=one(0.27, 0.65), cavity=one(0.2, 0.8), off=one(0, 8), patchy=one(0, 1)
        )
    return look


def shade_lesion(mask: np.ndarray, look: Look, rng: RandomSource) -> np.ndarray:
    """Return how dark a lesion (X, Y, Z) bool is everywhere in its box, 0 to 1."""
    size = tuple(mask.shape)
    fields = {spacing: rng.smooth_field(size, spacing)[0].numpy() for spacing in (3, 6, 11)}
    depth = ndimage.distance_transform_edt(mask)
    grey = look.grey * (look.edge + (1 - look.edge) * np.clip(depth / look.fade, 0, 1))
    grey = np.clip(grey * (1 + 0.15 * fields[6] + 0.05 * fields[3]), 0.2, 0.9)
    if not look.cavity:
        return grey
    way = rng.normal(3).numpy()
    ramp = np.tensordot(way / np.linalg.norm(way), np.indices(size) - np.argwhere(mask).mean(0)[:, None, None, None], 1)
    thick = depth.max()
    rim = min(look.rim, 0.7 * thick) * np.exp(0.35 * fields[11]) + (1 - look.cavity) * 0.8 * thick
    inner = depth - rim - look.off * np.clip(ramp / (2 * thick), -0.4, 1) - look.patchy * np.clip(fields[6], 0, 2) * 2
    return grey + (np.maximum(look.hollow, grey) - grey) * np.clip(inner / look.soft + 0.4, 0, 1)


def paint_look(
    image: Tensor, tissue: Tensor, shape_mask: np.ndarray, look: Look, rng: RandomSource, levels: tuple[float, float]
) -> np.ndarray:
    """Paint a lesion into a box of an image (X, Y, Z), in place; return its mask bool, empty if there is no tissue.

    `levels` are those of `stroke_lesions.reference_levels`. Nothing becomes brighter than it was.
    """
    mask = keep_tissue(shape_mask, tissue)
    if not mask.any():
        return mask
    fluid, white = levels
    contrast, original = white - fluid, image.numpy()
    dark = shade_lesion(mask, look, rng)
    level = white - contrast * dark * (1 - rng.uniform(-0.03, 0.1))
    smooth = ndimage.gaussian_filter(original, 1.0)
    texture = np.clip(original - smooth, -0.1, 0.1) * rng.uniform(0.2, 0.6)
    texture += contrast * 0.025 * rng.smooth_field(tuple(mask.shape), 2)[0].numpy()
    group = TISSUE_GROUP[tissue.long()].numpy()
    below = np.minimum(original, smooth) - np.where(np.isin(group, WHITE_GROUPS), 0.04, DARKER_GREY) * contrast
    inside = np.minimum(level, below + 0.02) + texture
    share = ndimage.gaussian_filter(mask.astype(np.float32), rng.uniform(0.4, 0.8)) ** rng.uniform(0.8, 1.2)
    around = ndimage.gaussian_filter(mask.astype(np.float32), 3) * rng.uniform(0, 0.15) * (group == 1)
    changed = original * (1 - share) + inside * share - around * (1 - share) * contrast * look.grey
    image.copy_(torch.from_numpy(np.where(group == 0, original, np.maximum(changed, 0)).astype(np.float32)))
    return mask
