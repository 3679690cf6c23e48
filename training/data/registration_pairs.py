"""Training pairs for registration: aligned scans in random poses and contrasts."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.conformed_space import CONFORMED_SHAPE, make_conformed_grid, scale_intensity
from medapp.imaging.brain_labels import MIRROR_CLASSES, translate_labels
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.io import files
from training.core.data_cache import cache_folder
from training.core.random_source import RandomSource

SIZE = (80, 80, 96)  # voxels of 2 mm: what of SHAPE brains fill


class AlignedScan(NamedTuple):
    """A scan on a grid of SHAPE, uint8: `image` (0 to 255), `regions` (36 classes), `parcels` (all labels).

    `smooth` is the image averaged over two voxels along each axis, half a voxel further on.
    """

    image: Tensor
    regions: Tensor
    parcels: Tensor
    smooth: Tensor


class TrainingPair(NamedTuple):
    """A pair at 2 mm, all (D, H, W): images from 0 to 1, the fixed image's regions, and all labels of both."""

    moving: Tensor
    fixed: Tensor
    regions: Tensor
    moving_parcels: Tensor
    fixed_parcels: Tensor


def read_scan(data: Path, name: str) -> tuple[Volume, Volume]:
    t1, labels = (files.read([data / f"{name}_{kind}.nii.gz"]) for kind in ("t1", "labels"))
    return t1, labels.new_like(labels.array, labels={1: "any"})


def load_aligned_scan(data: Path, name: str, onto: str) -> AlignedScan:
    """One scan aligned to another on the latter's grid, or what was kept of it."""
    kept = cache_folder("registration", data) / f"{name}_{onto}.npz"
    if not kept.exists():
        t1, labels = read_scan(data, name)
        target = t1 if name == onto else read_scan(data, onto)[0]
        matrix = np.eye(4) if name == onto else register_affine(t1, target)
        still = Deformation.from_affine(np.eye(4), make_conformed_grid(target))
        image = 255 * scale_intensity(still.warp(t1, matrix).array)
        regions = labels.new_like(translate_labels(labels.array), labels=labels.labels)
        parcels = [still.warp(part, matrix).array.astype(np.uint8) for part in (regions, labels)]
        np.savez_compressed(kept, image=np.rint(image).astype(np.uint8), regions=parcels[0], parcels=parcels[1])
    arrays = np.load(kept)
    image, regions, parcels = (torch.from_numpy(arrays[field]) for field in ("image", "regions", "parcels"))
    smooth = F.avg_pool3d(F.pad(image[None].float(), [0, 1] * 3), 2, 1)[0]
    return AlignedScan(image, regions, parcels, smooth.round().to(torch.uint8))


def draw_affine(rng: RandomSource, degrees: float, shift: float, stretch: float) -> Tensor:
    """A small affine (3, 4), millimetres about the middle."""
    matrix = torch.linalg.matrix_exp(
        rng.normal(3, 3, scale=stretch / 2)
        + (lambda a: a - a.T)(rng.normal(3, 3, scale=math.radians(degrees) / math.sqrt(2)))
    )
    return torch.cat([matrix, rng.normal(3, 1, scale=shift)], 1)


def sample_scan(scan: AlignedScan, affine: Tensor, bend: Tensor | None = None, mirrored: bool = False) -> list[Tensor]:
    """Image from 0 to 1, regions and parcels at 2 mm (SIZE), the scan seen through an affine (3, 4) and mirrored.

    `bend` (3, SIZE), millimetres, is added where the regions are taken.
    """
    along = torch.meshgrid(*(2 * (torch.arange(n) - (n - 1) / 2) for n in SIZE), indexing="ij")
    if mirrored:
        along = (-along[0], *along[1:])
    points = torch.stack([(m[0] * along[0] + m[1] * along[1] + m[2] * along[2] + m[3]) for m in affine])
    places = ((2 * points - 1) / torch.tensor(CONFORMED_SHAPE)[:, None, None, None]).movedim(0, -1).flip(-1)
    image = F.grid_sample(scan.smooth[None, None].float(), places[None], align_corners=False)[0, 0]
    taken = []
    for part, away in ((scan.regions, bend), (scan.parcels, None)):
        index = torch.zeros(SIZE, dtype=torch.int64)
        for axis, n in enumerate(CONFORMED_SHAPE):
            at = points[axis] if away is None else points[axis] + away[axis]
            index = index * n + (at + (n - 1) / 2).round_().long().clamp_(0, n - 1)
        taken.append(torch.take(part, index))
    regions = torch.tensor(MIRROR_CLASSES, dtype=torch.uint8)[taken[0].long()] if mirrored else taken[0]
    return [image / 255, regions, taken[1]]


def draw_pair(fixed: AlignedScan, moving: AlignedScan, rng: RandomSource) -> TrainingPair:
    """A pair moved, mirrored and recoloured by chance; the fixed image's regions bent, as a predicted map is wrong."""
    mirrored = rng.bernoulli(0.5)
    both, own = draw_affine(rng, 4, 3, 0.04), draw_affine(rng, 1.5, 1.5, 0.015)
    other = both.clone()
    other[:, :3] = other[:, :3] @ own[:, :3]
    other[:, 3] += own[:, 3]
    bend = rng.smooth_field(SIZE, 5, 3) * rng.uniform(0, 1.2)
    target, regions, fixed_parcels = sample_scan(fixed, both, bend, mirrored)
    source, _, moving_parcels = sample_scan(moving, other, None, mirrored)
    source, target = (image ** math.exp(rng.gauss(0.15)) for image in (source, target))
    return TrainingPair(source, target, regions, moving_parcels, fixed_parcels)
