"""Simulated scans of whole heads to learn brain extraction from: any contrast, slices and field of view.

`python -m training.data.brain_scans --data DATA --out SHEET.png` draws a sheet of them to be looked at.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from training.core.random_source import RandomSource
from training.data.brain_contrasts import (
    add_pathology,
    add_surroundings,
    choose_surroundings,
    draw_contrast,
    randomize_surroundings,
)
from training.data.brain_heads import FAR_MM, FIRST_OUTSIDE_CODE, STEP_MM, Head, load_head
from training.data.brain_tissues import MIRRORED_TISSUE
from training.data.contact_sheet import colour_border, join_tiles
from training.data.labelled_brains import list_scans, split_scans
from training.data.random_pose import Pose, draw_rotation, sample_linear, sample_nearest
from training.data.scanner import simulate_acquisition

MIRRORED_CODE = torch.cat(
    [MIRRORED_TISSUE, torch.arange(len(MIRRORED_TISSUE), 256, dtype=torch.uint8)]
)  # codes outside the brain have no side


class FieldOfView(NamedTuple):
    """A box of (X, Y, Z) voxels of `spacing` mm about the point `centre` (3,), RAS mm of the head's own box."""

    size: tuple[int, int, int]
    spacing: float
    centre: Tensor


class SimulatedScan(NamedTuple):
    """A scan on any intensity scale, and `far`, the signed distance in mm from the brain; (X, Y, Z) each."""

    image: Tensor
    far: Tensor


def draw_field_of_view(
    head: Head, spacing: float, rng: RandomSource, cut: float = 0.3, neck: float = 0.6
) -> FieldOfView:
    """Draw a field of view with the brain in it; in a share `cut` with most of it, in a share `neck` with the neck."""
    one = rng.uniform
    extent = 2 * head.half
    low = head.middle - head.half - torch.tensor([one(2, 50), one(5, 45), one(0, 40)])
    high = head.middle + head.half + torch.tensor([one(2, 50), one(5, 60), one(2, 40)])
    if rng.bernoulli(neck):
        low[2] -= one(0, 130)
    if rng.bernoulli(cut):
        axis = rng.randint(3)
        low[axis] = low[axis].clamp(min=float((head.middle - head.half + extent * one(-0.1, 0.35))[axis]))
        if rng.bernoulli(0.5):
            high[axis] = high[axis].clamp(max=float((head.middle + head.half - extent * one(-0.1, 0.35))[axis]))
    size = [max(16, round(float(n) / spacing)) for n in high - low]
    return FieldOfView((size[0], size[1], size[2]), spacing, (low + high) / 2)


def draw_points(view: FieldOfView, rng: RandomSource) -> tuple[list[Tensor], bool]:
    """Return the mm of the head's box at every voxel, (X, Y, Z) three times, and whether the head is mirrored.

    The head is turned, stretched and bent.
    """
    matrix = draw_rotation(20 if rng.bernoulli(0.15) else 7, rng)
    scale = rng.uniform(1.05, 1.4) if rng.bernoulli(0.15) else math.exp(rng.gauss(0.06))  # a child's head, or any
    matrix = matrix * (scale * torch.exp(rng.normal(3, scale=0.05))) + rng.normal(3, 3, scale=0.02)
    mirrored = rng.bernoulli(0.5)
    if mirrored:
        matrix[:, 0] *= -1
    along = [(torch.arange(n) - (n - 1) / 2) * view.spacing for n in view.size]
    long, short = 40 / view.spacing, 16 / view.spacing
    bend = rng.smooth_field(view.size, long, 3) * rng.uniform(0, 3.5) + rng.smooth_field(
        view.size, short, 3
    ) * rng.uniform(0, 0.8)
    out = []
    for axis in range(3):
        a, b, c = (matrix[axis, k] * along[k] for k in range(3))
        out.append(view.centre[axis] + a[:, None, None] + b[:, None] + c + bend[axis])
    return out, mirrored


