"""Made-up scans of known kind: labelled brains painted in a sequence, within a head, and bodies that are no head."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.scan_recognition import NO_HEAD
from medapp.imaging.scan_kinds import CT, FLAIR, PD, PET, T1, T1_CONTRAST, T2
from training.core.random_source import RandomSource
from training.data.brain_contrasts import add_pathology, add_surroundings, choose_surroundings
from training.data.brain_heads import FAR_MM, FIRST_OUTSIDE_CODE, STEP_MM, Head
from training.data.brain_scans import MIRRORED_CODE, draw_field_of_view, draw_points, widen_ventricles
from training.data.brain_tissues import FLUID_TISSUES, TISSUE_GROUP
from training.data.head_shells import FLUID, HALF_BOX, LIKE_T1, TISSUES, draw_tissues, render_tissues
from training.data.random_contrast import box_blur, map_contrast, synthesize_flair
from training.data.random_pose import Pose, draw_rotation, sample_linear, sample_nearest
from training.data.scan_kinds import KindScan, to_bytes

SPACING = 3.0  # mm
BARE_SHARE = 0.3  # of the brains, without anything round them
MADE_UP = (T1, T1_CONTRAST, FLAIR, T2, PD, CT, PET)
LIKE = {T1: "t1", FLAIR: "flair", T2: "t2"}  # kinds whose heads `add_surroundings` makes

# Brightness of fluid, grey, white matter and above, in units of white matter, from low to high.
KNOTS = {
    T2: ((1.7, 3.4), (1.08, 1.6), (1, 1), (0.85, 1)),
    PD: ((0.8, 1.3), (1.08, 1.4), (1, 1), (0.9, 1)),
    CT: ((0.1, 0.7), (1.05, 1.3), (1, 1), (0.95, 1)),
    PET: ((0.1, 0.6), (1.5, 3.2), (1, 1), (0.8, 1)),
}
HU_KNOTS = ((0.96, 0.99), (1.0, 1.01), (1, 1), (0.995, 1))  # where air is 0: hardly any contrast
SURROUNDINGS = {  # brightness of TISSUES in units of white matter
    T1_CONTRAST: tuple(
        {"dura": (1.2, 2.2), "vessel": (1.5, 2.8), "gland": (1.3, 2.6)}.get(name, between)
        for name, between in zip(TISSUES, LIKE_T1, strict=True)
    ),
    PD: ((0, 0.04), (0.8, 1.3), (0.3, 1), (0, 0.2), (0.6, 1.8), (0.5, 1.0), (0.8, 2.2), (0.5, 1.4), (0.8, 1.6),
         (0.8, 1.4), (0.8, 1.3), (0, 1.0)),
    CT: ((0, 0), (0.1, 0.7), (1.1, 1.6), (2.0, 4.0), (1.4, 3.0), (1.2, 1.6), (0, 0.2), (0.8, 1.4), (1.1, 1.5),
         (0.1, 0.6), (0.9, 1.1), (1.1, 1.5)),
    PET: ((0, 0.02), (0.1, 0.5), (0.2, 0.6), (0.05, 0.4), (0.1, 0.6), (0.2, 0.8), (0.02, 0.2), (0.1, 0.4), (0.3, 1.2),
          (0.1, 0.4), (0.4, 0.9), (0.3, 0.8)),
}  # fmt: skip
HU_SURROUNDINGS = ((0, 0), (0.96, 0.99), (1, 1.05), (1.4, 2.2), (1.1, 1.5), (1.0, 1.04), (0.86, 0.9), (0.9, 1.02),
                   (1.0, 1.04), (0.96, 0.99), (0.99, 1.01), (1.0, 1.04))  # fmt: skip


def draw_between(ranges, rng: RandomSource) -> list[float]:
    """Draw a number from each of the ranges (low, high)."""
    return [rng.uniform(*between) for between in ranges]


def paint_brain(t1: Tensor, tissue: Tensor, kind: str, in_hu: bool, rng: RandomSource) -> Tensor:
    """Return a brain in another kind of scan, in units of white matter; `t1` is in these, too."""
    if kind in (T1, T1_CONTRAST):
        return t1 ** math.exp(rng.gauss(0.25))
    if kind == FLAIR:
        return synthesize_flair(t1, tissue, rng)
    knots = draw_between(HU_KNOTS if in_hu else KNOTS[kind], rng)
    picture = map_contrast(t1, tissue, knots, rng, 0.003 if in_hu else 0.03)
    fluids = torch.isin(TISSUE_GROUP[tissue.long()], FLUID_TISSUES)
    return torch.where(fluids & (t1 < 0.5), knots[0] + 0.3 * (picture - knots[0]), picture).clamp(min=0)


def make_head(head: Head, kind: str, rng: RandomSource) -> KindScan:
    """Return a made-up scan of a labelled head as `kind`, in voxels of SPACING, before a scanner."""
    view = draw_field_of_view(head, SPACING, rng, cut=0.1)
    places, mirrored = draw_points(view, rng)
    if rng.bernoulli(0.35):
        places = widen_ventricles(head, places, rng.uniform(0, 7))
    pose = Pose([(p - (head.step - 1) / 2) / head.step for p in places], mirrored)
    image, near = sample_linear([head.image, head.near], pose)
    tissue, far = sample_nearest(head.tissue, pose, MIRRORED_CODE), FAR_MM - near * STEP_MM
    flesh = torch.where((far < 0) & (tissue < FIRST_OUTSIDE_CODE), tissue, torch.zeros((), dtype=torch.uint8))
    groups = TISSUE_GROUP[flesh.long()]
    white = (groups == 1) | (groups == 5)
    t1 = image / image[white].median().clamp(min=1) if white.sum() > 100 else image / 255
    in_hu = kind == CT and rng.bernoulli(0.4)
    picture = add_pathology(paint_brain(t1 * (flesh > 0), flesh, kind, in_hu, rng), far, SPACING, rng)
    bare = rng.bernoulli(BARE_SHARE) and kind not in (CT, T1_CONTRAST)
    if bare or kind in LIKE:
        way = "none" if bare else choose_surroundings(head, rng)
        out = add_surroundings(head, places, mirrored, picture, flesh, far, rng, LIKE.get(kind, "t2"), way)
    else:
        bright = torch.tensor(draw_between(HU_SURROUNDINGS if in_hu else SURROUNDINGS[kind], rng))
        wet = torch.isin(groups, FLUID_TISSUES)
        if wet.sum() > 50:
            bright[FLUID] = picture[wet].mean()
        tail = [float((t - m) * h / s) for t, m, h, s in zip(head.tail, head.middle, HALF_BOX, head.half, strict=True)]
        own = [(p - m) * (h / s) for p, m, h, s in zip(places, head.middle, HALF_BOX, head.half, strict=True)]
        around = render_tissues(draw_tissues(own, far, tail, rng)[0], bright, rng)
        hollow = (far < 0) & (flesh == 0)
        out = torch.where(far < 0, torch.where(hollow, bright[FLUID], picture), around)
    if kind == PET:
        out = box_blur(out, 1 + rng.randint(2))
    brain = None if bare else (far < rng.uniform(0, 2)).numpy()
    return KindScan(kind, "made up", to_bytes(out.numpy()), SPACING, brain)


def make_stranger(bodies: list[KindScan], rng: RandomSource) -> KindScan:
    """Return what is no head: a body in random tones, a made-up body, limbs, or noise."""
    way = rng.uniform(0, 1)
    if way < 0.5 and bodies:
        scan = bodies[rng.randint(len(bodies))]
        if rng.bernoulli(0.4):
            return scan
        tones = torch.rand(8, generator=rng.generator).numpy()
        tones[0] = 0
        return scan._replace(image=(np.interp(scan.image, np.linspace(0, 255, 8), tones) * 255).astype(np.uint8))
    size = (70, 80, 70)
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in size), indexing="ij")
    bent = [p + rng.uniform(0, 0.3) * rng.smooth_field(size, 30)[0] for p in (x, y, z)]
    if way < 0.85:
        radii = [rng.uniform(0.4, 1.3) for _ in range(3)]
        if rng.bernoulli(0.5):
            radii[rng.randint(3)] = 20.0  # a limb, a neck, a trunk
        inside = sum((p / r) ** 2 for p, r in zip(bent, radii, strict=True)) < 1
        out = torch.full(size, rng.uniform(0.3, 1))
        for _ in range(rng.randint(14)):
            centre, reach = [rng.uniform(-0.8, 0.8) for _ in range(3)], rng.uniform(0.08, 0.5)
            stretch = [math.exp(rng.gauss(0.5)) for _ in range(3)]
            organ = sum(((p - c) / s) ** 2 for p, c, s in zip(bent, centre, stretch, strict=True)) < reach**2
            out = torch.where(organ, rng.uniform(0, 1.5), out)
        out = out * (1 + rng.uniform(0, 0.3) * rng.smooth_field(size, rng.uniform(3, 12))[0])
        out = torch.where(inside, out, torch.zeros(()))
    else:
        out = rng.smooth_field(size, rng.uniform(1.5, 25))[0]
        if rng.bernoulli(0.5):
            out = out.clamp(min=rng.uniform(-1, 1))
        if rng.bernoulli(0.3):
            out = torch.rand(size, generator=rng.generator)
    return KindScan(NO_HEAD, "made up", to_bytes(out.numpy()), SPACING)


def acquire(scan: KindScan, spacing: float, rng: RandomSource) -> np.ndarray:
    """Return a scan as some scanner and some hands leave it: (X, Y, Z) float32 along RAS in voxels of `spacing` mm.

    It is turned, scaled to a child's size now and then, cut, stripped of its skull or face, in thick slices, shaded,
    noisy, upside down, and on another scale of brightness.
    """
    one = rng.uniform
    image = torch.from_numpy(np.ascontiguousarray(scan.image)).float() / 255
    if scan.brain is not None and rng.bernoulli(0.3):
        inside = torch.from_numpy(np.ascontiguousarray(scan.brain)).float()
        image = image * (box_blur(inside) > one(0.2, 0.8))
    step = scan.step
    if step <= spacing / 2 and rng.bernoulli(0.75):  # quick
        image, step = F.avg_pool3d(image[None], 2)[0], 2 * step
    matrix = draw_rotation(25 if rng.bernoulli(0.15) else 8, rng)
    scale = one(1.08, 1.35) if rng.bernoulli(0.2) else math.exp(rng.gauss(0.05))
    matrix = matrix * scale * torch.exp(rng.normal(3, scale=0.04))[:, None]
    extent = torch.tensor(image.shape) * step / scale
    size = [max(10, round(float(n) / spacing)) for n in extent]
    if rng.bernoulli(0.25):  # cut, about a random middle
        axis = rng.randint(3)
        size[axis] = max(10, round(size[axis] * one(0.4, 1)))
    parts = 2 if step <= spacing / 2 else 1
    along = [(torch.arange(n * parts) - (n * parts - 1) / 2) * (spacing / parts / step) for n in size]
    grid = torch.stack(torch.meshgrid(*along, indexing="ij"), -1) @ matrix.T
    half = torch.tensor([(n - 1) / 2 for n in image.shape])
    shift = (torch.rand(3, generator=rng.generator) - 0.5) * 0.1
    sampled = F.grid_sample(image[None, None], ((grid / half) + shift).flip(-1)[None], align_corners=True)
    out = F.avg_pool3d(sampled, parts)[0, 0] if parts > 1 else sampled[0, 0]
    shape = tuple(out.shape)
    if scan.kind != NO_HEAD and rng.bernoulli(0.1):  # the face taken off
        slope, at = one(0.3, 1.2), one(0.55, 0.8)
        y, z = torch.arange(shape[1]) / shape[1], torch.arange(shape[2]) / shape[2]
        out = out.masked_fill(((y[:, None] - slope * z > at - 0.2) & (z < 0.5))[None], 0)
    if rng.bernoulli(0.6):
        out = out * torch.exp(rng.smooth_field(shape, one(60, 150) / spacing)[0] * one(0, 0.3))
    if rng.bernoulli(0.45):
        axis, mm = (2 if rng.bernoulli(0.6) else rng.randint(3)), one(spacing, 9)
        flat = [max(2, round(n * spacing / mm)) if a == axis else n for a, n in enumerate(shape)]
        out = F.interpolate(out[None, None], flat, mode="area")
        out = F.interpolate(out, shape, mode="trilinear", align_corners=False)[0, 0]
    out = out.clamp(min=0) ** math.exp(rng.gauss(0.12))
    if rng.bernoulli(0.7):
        level = one(0, 0.04)
        out = ((out + rng.normal(*shape, scale=level)).square() + rng.normal(*shape, scale=level).square()).sqrt()
    if rng.bernoulli(0.3):
        out = out * (out > one(0.02, 0.1))
    if rng.bernoulli(0.5):
        out = out.flip(0)
    if rng.bernoulli(0.08):  # a header that is wrong
        axes = torch.randperm(3, generator=rng.generator).tolist()
        out = out.permute(*axes).flip([a for a in range(3) if rng.bernoulli(0.5)])
    return out.numpy()
