"""Random poses of a patch in a scan, and sampling there."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from training.core.random_source import RandomSource
from training.data.brain_tissues import MIRRORED_TISSUE
from training.data.labelled_brains import MARGIN, STEP_MM, LabelledScan


class Pose(NamedTuple):
    """A patch of a scan: the voxel index along each axis, (X, Y, Z) each, and whether it is mirrored."""

    points: list[Tensor]
    mirrored: bool


def draw_rotation(degrees: float, rng: RandomSource) -> Tensor:
    """Draw a rotation (3, 3) about each of the axes in turn, by angles of standard deviation `degrees`."""
    matrix = torch.eye(3)
    for axis, angle in enumerate(rng.normal(3, scale=math.radians(degrees)).tolist()):
        i, j = [a for a in range(3) if a != axis]
        cosine, sine = math.cos(angle), math.sin(angle)
        turn = torch.eye(3)
        turn[i, i], turn[j, j], turn[i, j], turn[j, i] = cosine, cosine, -sine, sine
        matrix = matrix @ turn
    return matrix


def draw_pose(
    shape: tuple[int, ...], size: tuple[int, int, int], rng: RandomSource, about: Tensor | None = None
) -> Pose:
    """Draw a moved, turned, stretched, bent, perhaps mirrored patch of `size`, about an index (3,) if given."""
    extent = torch.tensor(shape)
    room = (extent - 2 * MARGIN - torch.tensor(size)).clamp(min=0) / 2 + 10
    away = torch.rand(3, generator=rng.generator) * 2 - 1
    centre = (extent - 1) / 2 + room * away if about is None else about + torch.tensor(size) / 4 * away
    matrix = draw_rotation(11, rng)
    matrix = matrix * torch.exp(rng.gauss(0.07) + rng.normal(3, scale=0.05)) + rng.normal(3, 3, scale=0.02)
    mirrored = rng.bernoulli(0.5)
    if mirrored:
        matrix[:, 0] *= -1

    along = [torch.arange(n) - (n - 1) / 2 for n in size]
    bend = rng.smooth_field(size, 40, 3) * rng.uniform(0, 3) + rng.smooth_field(size, 16, 3) * rng.uniform(0, 1)
    points = []
    for axis in range(3):
        a, b, c = (matrix[axis, k] * along[k] for k in range(3))
        points.append(centre[axis] + a[:, None, None] + b[:, None] + c + bend[axis])
    return Pose(points, mirrored)


def sample_linear(images: Sequence[Tensor], pose: Pose) -> Tensor:
    """Sample images (X, Y, Z) uint8 of one scan linearly at a pose: (C, *size) float32, 0 outside."""
    shape = images[0].shape
    low = [max(int(p.min().floor()) - 1, 0) for p in pose.points]
    high = [min(int(p.max().ceil()) + 2, n) for p, n in zip(pose.points, shape, strict=True)]
    box = tuple(slice(a, max(b, a + 2)) for a, b in zip(low, high, strict=True))
    within = torch.stack([image[box] for image in images]).float()[None]
    grid = torch.stack(
        [(p - a) * 2 / (n - 1) - 1 for p, a, n in zip(pose.points, low, within.shape[2:], strict=True)][::-1], -1
    )
    return F.grid_sample(within, grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def sample_nearest(tissue: Tensor, pose: Pose, swap: Tensor = MIRRORED_TISSUE) -> Tensor:
    """Sample tissue (X, Y, Z) uint8 at a pose by nearest neighbour; `swap` maps codes to the other side if it is
    mirrored.
    """
    size = pose.points[0].shape
    index, inside = torch.zeros(size, dtype=torch.int64), torch.ones(size, dtype=torch.bool)
    for p, n in zip(pose.points, tissue.shape, strict=True):
        p = p.round().long()
        inside &= (p >= 0) & (p < n)
        index = index * n + p.clamp(0, n - 1)
    sampled = torch.take(tissue, index) * inside
    return swap[sampled.long()] if pose.mirrored else sampled


def depth_below_centre(shape: Sequence[int], pose: Pose) -> Tensor:
    """Return how far below the middle of a scan of this shape each voxel of a pose lies, in millimetres."""
    return (shape[2] - 1) / 2 - pose.points[2]


def draw_view(
    scan: LabelledScan, size: tuple[int, int, int], rng: RandomSource, face: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Pose]:
    """Draw a patch of a scan in a random pose, at the face and neck if `face`.

    Returns, all of `size`: image 0 to 1, tissue uint8, distance from the brain in mm, depth below the centre in mm; and
    the pose.
    """
    extent = torch.tensor(scan.image.shape)
    low = extent * torch.tensor([0.5, 0.65, 0]) + torch.tensor([0, 0, MARGIN - 10])
    pose = draw_pose(scan.image.shape, size, rng, low if face else None)
    image, near = sample_linear([scan.image, 255 - scan.distance], pose)  # zero outside: black, and far away
    return (
        image / 255,
        sample_nearest(scan.tissue, pose),
        (255 - near) * STEP_MM,
        depth_below_centre(scan.image.shape, pose),
        pose,
    )
