"""Scans of whole heads to learn brain extraction from, as scanners spoil them: any contrast, slices, field of view.

`python -m training.brain_scans --data DATA --out SHEET.png` draws a sheet of them to be looked at.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from training.brain_heads import FAR, SOFT, STEP_MM, Head, prepare
from training.head_shells import FLUID, HALF, TISSUES, coloured, covered, levels
from training.segment_anatomy_unet import (
    FLUIDS,
    GROUP,
    SWAP,
    Luck,
    Pose,
    blurred,
    flaired,
    linear,
    names_in,
    recoloured,
    split,
)
from training.template_head import ROOM, STEP, WHITE

OTHERS, NOTHING = 0.30, 0.10  # shares of the brains within another's head, and without any; the rest is made up


class View(NamedTuple):
    """What is looked at: (X, Y, Z) voxels of `spacing` mm about a place `centre` (3,), RAS mm of a head's own box."""

    size: tuple[int, int, int]
    spacing: float
    centre: Tensor


class Scan(NamedTuple):
    """`image` as acquired, any scale; `far` the distance in mm from the brain, negative within; (X, Y, Z) each."""

    image: Tensor
    far: Tensor


def whole(head: Head, spacing: float, luck: Luck, cut: float = 0.3, neck: float = 0.6) -> View:
    """A field of view with the brain in it, or, in a share `cut`, most of it; a share `neck` with the neck."""
    one = luck.uniform
    extent = 2 * head.half
    low = head.middle - head.half - torch.tensor([one(2, 50), one(5, 45), one(0, 40)])
    high = head.middle + head.half + torch.tensor([one(2, 50), one(5, 60), one(2, 40)])
    if luck.chance(neck):
        low[2] -= one(0, 130)
    if luck.chance(cut):
        axis = luck.below(3)
        low[axis] = low[axis].clamp(min=float((head.middle - head.half + extent * one(-0.1, 0.35))[axis]))
        if luck.chance(0.5):
            high[axis] = high[axis].clamp(max=float((head.middle + head.half - extent * one(-0.1, 0.35))[axis]))
    size = [max(16, round(float(n) / spacing)) for n in high - low]
    return View((size[0], size[1], size[2]), spacing, (low + high) / 2)


def posed(view: View, luck: Luck) -> tuple[list[Tensor], bool]:
    """The millimetres of the head's box at every voxel seen, (X, Y, Z) three times, and whether it is mirrored.

    The head is turned, stretched and bent.
    """
    angles = luck.normal(3, scale=math.radians(20 if luck.chance(0.15) else 7)).tolist()
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        turn = torch.eye(3)
        turn[i, i], turn[j, j], turn[i, j], turn[j, i] = (
            math.cos(angle),
            math.cos(angle),
            -math.sin(angle),
            math.sin(angle),
        )
        matrix = matrix @ turn
    scale = luck.uniform(1.05, 1.4) if luck.chance(0.15) else math.exp(luck.one(0.06))  # a child's head, or any
    matrix = matrix * (scale * torch.exp(luck.normal(3, scale=0.05))) + luck.normal(3, 3, scale=0.02)
    mirrored = luck.chance(0.5)
    if mirrored:
        matrix[:, 0] *= -1
    along = [(torch.arange(n) - (n - 1) / 2) * view.spacing for n in view.size]
    long, short = 40 / view.spacing, 16 / view.spacing
    bend = luck.field(view.size, long, 3) * luck.uniform(0, 3.5) + luck.field(view.size, short, 3) * luck.uniform(
        0, 0.8
    )
    out = []
    for axis in range(3):
        a, b, c = (matrix[axis, k] * along[k] for k in range(3))
        out.append(view.centre[axis] + a[:, None, None] + b[:, None] + c + bend[axis])
    return out, mirrored