def widen_ventricles(head: Head, places: list[Tensor], mm: float) -> list[Tensor]:
    """Return the points that are seen where the ventricles are wider by `mm`."""
    at = torch.stack(
        [2 * (p - 1.5) / (4 * (n - 1)) - 1 for p, n in zip(places, head.push.shape[1:], strict=True)][::-1], -1
    )
    push = F.grid_sample(head.push[None], at[None], padding_mode="zeros", align_corners=True)[0]
    return [p - mm * d for p, d in zip(places, push, strict=True)]


def simulate_head(
    head: Head, view: FieldOfView, rng: RandomSource, surroundings: str = "", coarse: float = 0.5
) -> SimulatedScan:
    """Simulate a scan of a head, a share `coarse` of them in thick slices.

    `surroundings` is what surrounds a brain, drawn by chance if empty: one of those `around` it, "made up", or "none".
    """
    places, mirrored = draw_points(view, rng)
    if rng.bernoulli(0.35) and not head.whole:
        places = widen_ventricles(head, places, rng.uniform(0, 7))
    shift = (head.step - 1) / 2
    pose = Pose([(p - shift) / head.step for p in places], mirrored)
    t1, near, inner = sample_linear([head.image, head.near, head.inner], pose)
    tissue = sample_nearest(head.tissue, pose, MIRRORED_CODE)
    t1, far = t1 / 255, FAR_MM - near * STEP_MM
    brain = far < 0
    flesh = torch.where(brain & (tissue < FIRST_OUTSIDE_CODE), tissue, torch.zeros((), dtype=torch.uint8))
    if rng.bernoulli(0.4):  # wider sulci
        size = tuple(t1.shape)
        rim = (inner * STEP_MM < rng.uniform(0, 1.8) + 0.6 * rng.smooth_field(size, 30 / view.spacing)[0]) & brain
        flesh = torch.where(rim & (flesh > 0), torch.tensor(40, dtype=torch.uint8), flesh)
        t1 = torch.where(rim, t1 * rng.uniform(0.2, 0.5), t1)
    picture, like = draw_contrast(t1 * (flesh > 0), flesh, rng)
    picture = add_pathology(picture, far, view.spacing, rng)
    if head.whole:
        image = randomize_surroundings(picture, t1, tissue, far, rng, like)
    else:
        image = add_surroundings(
            head, places, mirrored, picture, flesh, far, rng, like, surroundings or choose_surroundings(head, rng)
        )
    return SimulatedScan(simulate_acquisition(image, far, view.spacing, rng, coarse), far)


def load_heads(data: Path, names: Sequence[str], step: int, real: Sequence[str] = ("colin",)) -> list[Head]:
    """Return the brains with the average head and the `real` ones to be fitted round them, then the real heads."""
    made = [load_head(data, name, step, ("average", *real)) for name in names]
    return made + [load_head(data, name, step, whole=True) for name in real]


def contact_sheet(scans: list[SimulatedScan]) -> Image.Image:
    """Return a picture with a row a scan: three planes, plain and with the brain outlined."""
    rows = []
    for image, far in scans:
        tiles = []
        top = max(float(image.flatten()[::17].quantile(0.99)), 1e-3)
        for axis in range(3):
            at = int((far < 0).sum([a for a in range(3) if a != axis]).argmax())
            grey = (image.select(axis, at) / top * 230).clamp(0, 255).byte().numpy().T[::-1]
            edge = (far.select(axis, at).abs() < 1).numpy().T[::-1]
            tiles += [colour_border(grey), colour_border(grey, edge)]
        rows.append(tiles)
    return join_tiles(rows, 150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    heads = load_heads(args.data, split_scans(list_scans(args.data / "brain_t1"))["train"][:3], 2)
    scans = []
    for row in range(args.rows):
        rng = RandomSource(args.seed + row)
        head = heads[rng.randint(len(heads))]
        scans.append(simulate_head(head, draw_field_of_view(head, 2.0, rng), rng))
    contact_sheet(scans).save(args.out)


if __name__ == "__main__":
    main()
