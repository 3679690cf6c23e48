"""A scanner, and those who share its scans: what they make of a head, on voxels of any size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.methods.segment_anatomy_unet import Luck, blurred


def acquired(image: Tensor, far: Tensor, spacing: float, luck: Luck, coarse: float) -> Tensor:
    """What scanners and those who share scans do: shading, thick slices, blur, noise, black background, no face."""
    size = tuple(image.shape)
    one = luck.uniform
    if luck.chance(0.7):
        image = image * torch.exp(luck.field(size, one(60, 150) / spacing)[0] * one(0, 0.35))
    if luck.chance(0.3):  # far from the coil
        axis = 2 if luck.chance(0.7) else luck.below(3)
        ramp = (torch.arange(size[axis]) - size[axis] / 2) * spacing / 100 * one(-0.9, 0.9)
        image = image * torch.exp(ramp).view([-1 if a == axis else 1 for a in range(3)])
    if luck.chance(0.08):  # the face taken off
        slope, at = one(0.3, 1.2), one(0.55, 0.8)
        y, z = torch.arange(size[1]) / size[1], torch.arange(size[2]) / size[2]
        image = image.masked_fill((y[:, None] - slope * z > at - 0.2)[None] & (far > 4), 0)
    if luck.chance(0.3):
        image = blurred(image)
    if luck.chance(coarse):
        axis, mm = (2 if luck.chance(0.55) else luck.below(3)), one(1.5, 8)
        sizes = [n if a != axis else max(2, round(n * spacing / mm)) for a, n in enumerate(size)]
        flat = [
            max(2, round(n / one(1, 1.6 if luck.chance(0.5) else 1.01))) if a != axis else n
            for a, n in enumerate(sizes)
        ]
        small = F.interpolate(image[None, None], flat, mode="area")
        if luck.chance(0.8):
            small = noisy(small, luck)
        image = F.interpolate(small, size, mode="trilinear", align_corners=False)[0, 0]
    elif luck.chance(0.85):
        image = noisy(image, luck)
    if luck.chance(0.35):  # black around the head
        image = image * grown((blurred(image) > one(0.1, 0.3)).float(), 2 + 2 * luck.below(5))
    return image


def grown(mask: Tensor, voxels: int) -> Tensor:
    """(X, Y, Z) of 0 and 1 with all that lies in boxes of so many voxels either way."""
    x = mask[None, None]
    for axis in range(3):
        side, pad = ([v if a == axis else w for a in range(3)] for v, w in ((2 * voxels + 1, 1), (voxels, 0)))
        x = F.max_pool3d(x, side, 1, pad)
    return x[0, 0]


def noisy(image: Tensor, luck: Luck) -> Tensor:
    """With the noise of a magnitude image, white matter 1."""
    level = luck.uniform(0, 0.12)
    real = image + luck.normal(*image.shape, scale=level)
    return real.abs() if luck.chance(0.5) else (real.square() + luck.normal(*image.shape, scale=level).square()).sqrt()