def pushed(head: Head, places: list[Tensor], mm: float) -> list[Tensor]:
    """The places that are seen where the ventricles are wider by `mm`."""
    at = torch.stack(
        [2 * (p - 1.5) / (4 * (n - 1)) - 1 for p, n in zip(places, head.push.shape[1:], strict=True)][::-1], -1
    )
    push = F.grid_sample(head.push[None], at[None], padding_mode="zeros", align_corners=True)[0]
    return [p - mm * d for p, d in zip(places, push, strict=True)]


def signal(t1: Tensor, tissue: Tensor, luck: Luck) -> tuple[Tensor, str]:
    """The brain in some contrast, in units of white matter, and what that is like; T1 0 to 1."""
    way = luck.uniform(0, 1)
    white = (GROUP[tissue.long()] == 1) | (GROUP[tissue.long()] == 5)
    level = t1[white].median() if white.sum() > 100 else t1.max()
    t1 = t1 / level.clamp(min=0.05)
    if way < 0.35:
        return t1 ** math.exp(luck.one(0.25)), "t1"
    if way < 0.5:
        return flaired(t1, tissue, luck), "flair"
    picture = recoloured(t1.clamp(max=1.5), tissue, luck)
    level = picture[white].median() if white.sum() > 100 else picture.max()
    picture = picture / level.clamp(min=0.15)
    fluids = torch.isin(GROUP[tissue.long()], FLUIDS)
    wet = float(picture[fluids].mean()) if fluids.any() else 0
    return picture, "any" if luck.chance(0.5) else "t2" if wet > 1 else "flair"


def hurt(image: Tensor, far: Tensor, spacing: float, luck: Luck) -> Tensor:
    """Now and then lesions, tumours and holes in the brain."""
    if luck.chance(0.2):
        spots = luck.field(tuple(image.shape), luck.uniform(5, 15) / spacing)[0] > luck.uniform(1.5, 3)
        image = torch.where(spots & (far < -2), image * luck.uniform(0.5, 1) + luck.uniform(-0.3, 1), image)
    if luck.chance(0.15):
        centre = [luck.below(n) for n in image.shape]
        radius = luck.uniform(8, 30) / spacing
        axes = [
            (torch.arange(n) - c) / (radius * math.exp(luck.one(0.2))) for n, c in zip(image.shape, centre, strict=True)
        ]
        away = (axes[0].square()[:, None, None] + axes[1].square()[:, None] + axes[2].square()).sqrt()
        away = away + 0.2 * luck.field(tuple(image.shape), 10 / spacing)[0]
        image = torch.where((away < 1) & (far < 0), luck.uniform(0, 2), image)
        image = torch.where((away < luck.uniform(0.3, 0.9)) & (far < 0), luck.uniform(0, 2), image)
    return image.clamp(min=0)


def beheld(head: Head, who: str, places: list[Tensor], mirrored: bool, luck: Luck) -> Tensor:
    """Another head fitted round the brain, (X, Y, Z), white matter about 1, in a made-up contrast; 0 where it ends."""
    at = [(p + room[0]) / STEP for p, room in zip(places, ROOM, strict=True)]
    value = linear([head.around[who]], Pose(at, mirrored))[0] / WHITE
    fine = luck.field(tuple(value.shape), 8)[0]
    bright = luck.uniform(0.6, 2.2)
    if luck.chance(0.5):
        out = value ** luck.uniform(0.6, 2.0) * (1 + luck.uniform(0, 0.3) * fine) * bright
    else:
        edges = torch.tensor([luck.uniform(0.08, 0.2), luck.uniform(0.3, 0.5), luck.uniform(0.6, 1.1)])
        tones = torch.tensor([luck.uniform(0, 0.05), luck.uniform(0, 0.4), luck.uniform(0.2, 1), bright])
        rough = value * (1 + luck.uniform(0, 0.3) * fine)
        out = tones[torch.bucketize(rough, edges)] + luck.uniform(0, 0.4) * value * (rough > edges[0])
    return torch.where(value > 0, out.clamp(min=1e-4), torch.zeros(()))


