"""Heads with painted strokes in template space: `python -m training.data.stroke_heads --data DATA --sheet FILE.png`.

DATA holds `brain_t1` (see `training.data.labelled_brains`) and `stroke_masks`. A brain is laid onto the MNI
template as the pipeline would, a little askew and bent; its ventricles widen, most where a lesion pulls; it ages,
suffers strokes (none in one head of six), gets a made-up skull or not, and is scanned. Brains and masks are split
alike: no head of one part shares a brain or a mask with another part's. Every head follows from its part and its
number.
"""

import argparse
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch import Tensor

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.mni_template import load_template
from medapp.imaging.intensity import STANDARD_RANGE
from medapp.imaging.volume import Grid, Volume
from training.core.data_cache import cache_folder, write_atomically
from training.core.random_source import RandomSource
from training.data import labelled_brains
from training.data.brain_tissues import RIM, TISSUE_GROUP
from training.data.contact_sheet import colour_border
from training.data.labelled_brains import STEP_MM, LabelledScan
from training.data.random_pose import Pose, sample_nearest
from training.data.random_skull import add_skull
from training.data.recipient_heads import load_recipient
from training.data.scanner import simulate_scan
from training.data.stroke_lesions import (
    VENTRICLE,
    LesionShapes,
    paint_ageing,
    paint_infarct,
    place_lesion,
    reference_levels,
)

SEEDS = {"train": 50_000, "validation": 60_000, "test": 70_000}
NOISE = 0.05  # of the range of the scan, at most
STEP = 4  # voxels between the points at which the ventricles are looked for


class StrokeHead(NamedTuple):
    """A scan in template space: `image` (X, Y, Z) uint8 over CLIP, `mask` (X, Y, Z) bool, and the names of brain and
    lesions.
    """

    image: np.ndarray
    mask: np.ndarray
    brain: str
    shapes: tuple[str, ...]


def list_brains(data: Path, part: str) -> list[str]:
    """Return the scans of one part of the split."""
    return labelled_brains.split_scans(labelled_brains.list_scans(data / "brain_t1"))[part]


@cache
def align_to_template(data: Path, name: str) -> tuple[LabelledScan, np.ndarray]:
    """Return a scan or a real head, and (4, 4) from voxel index in the template to voxel index in it."""
    scan = load_recipient(data, name)
    kept = cache_folder("stroke", data) / f"{name}_affine.npy"
    if not kept.exists():
        moving = Volume((scan.image * (scan.tissue > 0)).numpy().astype(np.float32), np.eye(4))
        write_atomically(
            kept, lambda file: np.save(file, register_affine(moving, load_template()) @ load_template().affine)
        )
    return scan, np.load(kept)


def draw_misalignment(rng: RandomSource, shape: tuple[int, ...]) -> np.ndarray:
    """Return (4, 4): how the alignment may be off and how heads differ, about the middle of the box."""
    turn = Rotation.from_euler("xyz", rng.normal(3, scale=3.5).numpy(), degrees=True).as_matrix()
    turn = turn * np.exp(rng.gauss(0.03) + rng.normal(3, scale=0.025).numpy()) + rng.normal(3, 3, scale=0.01).numpy()
    if rng.bernoulli(0.5):
        turn = turn @ np.diag([-1.0, 1, 1])
    matrix = np.eye(4)
    middle = (np.array(shape) - 1) / 2
    matrix[:3, :3] = turn
    matrix[:3, 3] = middle + rng.normal(3, scale=2.5).numpy() - turn @ middle
    return matrix


def scan_points(matrix: np.ndarray, shape: tuple[int, ...], swellings: list[tuple[np.ndarray, float, float]]) -> Tensor:
    """Return the voxel index in the scan of every voxel, (3, X, Y, Z); tissue around each swelling's centre grows.

    A swelling is a centre (voxel index), a reach in voxels and a share from 0 to 1 by which distances shrink.
    """
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    moved = place.clone()
    for centre, reach, share in swellings:
        low = [max(int(c - 3 * reach), 0) for c in centre]
        box = (slice(None), *(slice(a, int(c + 3 * reach) + 1) for a, c in zip(low, centre, strict=True)))
        away = place[box] - torch.from_numpy(centre).float()[:, None, None, None]
        moved[box] -= away * share * torch.exp(-away.square().sum(0) / (2 * reach**2))
    turn = torch.from_numpy(matrix[:3, :3]).float()
    return torch.einsum("ij,jxyz->ixyz", turn, moved) + torch.from_numpy(matrix[:3, 3]).float()[:, None, None, None]


