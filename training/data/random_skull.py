"""Random surroundings of a brain: a made-up skull, or the average head."""

import numpy as np
import torch
from torch import Tensor

from training.core.random_source import RandomSource
from training.data.labelled_brains import STEP_MM, LabelledScan
from training.data.random_pose import Pose, sample_linear
from training.data.template_head import HEAD_MARGIN, HEAD_STEP, WHITE_LEVEL


def paste_brain(image: Tensor, around: Tensor, distance: Tensor) -> Tensor:
    """Return the image inside the brain, and `around` outside it."""
    brain = (distance < 0.5).float()
    return image * brain + around.clamp(min=0) * (1 - brain)


def add_skull(image: Tensor, distance: Tensor, below: Tensor, rng: RandomSource) -> Tensor:
    """Surround the brain with random fluid, skull with marrow, scalp, neck and face; sometimes with fluid alone."""
    size = tuple(image.shape)
    far = distance + rng.smooth_field(size, 14)[0] * rng.uniform(0.3, 1.2)
    coarse, fine = rng.smooth_field(size, 32)[0], rng.smooth_field(size, 9)[0]
    bright = rng.uniform(0.6, 2.0)  # fat outshines white matter
    fluid_to = rng.uniform(0.5, 4)
    bone_to = fluid_to + rng.uniform(2, 8) + coarse.clamp(-2, 2)
    skin_to = bone_to + rng.uniform(2, 12) + 2 * coarse.roll(size[0] // 3, 0)
    if rng.bernoulli(0.8):
        skin_to = skin_to + (below - rng.uniform(10, 40)).clamp(min=0) * rng.uniform(0.2, 1.2)
    # soft tissue: patches of fat, muscle, gristle and air
    values = torch.tensor([rng.uniform(0.6, 1.3), rng.uniform(0.2, 0.7), rng.uniform(0, 0.5), rng.uniform(0, 0.1)])
    patch = ((coarse * 0.7 + fine * 0.7 + 1.2) * 1.3).clamp(0, 3).long()
    soft = values[patch.flip(0)] * bright
    bone = rng.uniform(0, 0.15) + rng.uniform(0, 0.8) * (fine + 0.3).clamp(0, 1)
    out = torch.where(far < bone_to, bone, soft)
    out = torch.where(far < fluid_to, rng.uniform(0, 0.5) * (1 + 0.2 * fine), out)
    skin = bone_to if rng.bernoulli(0.1) else skin_to
    if rng.bernoulli(0.12):
        skin = fluid_to + rng.uniform(0, 3)
    out = out * (far < skin)
    return paste_brain(image, out, distance)


def add_average_head(image: Tensor, scan: LabelledScan, distance: Tensor, pose: Pose, rng: RandomSource) -> Tensor:
    """Surround the brain with the average head in a random contrast and sharpness."""
    size = tuple(image.shape)
    points = [(p + room[0]) / HEAD_STEP for p, room in zip(pose.points, HEAD_MARGIN, strict=True)]
    value = sample_linear([scan.head], Pose(points, pose.mirrored))[0] / WHITE_LEVEL  # white matter would be 1
    value = value * rng.uniform(0.7, 1.3)
    fine = rng.smooth_field(size, 8)[0]
    bright = rng.uniform(0.6, 2.0)
    if rng.bernoulli(0.5):
        out = value ** rng.uniform(0.6, 2.0) * (1 + rng.uniform(0, 0.3) * fine) * bright
    else:  # air, bone, muscle and fat apart
        edges = torch.tensor([rng.uniform(0.08, 0.2), rng.uniform(0.3, 0.5), rng.uniform(0.6, 1.1)])
        levels = torch.tensor([rng.uniform(0, 0.05), rng.uniform(0, 0.3), rng.uniform(0.2, 0.8), bright])
        rough = value * (1 + rng.uniform(0, 0.3) * fine)
        out = levels[torch.bucketize(rough, edges)] + rng.uniform(0, 0.4) * value * (rough > edges[0])
    gap = rng.uniform(0, 4) * (1 + 0.3 * rng.smooth_field(size, 14)[0])
    out = torch.where(distance < gap, rng.uniform(0, 0.4) * (1 + 0.2 * fine), out)
    return paste_brain(image, out, distance)


def add_fixed_skull(scan: LabelledScan, seed: int) -> np.ndarray:
    """Surround a whole scan with a head that depends on the seed alone, for validation."""
    image = scan.image.float() / 255
    below = ((image.shape[2] - 1) / 2 - torch.arange(image.shape[2])).expand(image.shape)
    return add_skull(image, scan.distance * STEP_MM, below, RandomSource(seed)).numpy()
