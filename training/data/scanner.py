"""Simulated scanners: shading, thick slices, blur, noise and intensity scale."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.imaging.geometry import resample, slice_axis, with_spacing
from medapp.imaging.intensity import STANDARD_RANGE
from medapp.imaging.volume import Volume
from training.core.random_source import RandomSource
from training.data.random_contrast import box_blur


def simulate_acquisition(image: Tensor, far: Tensor, spacing: float, rng: RandomSource, coarse: float) -> Tensor:
    """Simulate a scan as it is acquired and shared: shading, thick slices, blur, noise, black background, defacing."""
    size = tuple(image.shape)
    one = rng.uniform
    if rng.bernoulli(0.7):
        image = image * torch.exp(rng.smooth_field(size, one(60, 150) / spacing)[0] * one(0, 0.35))
    if rng.bernoulli(0.3):  # far from the coil
        axis = 2 if rng.bernoulli(0.7) else rng.randint(3)
        ramp = (torch.arange(size[axis]) - size[axis] / 2) * spacing / 100 * one(-0.9, 0.9)
        image = image * torch.exp(ramp).view([-1 if a == axis else 1 for a in range(3)])
    if rng.bernoulli(0.08):  # the face taken off
        slope, at = one(0.3, 1.2), one(0.55, 0.8)
        y, z = torch.arange(size[1]) / size[1], torch.arange(size[2]) / size[2]
        image = image.masked_fill((y[:, None] - slope * z > at - 0.2)[None] & (far > 4), 0)
    if rng.bernoulli(0.3):
        image = box_blur(image)
    if rng.bernoulli(coarse):
        axis, mm = (2 if rng.bernoulli(0.55) else rng.randint(3)), one(1.5, 8)
        sizes = [n if a != axis else max(2, round(n * spacing / mm)) for a, n in enumerate(size)]
        flat = [
            max(2, round(n / one(1, 1.6 if rng.bernoulli(0.5) else 1.01))) if a != axis else n
            for a, n in enumerate(sizes)
        ]
        small = F.interpolate(image[None, None], flat, mode="area")
        if rng.bernoulli(0.8):
            small = add_magnitude_noise(small, rng)
        image = F.interpolate(small, size, mode="trilinear", align_corners=False)[0, 0]
    elif rng.bernoulli(0.85):
        image = add_magnitude_noise(image, rng)
    if rng.bernoulli(0.35):  # black around the head
        image = image * dilate((box_blur(image) > one(0.1, 0.3)).float(), 2 + 2 * rng.randint(5))
    return image


def dilate(mask: Tensor, voxels: int) -> Tensor:
    """Dilate (X, Y, Z) of 0 and 1 by a box of so many voxels either way."""
    x = mask[None, None]
    for axis in range(3):
        side, pad = ([v if a == axis else w for a in range(3)] for v, w in ((2 * voxels + 1, 1), (voxels, 0)))
        x = F.max_pool3d(x, side, 1, pad)
    return x[0, 0]


def add_magnitude_noise(image: Tensor, rng: RandomSource) -> Tensor:
    """Add the noise of a magnitude image, where white matter is 1."""
    level = rng.uniform(0, 0.12)
    real = image + rng.normal(*image.shape, scale=level)
    return real.abs() if rng.bernoulli(0.5) else (real.square() + rng.normal(*image.shape, scale=level).square()).sqrt()


def simulate_thick_slices(image: Tensor, thickness: float, axis: int) -> Tensor:
    """Return (X, Y, Z) as it looks after acquisition in slices of `thickness` voxels along `axis`."""
    sizes = list(image.shape)
    sizes[axis] = max(2, round(sizes[axis] / thickness))
    small = F.interpolate(image[None, None], sizes, mode="area")
    return F.interpolate(small, tuple(image.shape), mode="trilinear", align_corners=False)[0, 0]


def simulate_scan(
    image: Tensor, rng: RandomSource, glare: float = math.inf, noise: float = 0.08, shade: float = 0.25
) -> Tensor:
    """Simulate a scanner (coil shading, thick slices or blur, noise, unknown scale) and standardise intensities.

    Intensities above `glare` times the median of the head are clipped first.
    """
    size = tuple(image.shape)
    if rng.bernoulli(0.8):
        image = image * torch.exp(rng.smooth_field(size, 64)[0] * rng.uniform(0, shade))
    if rng.bernoulli(0.35):
        coarse = [float(n) for n in size]
        if rng.bernoulli(0.6):
            axis = rng.randint(3)
            coarse[axis] /= rng.uniform(1.2, 4)
        else:
            factor = rng.uniform(1.1, 2)
            coarse = [n / factor for n in coarse]
        small = F.interpolate(image[None, None], [round(n) for n in coarse], mode="area")
        image = F.interpolate(small, size, mode="trilinear", align_corners=False)[0, 0]
    if rng.bernoulli(0.7):
        level = rng.uniform(0, noise)
        image = image + rng.normal(*size, scale=level)
        if rng.bernoulli(0.5):
            image = image.abs()
    few = image.flatten()[::37]
    head = few[few > torch.minimum(few, few.quantile(0.999)).mean()]
    if len(head) < 100:
        return image
    most = glare * float(head.median())
    image, head = image.clamp(max=most), head.clamp(max=most)
    low, middle, high = head.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    image = (image - middle) / max(high - low, 0.02)
    return (image * math.exp(rng.gauss(0.12)) + rng.gauss(0.15)).clamp(*STANDARD_RANGE)


def resample_thick(volume: Volume, mm: float = 5.0) -> Volume:
    """Resample to slices of `mm` millimetres, along the axis of the thickest slices."""
    across = np.arange(3) == slice_axis(volume.grid)
    return resample(volume, with_spacing(volume.grid, np.where(across, mm, volume.spacing)))
