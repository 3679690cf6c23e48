"""Training patches of brain extraction: whole heads for the coarse part, pieces of the border for the fine one."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.brain_extraction import (
    COARSE_SPACING,
    FINE_SPACING,
    NETWORK_STRIDES,
    find_foreground_box,
    normalize_to_brain,
)
from medapp.imaging.intensity import BLACK_TO_TISSUE, clip_bright, standardize
from medapp.networks.coarse_to_fine import make_fine_input
from training.core.random_source import RandomSource
from training.data.brain_heads import FAR_MM, STEP_MM, Head
from training.data.brain_scans import FieldOfView, draw_field_of_view, simulate_head

HEAD_SPACING = 2.0  # mm, on which scans of whole heads are made before they are drawn on COARSE
PATCH = (80, 96, 80)  # voxels of FINE


class TrainingPatch(NamedTuple):
    """What a part of brain extraction learns from.

    `x` (C, X, Y, Z) is as when served, `far` (X, Y, Z) the signed distance from the brain in mm, negative inside,
    `known` (X, Y, Z) bool tells where that is so.
    """

    x: Tensor
    far: Tensor
    known: Tensor


def draw_coarse_patch(head: Head, rng: RandomSource, **options) -> TrainingPatch:
    """Draw a whole head on COARSE voxels."""
    view = draw_field_of_view(head, HEAD_SPACING, rng, options.get("cut", 0.3), options.get("neck", 0.6))
    image, far = simulate_head(head, view, rng, options.get("way", ""), options.get("coarse", 0.5))
    size = [max(8, round(n * HEAD_SPACING / COARSE_SPACING)) for n in image.shape]
    small, far = (
        F.interpolate(x[None, None], size, mode="trilinear", antialias=False)[0, 0]
        for x in (smooth_before_coarse(image), far)
    )
    box = find_foreground_box(small.numpy())
    small, far = small[box], far[box]
    x = torch.from_numpy(standardize(clip_bright(small.numpy())))
    more = [(-n) % NETWORK_STRIDES["coarse"] for n in x.shape]
    pads = [n for m in reversed(more) for n in (m // 2, m - m // 2)]
    known = F.pad(torch.ones(x.shape, dtype=torch.bool), pads)
    return TrainingPatch(F.pad(x, pads, value=float(x.min()))[None], F.pad(far, pads, value=FAR_MM), known)


def smooth_before_coarse(image: Tensor) -> Tensor:
    """Smooth as `resample` does before it resamples to COARSE voxels."""
    sigma = math.sqrt((COARSE_SPACING / HEAD_SPACING) ** 2 - 1) / (2 * math.sqrt(2 * math.log(2)))
    side = math.exp(-0.5 / sigma**2)
    kernel = torch.tensor([side, 1, side]) / (1 + 2 * side)
    x = image[None, None]
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = 3
        x = F.conv3d(x, kernel.view(shape), padding=[int(a == axis) for a in range(3)])
    return x[0, 0]


def draw_fine_patch(head: Head, rng: RandomSource, **options) -> TrainingPatch:
    """Draw a piece of the border on FINE voxels, with a simulated answer of the coarse network."""
    view = FieldOfView(PATCH, FINE_SPACING, draw_border_point(head, rng) + rng.normal(3, scale=15))
    image, far = simulate_head(head, view, rng, options.get("way", ""), options.get("coarse", 0.5))
    inwards = simulate_coarse_answer(far, rng)
    x = normalize_to_brain(image, inwards > 0)
    x = (x + BLACK_TO_TISSUE) * math.exp(rng.gauss(0.12)) - BLACK_TO_TISSUE + rng.gauss(0.1)
    x, known = make_fine_input(x[None, None], inwards[None, None])[0], torch.ones(far.shape, dtype=torch.bool)
    if rng.bernoulli(0.25):  # where the image ends
        axis, voxels = rng.randint(3), 1 + rng.randint(NETWORK_STRIDES["fine"])
        index = torch.arange(far.shape[axis])
        beyond = (index if rng.bernoulli(0.5) else index.flip(0)) < voxels
        beyond = beyond.view([-1 if a == axis else 1 for a in range(3)]).expand(far.shape)
        x = torch.where(beyond, torch.tensor([-BLACK_TO_TISSUE, -1.0]).view(2, 1, 1, 1), x)
        known, far = ~beyond, torch.where(beyond, torch.tensor(FAR_MM), far)
    return TrainingPatch(x, far, known)


def draw_border_point(head: Head, rng: RandomSource) -> Tensor:
    """Return a point (3,), in mm of the head's box, within 2 mm of the border of the brain if one is found soon."""
    at = [0, 0, 0]
    for _ in range(1000):
        at = [rng.randint(n) for n in head.near.shape]
        if abs(int(head.near[tuple(at)]) - FAR_MM / STEP_MM) < 2 / STEP_MM:
            break
    return torch.tensor(at, dtype=torch.float32) * head.step


def simulate_coarse_answer(far: Tensor, rng: RandomSource) -> Tensor:
    """Return how far inside a voxel lies as a coarse network may tell: smooth, some mm off, in places wrong."""
    size = tuple(far.shape)
    small = [max(2, round(n / COARSE_SPACING)) for n in size]
    out = -F.interpolate(F.interpolate(far[None, None], small, mode="area"), size, mode="trilinear")[0, 0]
    out = out + rng.smooth_field(size, 25)[0] * rng.uniform(0, 2) + rng.smooth_field(size, 10)[0] * rng.uniform(0, 1.2)
    out = out + rng.gauss(0.7)
    if rng.bernoulli(0.35):
        wrong = (rng.smooth_field(size, 25)[0] - rng.uniform(0.8, 2.2)).clamp(0, 1)
        out = out + wrong * rng.uniform(-12, 15)
    return out