def scan(head: Head, view: View, luck: Luck, way: str = "", coarse: float = 0.5) -> Scan:
    """One made-up scan of a head, a share `coarse` of them in thick slices.

    `way` is what surrounds a brain, by chance unless said: one of those `around` it, "made up", or "none".
    """
    places, mirrored = posed(view, luck)
    if luck.chance(0.35) and not head.whole:
        places = pushed(head, places, luck.uniform(0, 7))
    shift = (head.step - 1) / 2
    seen = Pose([(p - shift) / head.step for p in places], mirrored)
    t1, near, inner = linear([head.image, head.near, head.inner], seen)
    tissue = codes(head.tissue, seen)
    t1, far = t1 / 255, FAR - near * STEP_MM
    brain = far < 0
    flesh = torch.where(brain & (tissue < SOFT), tissue, torch.zeros((), dtype=torch.uint8))
    if luck.chance(0.4):  # wider sulci
        size = tuple(t1.shape)
        rim = (inner * STEP_MM < luck.uniform(0, 1.8) + 0.6 * luck.field(size, 30 / view.spacing)[0]) & brain
        flesh = torch.where(rim & (flesh > 0), torch.tensor(40, dtype=torch.uint8), flesh)
        t1 = torch.where(rim, t1 * luck.uniform(0.2, 0.5), t1)
    picture, like = signal(t1 * (flesh > 0), flesh, luck)
    picture = hurt(picture, far, view.spacing, luck)
    if head.whole:
        image = outer(picture, t1, tissue, far, luck, like)
    else:
        image = dressed(head, places, mirrored, picture, flesh, far, luck, like, way or chosen(head, luck))
    return Scan(acquired(image, far, view.spacing, luck, coarse), far)


def codes(tissue: Tensor, seen: Pose) -> Tensor:
    """Tissue of the nearest voxel (X, Y, Z), sides exchanged where mirrored; codes outside the brain as they are."""
    size = seen.points[0].shape
    index, inside = torch.zeros(size, dtype=torch.int64), torch.ones(size, dtype=torch.bool)
    for p, n in zip(seen.points, tissue.shape, strict=True):
        p = p.round().long()
        inside &= (p >= 0) & (p < n)
        index = index * n + p.clamp(0, n - 1)
    found = torch.take(tissue, index) * inside
    table = torch.cat([SWAP, torch.arange(len(SWAP), 256, dtype=torch.uint8)])
    return table[found.long()] if seen.mirrored else found


def chosen(head: Head, luck: Luck) -> str:
    """What is to surround a brain."""
    at, others = luck.uniform(0, 1), [*head.around]
    if at < OTHERS and others:
        return others[luck.below(len(others))]
    return "none" if at > 1 - NOTHING else "made up"


def outer(picture: Tensor, t1: Tensor, tissue: Tensor, far: Tensor, luck: Luck, like: str) -> Tensor:
    """A real head's own surroundings round the brain, in its own contrast or in a made-up one."""
    white = float(t1[(tissue == 1)].median()) if (tissue == 1).any() else 0.7
    own = t1 / white
    if like == "t1" and luck.chance(0.7):
        around = own ** luck.uniform(0.7, 1.4) * luck.uniform(0.7, 1.4)
    else:
        tones = torch.zeros(256)
        tones[SOFT:] = torch.rand(256 - SOFT, generator=luck.generator) * luck.uniform(0.6, 2)
        tones[SOFT] = luck.uniform(0, 0.05)
        if luck.chance(0.5):
            tones[SOFT : SOFT + 3] = tones[SOFT : SOFT + 3] * 0.2
        around = tones[tissue.long()] + luck.uniform(-0.5, 0.5) * own * (tissue > SOFT)
    return torch.where(far < 0, picture, around.clamp(min=0))


