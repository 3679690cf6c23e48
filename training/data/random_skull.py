"""Random skull: what lies around a brain, made up or taken from the average head."""

import numpy as np
import torch
from torch import Tensor

from training.core.random_source import Luck
from training.data.labelled_brains import STEP_MM, Scan
from training.data.random_pose import Pose, linear
from training.data.template_head import ROOM, STEP, WHITE


def within(image: Tensor, around: Tensor, distance: Tensor) -> Tensor:
    """The image where the brain is, and what is `around` it elsewhere."""
    brain = (distance < 0.5).float()
    return image * brain + around.clamp(min=0) * (1 - brain)


def dressed(image: Tensor, distance: Tensor, below: Tensor, luck: Luck) -> Tensor:
    """The brain within made-up fluid, skull with marrow, scalp, neck and face; sometimes only the first of these."""
    size = tuple(image.shape)
    far = distance + luck.field(size, 14)[0] * luck.uniform(0.3, 1.2)
    coarse, fine = luck.field(size, 32)[0], luck.field(size, 9)[0]
    bright = luck.uniform(0.6, 2.0)  # fat outshines white matter
    fluid_to = luck.uniform(0.5, 4)
    bone_to = fluid_to + luck.uniform(2, 8) + coarse.clamp(-2, 2)
    skin_to = bone_to + luck.uniform(2, 12) + 2 * coarse.roll(size[0] // 3, 0)
    if luck.chance(0.8):
        skin_to = skin_to + (below - luck.uniform(10, 40)).clamp(min=0) * luck.uniform(0.2, 1.2)
    # soft tissue: patches of fat, muscle, gristle and air
    values = torch.tensor([luck.uniform(0.6, 1.3), luck.uniform(0.2, 0.7), luck.uniform(0, 0.5), luck.uniform(0, 0.1)])
    patch = ((coarse * 0.7 + fine * 0.7 + 1.2) * 1.3).clamp(0, 3).long()
    soft = values[patch.flip(0)] * bright
    bone = luck.uniform(0, 0.15) + luck.uniform(0, 0.8) * (fine + 0.3).clamp(0, 1)
    out = torch.where(far < bone_to, bone, soft)
    out = torch.where(far < fluid_to, luck.uniform(0, 0.5) * (1 + 0.2 * fine), out)
    skin = bone_to if luck.chance(0.1) else skin_to
    if luck.chance(0.12):
        skin = fluid_to + luck.uniform(0, 3)
    out = out * (far < skin)
    return within(image, out, distance)


def beheld(image: Tensor, scan: Scan, distance: Tensor, seen: Pose, luck: Luck) -> Tensor:
    """The brain within the average head, whose contrast and sharpness are made up."""
    size = tuple(image.shape)
    points = [(p + room[0]) / STEP for p, room in zip(seen.points, ROOM, strict=True)]
    value = linear([scan.head], Pose(points, seen.mirrored))[0] / WHITE  # white matter would be 1
    value = value * luck.uniform(0.7, 1.3)
    fine = luck.field(size, 8)[0]
    bright = luck.uniform(0.6, 2.0)
    if luck.chance(0.5):
        out = value ** luck.uniform(0.6, 2.0) * (1 + luck.uniform(0, 0.3) * fine) * bright
    else:  # air, bone, muscle and fat apart
        edges = torch.tensor([luck.uniform(0.08, 0.2), luck.uniform(0.3, 0.5), luck.uniform(0.6, 1.1)])
        levels = torch.tensor([luck.uniform(0, 0.05), luck.uniform(0, 0.3), luck.uniform(0.2, 0.8), bright])
        rough = value * (1 + luck.uniform(0, 0.3) * fine)
        out = levels[torch.bucketize(rough, edges)] + luck.uniform(0, 0.4) * value * (rough > edges[0])
    gap = luck.uniform(0, 4) * (1 + 0.3 * luck.field(size, 14)[0])
    out = torch.where(distance < gap, luck.uniform(0, 0.4) * (1 + 0.2 * fine), out)
    return within(image, out, distance)


def clothed(scan: Scan, seed: int) -> np.ndarray:
    """A whole scan with a made-up head around it, for validation."""
    image = scan.image.float() / 255
    below = ((image.shape[2] - 1) / 2 - torch.arange(image.shape[2])).expand(image.shape)
    return dressed(image, scan.distance * STEP_MM, below, Luck(seed)).numpy()
