"""Augmentation of slices with gliomas."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.imaging.intensity import STANDARD_RANGE

CROP = 144  # pixels a side of a training patch


def augment_slices(image: Tensor, target: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return random views, CROP pixels a side, of a batch (B, 3, SIDE, SIDE) and its masks (B, 1, SIDE, SIDE).

    They are turned by any quarter and mirrored (uploads come in every orientation), rotated, scaled and bent; then
    contrast, coil shading, blur and noise change, and in some cases FLAIR replaces the other channels as the data set
    does.
    """
    batch, device = len(image), image.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape or (batch,), generator=random, device=device) * (high - low) + low

    def chance(p: float) -> Tensor:
        return uniform(0, 1) < p

    angle = (torch.where(chance(0.35), (uniform(0, 4)).floor() * 90, 0) + uniform(-15, 15)) * math.pi / 180
    scale = torch.where(chance(0.7), torch.exp(uniform(-0.28, 0.28)), 1.0) * CROP / image.shape[-1]
    mirror = torch.where(chance(0.5), -1.0, 1.0)
    stretch = torch.exp(uniform(-0.08, 0.08))
    theta = torch.zeros(batch, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * scale * angle.cos() * stretch, -scale * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * scale * angle.sin() * stretch, scale * angle.cos()
    theta[:, :, 2] = uniform(-0.22, 0.22, batch, 2)
    grid = F.affine_grid(theta, [batch, 3, CROP, CROP], align_corners=False)
    bend = (torch.randn(batch, 2, 6, 6, generator=random, device=device) * 0.02) * chance(0.4).float()[
        :, None, None, None
    ]
    grid = grid + F.interpolate(bend, (CROP, CROP), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    air = image.amin((2, 3), keepdim=True)
    image = F.grid_sample(image - air, grid, align_corners=False) + air
    target = (F.grid_sample(target, grid, align_corners=False) > 0.5).float()

    flair = image[:, 1:2]
    only, pre, post = chance(0.4), chance(0.06), chance(0.06)
    image = torch.cat(
        [
            torch.where((only | pre)[:, None, None, None], flair, image[:, :1]),
            flair,
            torch.where((only | post)[:, None, None, None], flair, image[:, 2:]),
        ],
        dim=1,
    )

    same = (only | chance(0.3))[:, None]  # one contrast change for all sequences, or one each

    def per_sequence(low: float, high: float) -> Tensor:
        values = uniform(low, high, batch, 3)
        return torch.where(same, values[:, 1:2], values)[:, :, None, None]

    position = ((image - STANDARD_RANGE[0]) / (STANDARD_RANGE[1] - STANDARD_RANGE[0])).clamp(0, 1)
    image = (
        position ** torch.exp(per_sequence(-0.25, 0.25)) * (STANDARD_RANGE[1] - STANDARD_RANGE[0]) + STANDARD_RANGE[0]
    )
    image = image * torch.exp(per_sequence(-0.22, 0.22)) + per_sequence(-0.25, 0.25)
    shade = F.interpolate(
        torch.randn(batch, 1, 4, 4, generator=random, device=device) * 0.08,
        (CROP, CROP),
        mode="bicubic",
        align_corners=True,
    )
    image = image + shade * (image - STANDARD_RANGE[0]) / -STANDARD_RANGE[0] * chance(0.4).float()[:, None, None, None]
    if torch.rand((), generator=random, device=device) < 0.25:
        factor = float(torch.rand((), generator=random, device=device) * 1.5 + 1)
        small = F.interpolate(image, scale_factor=1 / factor, mode="bilinear", antialias=True)
        image = F.interpolate(small, (CROP, CROP), mode="bilinear")
    level = uniform(0, 0.25) * chance(0.3)
    noise = torch.randn(image.shape, generator=random, device=device)
    noise = torch.where(only[:, None, None, None], noise[:, :1], noise)
    image = image + level[:, None, None, None] * noise
    return image.clamp(*STANDARD_RANGE), target