def dressed(
    head: Head, places: list[Tensor], mirrored: bool, picture: Tensor, flesh: Tensor, far: Tensor, luck: Luck,
    like: str, way: str,
) -> Tensor:  # fmt: skip
    """A brain with what surrounds it, both in units of white matter."""
    bright = levels(like, luck)
    groups = GROUP[flesh.long()]
    wet = torch.isin(groups, FLUIDS)
    if wet.sum() > 50 and luck.chance(0.8):
        bright[FLUID] = picture[wet].mean()
    hollow = (far < 0) & (flesh == 0)  # between the folds
    if way == "none":
        reach = luck.uniform(-1, 1.5) if luck.chance(0.7) else luck.uniform(0, 5)
        edge = far + 0.4 * luck.field(tuple(far.shape), 12)[0]
        around = torch.where(edge < reach, bright[FLUID], 0)
        inside = torch.where(hollow, bright[FLUID] * luck.chance(0.5), picture)
        return torch.where(far < min(reach, 0), inside, around)
    stem = (groups == 12) & (far > -6)
    tail = [float((t - m) * h / s) for t, m, h, s in zip(head.tail, head.middle, HALF, head.half, strict=True)]
    if stem.sum() > 30:
        bright[TISSUES.index("cord")] = picture[stem].mean() * math.exp(luck.one(0.1))
    own = [(p - m) * (h / s) for p, m, h, s in zip(places, head.middle, HALF, head.half, strict=True)]
    around = None
    if way == "made up" or luck.chance(0.5):
        kinds, _ = covered(own, far, tail, luck)
        around = coloured(kinds, bright, luck)
    if way != "made up":
        real = beheld(head, way, places, mirrored, luck)
        gap = luck.uniform(0, 3) * (1 + 0.3 * luck.field(tuple(far.shape), 14)[0])
        real = torch.where(far < gap, bright[FLUID], real)
        low = own[2] < -55  # below, where the other head ends
        around = real if around is None else torch.where((real > 0) | ~low, real, around)
    inside = torch.where(hollow, bright[FLUID] * (1 + 0.05 * luck.normal(*far.shape)), picture)
    return torch.where(far < 0, inside, around)


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


def heads(data: Path, names: Sequence[str], step: int, real: Sequence[str] = ("colin",)) -> list[Head]:
    """Brains, with the average head and the `real` ones to be fitted round them, and after them the real ones whole."""
    made = [prepare(data, name, step, ("average", *real)) for name in names]
    return made + [prepare(data, name, step, whole=True) for name in real]


def sheet(scans: list[Scan]) -> Image.Image:
    """Three planes of each, the brain outlined: a row a scan."""
    rows = []
    for image, far in scans:
        tiles = []
        top = max(float(image.flatten()[::17].quantile(0.99)), 1e-3)
        for axis in range(3):
            at = int((far < 0).sum([a for a in range(3) if a != axis]).argmax())
            grey = (image.select(axis, at) / top * 230).clamp(0, 255).byte().numpy().T[::-1]
            edge = (far.select(axis, at).abs() < 1).numpy().T[::-1]
            for outlined in (False, True):
                tile = np.repeat(grey[..., None], 3, -1).copy()
                if outlined:
                    tile[edge] = (255, 60, 60)
                tile = tile[:150, :150]
                tiles.append(np.pad(tile, [(0, 150 - tile.shape[0]), (0, 150 - tile.shape[1]), (0, 0)]))
        rows.append(np.concatenate(tiles, 1))
    return Image.fromarray(np.concatenate(rows, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    there = heads(args.data, split(names_in(args.data / "brain_t1"))["train"][:3], 2)
    scans = []
    for row in range(args.rows):
        luck = Luck(args.seed + row)
        head = there[luck.below(len(there))]
        scans.append(scan(head, whole(head, 2.0, luck), luck))
    sheet(scans).save(args.out)


if __name__ == "__main__":
    main()
