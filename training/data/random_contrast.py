"""Random contrasts of a brain: its own varied, another one, or one like FLAIR."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.core.random_source import RandomSource
from training.data.brain_tissues import FLUID_TISSUES, RIM, TISSUE_CLASS, TISSUE_GROUP


def randomize_contrast(image: Tensor, tissue: Tensor, rng: RandomSource) -> Tensor:
    """Return a random contrast: every tissue gets a mean of its own, and part of the scan's texture."""
    groups = TISSUE_GROUP[tissue.long()]
    flat = groups.flatten()
    count = torch.bincount(flat, minlength=len(TISSUE_CLASS)).clamp(min=1)
    mean = torch.bincount(flat, image.flatten(), minlength=len(TISSUE_CLASS)) / count
    if rng.bernoulli(0.5):  # anything
        made = torch.rand(len(TISSUE_CLASS), generator=rng.generator)
    else:  # like T1, or turned round like T2
        slope = rng.uniform(0.6, 1.3) * (1 if rng.bernoulli(0.6) else -1)
        made = 0.5 + slope * (mean - 0.5) + rng.normal(len(TISSUE_CLASS), scale=0.08)
    made[FLUID_TISSUES] = made[3] + rng.normal(len(FLUID_TISSUES), scale=0.05)
    made[0], mean[0] = 0, 0
    if rng.bernoulli(0.5):
        made[RIM] = 0
    texture = rng.uniform(-1, 1)
    grain = rng.normal(len(TISSUE_CLASS), scale=0.03).abs()[groups] * rng.normal(*image.shape)
    picture = made[groups] + texture * (image - mean[groups]) * (made[groups] > 0) + grain * (groups > 0)
    return picture.clamp(min=0)


def vary_contrast(image: Tensor, tissue: Tensor, rng: RandomSource) -> Tensor:
    """Vary the scan's own contrast; the rim that skull stripping left may be removed."""
    image = image ** math.exp(rng.gauss(0.25))
    if rng.bernoulli(0.3):
        image = image * (tissue != RIM)
    return image


def box_blur(x: Tensor, times: int = 1) -> Tensor:
    """Return (X, Y, Z) with every voxel the mean of the 27 around it, `times` over."""
    x = x[None, None]
    for _ in range(times):
        for axis in range(3):
            kernel, padding = [1, 1, 1], [0, 0, 0]
            kernel[axis], padding[axis] = 3, 1
            x = F.avg_pool3d(x, kernel, 1, padding, count_include_pad=False)
    return x[0, 0]


def map_contrast(t1: Tensor, tissue: Tensor, knots: Sequence[float], rng: RandomSource, offset: float = 0.02) -> Tensor:
    """Return a brain without lesions in another contrast, from its T1 in units of white matter, (X, Y, Z).

    `knots` are the new brightness where T1 is that of fluid, grey matter, white matter and above.
    """
    curve = np.interp(t1.numpy(), (0.05, 0.3, 0.68, 1.0, 1.25), (0, *knots))
    each = rng.normal(len(TISSUE_CLASS), scale=offset)
    each[0] = 0
    return torch.from_numpy(curve).float() + each[TISSUE_GROUP[tissue.long()]] * (t1 > 0.35)


def synthesize_flair(image: Tensor, tissue: Tensor, rng: RandomSource) -> Tensor:
    """Return an image like FLAIR: fluid dark, grey matter hardly brighter than white, often with bright lesions in
    white matter.
    """
    groups = TISSUE_GROUP[tissue.long()]
    white = (groups == 1) | (groups == 5)  # cerebral, cerebellar
    if not white.any():
        return image
    fluid, grey, bright = rng.uniform(0, 0.4), rng.uniform(0.95, 1.4), rng.uniform(0.85, 1)
    picture = map_contrast(
        image / image[white].median(), tissue, (fluid, grey, 1, bright), rng, rng.uniform(0.01, 0.08)
    )
    water = torch.isin(groups, FLUID_TISSUES[FLUID_TISSUES != RIM])
    picture = torch.where(water, picture.clamp(max=1) * rng.uniform(0.3, 1), picture)
    if rng.bernoulli(0.7):
        near = F.interpolate(F.avg_pool3d(water[None, None].float(), 8), tuple(image.shape), mode="trilinear")[0, 0]
        place = rng.smooth_field(tuple(image.shape), rng.uniform(6, 14))[0] + rng.uniform(0, 5) * near
        share = box_blur(((place - rng.uniform(1.2, 3.5)) * 3).clamp(0, 1) * white)
        picture = picture + share * (rng.uniform(1.2, 2.5) - picture)
    if rng.bernoulli(0.3):
        picture = picture * (tissue != RIM)
    return picture.clamp(min=0)
