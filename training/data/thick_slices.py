"""Thick slices of two-dimensional acquisitions: profile, gap and noise.

What a slice shows of a lesion is its share of the slice; whoever draws the lesion in that slice draws it where it
shows, which is from about a third on. So the truth goes through the slices too.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from training.core.random_source import RandomSource

SHOWN_FROM, SHOWN_ALL = 0.25, 0.55  # share of a slice from which a lesion begins to show, and is drawn for certain
EDGE = 0.3  # of a slice's thickness: the slope of its profile


class SliceStack(NamedTuple):
    """Slices across one axis of N voxels, at `centres` (S,), in voxels.

    `profile` (S, N), rows sum to 1, makes them; `back` (N, S) gives every voxel the slice that is nearest, as served.
    """

    centres: Tensor
    profile: Tensor
    back: Tensor
    axis: int

    def acquire(self, image: Tensor) -> Tensor:
        """Return the slices of (X, Y, Z), S of them along the axis."""
        return torch.tensordot(image, self.profile, ([self.axis], [1])).movedim(-1, self.axis)

    def spread(self, slices: Tensor) -> Tensor:
        """Return slices at the voxels again, (X, Y, Z)."""
        return torch.tensordot(slices, self.back, ([self.axis], [1])).movedim(-1, self.axis)


def make_slices(size: int, spacing: float, thickness: float, first: float, axis: int = 2) -> SliceStack:
    """Return slices every `spacing` voxels from the centre `first` on, each of `thickness` at half its height."""
    at = torch.arange(size, dtype=torch.float32)
    centres = torch.arange(first, size - 0.5, spacing)
    profile = torch.sigmoid((thickness / 2 - (at - centres[:, None]).abs()) / (EDGE * thickness / 4))
    profile = profile / profile.sum(1, keepdim=True)
    nearest = ((at - first) / spacing).round().long().clamp(0, len(centres) - 1)
    back = torch.nn.functional.one_hot(nearest, len(centres)).float()
    return SliceStack(centres, profile, back, axis)


def draw_slices(size: int, spacing: float, rng: RandomSource, axis: int = 2) -> SliceStack:
    """Draw slices every `spacing` voxels, with a gap of up to a quarter or without, the first one anywhere."""
    thickness = spacing * (rng.uniform(0.75, 1) if rng.bernoulli(0.7) else 1)
    return make_slices(size, spacing, thickness, rng.uniform(0, min(spacing, size - 1)), axis)


def show_lesions(share: Tensor) -> Tensor:
    """Return what is drawn (0 to 1) of lesions that fill a `share` of each voxel of a slice."""
    return ((share - SHOWN_FROM) / (SHOWN_ALL - SHOWN_FROM)).clamp(0, 1)


def add_rician_noise(image: Tensor, level: float, rng: RandomSource) -> Tensor:
    """Return the magnitude of an image with noise of standard deviation `level` in both channels of the receiver."""
    real, imaginary = (rng.normal(*image.shape, scale=level) for _ in range(2))
    return ((image + real).square() + imaginary.square()).sqrt()


def scan_slices(image: Tensor, stack: SliceStack, noise: float, rng: RandomSource) -> Tensor:
    """Return the slices of an image (X, Y, Z), at least 0, white matter near 1, as a scanner gives them."""
    slices = stack.acquire(image)
    if rng.bernoulli(0.5):  # no two excited alike
        level = torch.exp(rng.normal(len(stack.centres), scale=0.02))
        slices = slices * level.view([-1 if axis == stack.axis else 1 for axis in range(3)])
    return add_rician_noise(slices, noise, rng)


def draw_noise(rng: RandomSource) -> float:
    """Return the noise of a clinical scan beside white matter of 1: a signal to noise of 12 to 100."""
    return math.exp(rng.uniform(math.log(0.01), math.log(0.08)))
