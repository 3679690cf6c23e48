"""Random skull, scalp, face and neck round any brain: a map of tissues, and their brightness."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from training.core.random_source import RandomSource

TISSUES = ("air", "fluid", "dura", "bone", "marrow", "muscle", "fat", "skin", "gland", "vitreous", "cord", "vessel")
AIR, FLUID, DURA, BONE, MARROW, MUSCLE, FAT, SKIN, GLAND, VITREOUS, CORD, VESSEL = range(len(TISSUES))
HALF_BOX = torch.tensor([68.0, 86.0, 66.0])  # mm, half the box round an adult's brain, in which shapes are given

LIKE_T1 = ((0, 0.03), (0.05, 0.35), (0.2, 1.3), (0, 0.15), (0.4, 1.8), (0.4, 0.8), (1.1, 2.6), (0.5, 1.5), (0.4, 1.0),
           (0.05, 0.4), (0.8, 1.1), (0, 1.6))  # fmt: skip
LIKE_T2 = ((0, 0.03), (1.3, 2.8), (0.1, 1.5), (0, 0.2), (0.4, 1.8), (0.2, 0.8), (0.6, 2.5), (0.3, 1.5), (0.6, 2.0),
           (1.3, 2.8), (0.8, 1.4), (0, 1.5))  # fmt: skip
LIKE_FLAIR = ((0, 0.03), (0.03, 0.4), (0.2, 1.5), (0, 0.2), (0.3, 1.6), (0.3, 0.9), (0.7, 2.4), (0.4, 1.5), (0.5, 1.6),
              (0.05, 0.5), (0.8, 1.3), (0, 1.2))  # fmt: skip


def draw_brightness(kind: str, rng: RandomSource) -> Tensor:
    """Return how bright each of TISSUES is, in units of white matter, in an image like "t1", "t2", "flair" or "any"."""
    if kind == "any":
        out = torch.rand(len(TISSUES), generator=rng.generator) * rng.uniform(0.8, 2)
        if rng.bernoulli(0.7):
            out[AIR], out[BONE] = rng.uniform(0, 0.05), rng.uniform(0, 0.25)
        return out
    ranges = {"t1": LIKE_T1, "t2": LIKE_T2, "flair": LIKE_FLAIR}[kind]
    out = torch.tensor([rng.uniform(*between) for between in ranges])
    if rng.bernoulli(0.2):  # fat suppressed
        out[FAT], out[MARROW] = rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.4)
    return out


class BrainShapes:
    """Ellipsoids and tubes round a brain: `places` (X, Y, Z) three times, mm from its middle as in HALF_BOX."""

    def __init__(self, places: Sequence[Tensor]) -> None:
        self.x, self.y, self.z = places

    def ellipsoid(self, centre: Sequence[float], axes: Sequence[float]) -> Tensor:
        """Return roughly the distance in mm from an ellipsoid, negative inside, exact at its border alone."""
        a, b, c = (((p - m) / r).square_() for p, m, r in zip((self.x, self.y, self.z), centre, axes, strict=True))
        return a.add_(b).add_(c).sqrt_().sub_(1).mul_(min(axes))

    def tube(self, x: Tensor | float, y: Tensor | float, across: float, along: float, top: float) -> Tensor:
        """Return the same for a tube downwards from `top`, at x and y, which may change with z."""
        a, b = ((self.x - x) / across).square_(), ((self.y - y) / along).square_()
        out = a.add_(b).sqrt_().sub_(1).mul_(min(across, along))
        return torch.maximum(out, self.z - top)


def draw_tissues(
    places: Sequence[Tensor], far: Tensor, tail: Sequence[float], rng: RandomSource
) -> tuple[Tensor, Tensor]:
    """Return the tissue (X, Y, Z) uint8 of a random head, and roughly the distance in mm from its skin.

    `far` is the distance from the brain in millimetres, exact up to 30 mm; `tail` is where the brain ends downwards, in
    the millimetres of `places`.
    """
    size = tuple(far.shape)
    wide, coarse, fine = (rng.smooth_field(size, n)[0] for n in (40, 18, 7))
    wobble = rng.uniform(1, 5)
    shapes = BrainShapes([p + wobble * w for p, w in zip(places, (wide, coarse, wide.flip(0)), strict=True)])
    x, y, z = shapes.x, shapes.y, shapes.z
    child = rng.uniform(0.75, 1) if rng.bernoulli(0.25) else 1.0
    one = rng.uniform

    # the outside
    gap = (one(0.5, 3.5) + one(0, 1.5) * coarse).clamp(min=0.3)  # of fluid
    if rng.bernoulli(0.3):  # atrophy: more of it in front and on top
        gap = gap + one(0, 9) * ((z + 0.6 * y) / 80).clamp(0, 1)
    bone = gap + child * (one(3, 9) + one(0, 2) * wide).clamp(min=1.5)
    bone = bone + one(0, 12) * ((-z - 15) / 40).clamp(0, 1)  # the base
    skin = bone + (child * one(2, 10) + one(0, 1.5) * wide).clamp(min=1.0)
    outside = torch.maximum(far - skin, -z - one(50, 75))  # rounded off below the brain
    lean = one(-0.25, 0.35)
    face = one(0.8, 1.1) * child
    if rng.bernoulli(0.9):
        outside = torch.minimum(outside, shapes.ellipsoid((0, 42, -58 * face), (60 * face, 58, 62 * face)))
        outside = torch.minimum(outside, shapes.ellipsoid((0, 45, -100 * face), (48 * face, 50 * face, 38)))
        outside = torch.minimum(outside, shapes.ellipsoid((0, 100 * face, -62 * face), (14, one(12, 24), 20)))
    neck_x, neck_y = one(-4, 4), one(-35, -15) - lean * (z + 60)
    neck = shapes.tube(neck_x, neck_y, one(50, 75) * child, one(52, 75) * child, -20)
    neck = neck - one(0, 0.5) * (-z - one(120, 170)).clamp(min=0)  # shoulders
    outside = torch.minimum(outside, neck)
    if rng.bernoulli(0.7):
        for side in (-1, 1):
            outside = torch.minimum(outside, shapes.ellipsoid((side * (80 + one(0, 8)), -12, -42), (one(3, 9), 16, 26)))

    # soft tissue
    layer = (child * one(1, 7) + one(0, 3) * wide + one(0, 0.08) * (-z - 30).clamp(0, 90)).clamp(
        min=0
    )  # fat under skin
    grain = 0.7 * coarse + 0.7 * fine
    streak = one(0.3, 1.5)
    out = torch.full(size, MUSCLE, dtype=torch.uint8)

    def paint(where: Tensor, tissue: int) -> None:
        out.masked_fill_(where, tissue)

    paint(grain > streak, FAT)
    paint(grain < -one(1.2, 2.5), GLAND)
    paint((fine.abs() < one(0, 0.15)) & (coarse > 0), FAT)  # between muscles
    paint(outside > -layer - 2, FAT)
    paint(outside > -one(0.8, 3), SKIN)
    # hollows and what fills them
    paint(shapes.ellipsoid((0, 60, -72 * face), (one(6, 14), 34, 22)) < 2 * fine, AIR if rng.bernoulli(0.6) else GLAND)
    for side in (-1, 1):
        paint(shapes.ellipsoid((side * 27, 62, -72 * face), (14, 18, 18)) < 0, AIR if rng.bernoulli(0.8) else GLAND)
        paint(shapes.ellipsoid((side * 52, -18, -52), (9, 14, 14)) < 3 * fine, AIR if rng.bernoulli(0.6) else BONE)
        paint(shapes.ellipsoid((side * 45, 25, -80 * face), (12, 14, 24)) < 2 * coarse, MUSCLE)  # chews
    paint(shapes.ellipsoid((0, 52, -98 * face), (24, 30, 18)) < 0, MUSCLE)  # tongue
    jaw = shapes.ellipsoid((0, 40, -104 * face), (44 * face, 52 * face, 12))
    paint((jaw.abs() < 4) & (y > 5), BONE if rng.bernoulli(0.5) else MARROW)
    paint(shapes.ellipsoid((0, 66, -92 * face), (24, 26, 5)).abs() < 2.5, BONE)  # teeth
    airway = 14 - 0.6 * lean * (z + 80)
    paint(shapes.tube(0, airway, one(5, 12), one(5, 10), -62) < fine, AIR)
    # the spine
    back = tail[1] - lean * (z - tail[2])
    bones = shapes.tube(tail[0], back, 24, 26, tail[2] - 8)
    discs = torch.sin(z / one(2.4, 3.2)) > 0.7
    paint((bones < 2 * coarse) & (y > back - 6), MARROW)
    paint((bones < 2 * coarse) & (discs | (bones > -3)) & (y > back - 8), BONE if rng.bernoulli(0.5) else GLAND)
    paint((bones < -6 + 3 * fine) & (y < back - 8) & ~discs, BONE if rng.bernoulli(0.5) else MARROW)
    for side in (-1, 1):
        paint(shapes.tube(side * one(20, 34), airway - 8, one(2, 4), one(2, 4), -45) < 0, VESSEL)
        paint(shapes.tube(side * one(26, 40), airway - 14, one(3, 6), one(3, 6), -55) < 0, VESSEL)
    # the skull
    paint(far < bone, BONE)
    middle = (far - gap) / (bone - gap)
    if rng.bernoulli(0.85):
        thick = one(0.1, 0.35)
        paint((far < bone) & ((middle - 0.5).abs() < thick + 0.15 * fine), MARROW)
    if rng.bernoulli(0.6):
        paint(
            (far < bone) & (far > gap) & (shapes.ellipsoid((0, 85, -12), (22, 10, 14)) < 2 * fine), AIR
        )  # frontal sinus
        paint((far > gap) & (shapes.ellipsoid((0, 38, -45), (12, 14, 10)) < 0), AIR)  # sphenoid sinus
    # the eyes
    open_ = shapes.ellipsoid((0, 55, -36), (46, 40, 18)) < 0  # no bone in front of the orbits
    for side in (-1, 1):
        orbit = (shapes.ellipsoid((side * 29, 50, -36), (16, 28, 16)) < coarse) & (far > gap + 1.5)
        paint(orbit, FAT)
        paint(orbit & (shapes.ellipsoid((side * 24, 42, -36), (3, 24, 3)) < 0), CORD)  # nerve
        rim = shapes.ellipsoid((side * 29, 50, -36), (14, 26, 14))
        paint(orbit & (rim > -4) & (fine > 0.2), MUSCLE)
        paint((shapes.ellipsoid((side * 31, 64, -36), (12.5, 12.5, 12.5)) < 0) & (far > gap), VITREOUS)
    del open_
    # what lies within the skull, and what leaves it
    paint(far < gap, FLUID)
    if rng.bernoulli(0.7):
        paint((far < gap) & (far > gap - one(0.5, 2)) & (coarse > one(-1.5, 1)), DURA)
    if rng.bernoulli(0.6):
        paint((x.abs() < one(2, 6)) & (far > 0.3) & (far < one(2, 7)) & (z + 0.5 * y < 60) & (y < 40), VESSEL)
        for side in (-1, 1):
            paint((shapes.ellipsoid((side * 38, -62, -38), (26, 16, 5)) < 0) & (far > 0.3) & (far < 7), VESSEL)
    paint((fine.abs() < 0.05) & (far < gap) & (far > 0.3), VESSEL)
    canal = shapes.tube(tail[0], back, one(8, 12), one(7, 10), tail[2] + 12)
    paint((canal < 0) & (far > 0), FLUID)
    paint((shapes.tube(tail[0], back, one(5, 8), one(4.5, 7), tail[2] + 12) < 0) & (far > -0.1), CORD)
    paint(torch.minimum(outside, far - bone) > 0, AIR)
    return out, outside


def render_tissues(tissue: Tensor, bright: Tensor, rng: RandomSource) -> Tensor:
    """Return the signal (X, Y, Z) of a map of TISSUES, in units of white matter, each with its own texture."""
    size = tuple(tissue.shape)
    uneven = torch.tensor([0, 0.1, 0.2, 0.1, 0.3, 0.12, 0.15, 0.2, 0.3, 0.05, 0.06, 0.2]) * rng.uniform(0.3, 1.5)
    grain = rng.smooth_field(size, 5)[0] * 0.6 + rng.normal(*size, scale=0.5)
    index = tissue.long()
    return (bright[index] * (1 + uneven[index] * grain)).clamp(min=0) * math.exp(rng.gauss(0.05))