def sample_scan(scan: LabelledScan, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return image (0 to 1), tissue and distance from the brain (mm) at points (3, X, Y, Z)."""
    shape = torch.tensor(scan.image.shape)
    both = torch.stack([scan.image, 255 - scan.distance]).float()[None]
    grid = (where * (2 / (shape - 1))[:, None, None, None] - 1).flip(0).movedim(0, -1)
    image, near = F.grid_sample(both, grid[None], padding_mode="zeros", align_corners=True)[0]
    return image / 255, sample_nearest(scan.tissue, Pose(list(where), False)), (255 - near) * STEP_MM


def draw_swellings(scan: LabelledScan, matrix: np.ndarray, lesions: list, grid: Grid, rng: RandomSource) -> list:
    """Return where ventricles widen: with age on both sides, and beside large lesions."""
    shape = tuple(-(-n // STEP) for n in grid.shape)
    points = scan_points(matrix @ np.diag([STEP, STEP, STEP, 1.0]), shape, [])
    coarse = sample_nearest(scan.tissue, Pose(list(points), False))
    ventricle = (TISSUE_GROUP[coarse.long()] == VENTRICLE).nonzero().numpy() * STEP
    swellings = []
    middle = ventricle[:, 0].mean()
    if rng.bernoulli(0.5):
        share = rng.uniform(0.05, 0.35)
        for side in (ventricle[ventricle[:, 0] < middle], ventricle[ventricle[:, 0] >= middle]):
            for part in np.quantile(side[:, 1], (0.2, 0.5, 0.8)):
                near = side[np.abs(side[:, 1] - part) <= 2 * STEP]
                swellings.append((near.mean(0), rng.uniform(8, 13), share * rng.uniform(0.6, 1)))
    for box, mask in lesions:
        if mask.sum() > 3000 and rng.bernoulli(0.7):
            centre = np.argwhere(mask).mean(0) + [b.start for b in box]
            nearest = ventricle[np.linalg.norm(ventricle - centre, axis=1).argmin()]
            if np.linalg.norm(nearest - centre) < 55:
                most = min(0.45, 0.1 + 0.1 * math.log10(mask.sum() / 1000 + 1) * 2)
                swellings.append((nearest.astype(float), rng.uniform(9, 18), rng.uniform(0.05, most)))
    return swellings


def make_head(data: Path, part: str, number: int, shapes: LesionShapes) -> StrokeHead:
    """Make head `number` of a part of the split."""
    rng, grid = RandomSource(SEEDS[part] + number), load_template().grid
    names = list_brains(data, part)
    name = names[number % len(names)]
    scan, matrix = align_to_template(data, name)
    matrix = matrix @ draw_misalignment(rng, grid.shape)
    strokes = 0 if number % 6 == 5 else 1 + rng.bernoulli(0.3) + rng.bernoulli(0.15)
    drawn_shapes = [shapes.draw(rng) for _ in range(strokes)]
    placed = [(shape.name, *spot) for shape in drawn_shapes if (spot := place_lesion(shape, grid, rng))]
    where = scan_points(matrix, grid.shape, draw_swellings(scan, matrix, [p[1:] for p in placed], grid, rng))
    where += rng.smooth_field(grid.shape, 40, 3) * rng.uniform(0, 2.2) + rng.smooth_field(
        grid.shape, 16, 3
    ) * rng.uniform(0, 0.7)
    image, tissue, distance = sample_scan(scan, where)

    levels = reference_levels(image, tissue)
    image = image ** math.exp(rng.gauss(0.15))
    levels = reference_levels(image, tissue)
    if rng.bernoulli(0.8):
        paint_ageing(image, tissue, rng, levels)
    if rng.bernoulli(0.25):
        image *= tissue != RIM
    mask = np.zeros(grid.shape, bool)
    used = []
    for shape, box, shape_mask in placed:
        painted = paint_infarct(image[box], tissue[box], shape_mask & ~mask[box], rng, levels)
        mask[box] |= painted
        used += [shape] * bool(painted.any())
    if rng.bernoulli(0.6):
        below = ((grid.shape[2] - 1) / 2 - torch.arange(grid.shape[2])).expand(grid.shape)
        image = add_skull(image, distance, below, rng)
    image = simulate_scan(image, rng, noise=NOISE).clamp(*STANDARD_RANGE)
    return StrokeHead(to_levels(image), mask, name, tuple(used))


def to_levels(image: Tensor) -> np.ndarray:
    """Return standardised intensities as uint8 over STANDARD_RANGE."""
    low, high = STANDARD_RANGE
    return ((image - low) * (255 / (high - low))).round().to(torch.uint8).numpy()


def keep_head(kept: Path, make: Callable[[], StrokeHead]) -> StrokeHead:
    """Return the head in the file `kept`, which is made first if it is not there."""
    if not kept.exists():
        new = make()
        kept.parent.mkdir(parents=True, exist_ok=True)
        content = {"image": new.image, "mask": np.packbits(new.mask), "brain": new.brain, "shapes": list(new.shapes)}
        write_atomically(kept, lambda file: np.savez(file, **content))
    with np.load(kept) as content:
        image = content["image"]
        mask = np.unpackbits(content["mask"], count=image.size).reshape(image.shape).astype(bool)
        return StrokeHead(image, mask, str(content["brain"]), tuple(map(str, content["shapes"])))


def load_head(data: Path, part: str, number: int, shapes: LesionShapes) -> StrokeHead:
    """Return head `number` of a part of the split, made anew or from the cache."""
    kept = cache_folder("stroke", data) / part / f"{number:04d}.npz"
    return keep_head(kept, lambda: make_head(data, part, number, shapes))


def contact_sheet(heads: list[StrokeHead]) -> np.ndarray:
    """Return a picture (rows, columns, 3) uint8 of slices through every head's lesion, plain and outlined."""
    rows = []
    for each in heads:
        lesion_voxels = np.argwhere(each.mask)
        middle = np.median(lesion_voxels, axis=0).astype(int) if len(lesion_voxels) else np.array(each.image.shape) // 2
        row = []
        for axis in range(3):
            piece, mask = (np.rot90(a.take(middle[axis], axis)) for a in (each.image, each.mask))
            low, high = np.percentile(piece, (1, 99))
            grey = np.clip((piece - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
            border = mask & ~(np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1))
            row += [colour_border(grey), colour_border(grey, border)]
        tall = max(len(p) for p in row)
        rows.append(np.concatenate([np.pad(p, ((0, tall - len(p)), (0, 4), (0, 0))) for p in row], 1))
    wide = max(r.shape[1] for r in rows)
    return np.concatenate([np.pad(r, ((0, 4), (0, wide - r.shape[1]), (0, 0))) for r in rows])


def save_sheet(
    parser: argparse.ArgumentParser, make: Callable[[argparse.Namespace, int, LesionShapes], StrokeHead]
) -> None:
    """Add the arguments of a contact sheet to the parser's own, and save the sheet of the heads that `make` makes."""
    from PIL import Image

    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sheet", type=Path, required=True)
    parser.add_argument("--part", default="train", choices=SEEDS)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=6)
    args = parser.parse_args()
    shapes = LesionShapes(args.data / "stroke_masks", args.part)
    heads = [make(args, number, shapes) for number in range(args.first, args.first + args.count)]
    Image.fromarray(contact_sheet(heads)).save(args.sheet)


if __name__ == "__main__":
    save_sheet(
        argparse.ArgumentParser(description=__doc__.splitlines()[0]),
        lambda args, number, shapes: make_head(args.data, args.part, number, shapes),
    )
