"""Random contrast, pathology and surroundings of a brain, in units of white matter."""

import math

import torch
from torch import Tensor

from training.core.random_source import RandomSource
from training.data.brain_heads import FIRST_OUTSIDE_CODE, Head
from training.data.brain_tissues import FLUID_TISSUES, TISSUE_GROUP
from training.data.head_shells import FLUID, HALF_BOX, TISSUES, draw_brightness, draw_tissues, render_tissues
from training.data.random_contrast import randomize_contrast, synthesize_flair
from training.data.random_pose import Pose, sample_linear
from training.data.template_head import HEAD_MARGIN, HEAD_STEP, WHITE_LEVEL

OTHER_HEAD_SHARE = 0.30  # of the brains, within another's head
BARE_SHARE = 0.20  # of the brains, skull-stripped; the rest is within a made-up head


def draw_contrast(t1: Tensor, tissue: Tensor, rng: RandomSource) -> tuple[Tensor, str]:
    """Return the brain in a random contrast, white matter 1, and what it resembles ("t1", ...); T1 is 0 to 1."""
    way = rng.uniform(0, 1)
    white = (TISSUE_GROUP[tissue.long()] == 1) | (TISSUE_GROUP[tissue.long()] == 5)
    level = t1[white].median() if white.sum() > 100 else t1.max()
    t1 = t1 / level.clamp(min=0.05)
    if way < 0.35:
        return t1 ** math.exp(rng.gauss(0.25)), "t1"
    if way < 0.5:
        return synthesize_flair(t1, tissue, rng), "flair"
    picture = randomize_contrast(t1.clamp(max=1.5), tissue, rng)
    level = picture[white].median() if white.sum() > 100 else picture.max()
    picture = picture / level.clamp(min=0.15)
    fluids = torch.isin(TISSUE_GROUP[tissue.long()], FLUID_TISSUES)
    wet = float(picture[fluids].mean()) if fluids.any() else 0
    return picture, "any" if rng.bernoulli(0.5) else "t2" if wet > 1 else "flair"


def add_pathology(image: Tensor, far: Tensor, spacing: float, rng: RandomSource) -> Tensor:
    """Add lesions, tumours and cavities to some of the brains."""
    if rng.bernoulli(0.2):
        spots = rng.smooth_field(tuple(image.shape), rng.uniform(5, 15) / spacing)[0] > rng.uniform(1.5, 3)
        image = torch.where(spots & (far < -2), image * rng.uniform(0.5, 1) + rng.uniform(-0.3, 1), image)
    if rng.bernoulli(0.15):
        centre = [rng.randint(n) for n in image.shape]
        radius = rng.uniform(8, 30) / spacing
        axes = [
            (torch.arange(n) - c) / (radius * math.exp(rng.gauss(0.2)))
            for n, c in zip(image.shape, centre, strict=True)
        ]
        away = (axes[0].square()[:, None, None] + axes[1].square()[:, None] + axes[2].square()).sqrt()
        away = away + 0.2 * rng.smooth_field(tuple(image.shape), 10 / spacing)[0]
        image = torch.where((away < 1) & (far < 0), rng.uniform(0, 2), image)
        image = torch.where((away < rng.uniform(0.3, 0.9)) & (far < 0), rng.uniform(0, 2), image)
    return image.clamp(min=0)


def choose_surroundings(head: Head, rng: RandomSource) -> str:
    """Return what is to surround a brain: the name of another head, "made up" or "none"."""
    at, others = rng.uniform(0, 1), [*head.around]
    if at < OTHER_HEAD_SHARE and others:
        return others[rng.randint(len(others))]
    return "none" if at > 1 - BARE_SHARE else "made up"


def add_surroundings(
    head: Head, places: list[Tensor], mirrored: bool, picture: Tensor, flesh: Tensor, far: Tensor, rng: RandomSource,
    like: str, way: str,
) -> Tensor:  # fmt: skip
    """Return a brain with what surrounds it, both in units of white matter."""
    bright = draw_brightness(like, rng)
    groups = TISSUE_GROUP[flesh.long()]
    wet = torch.isin(groups, FLUID_TISSUES)
    if wet.sum() > 50 and rng.bernoulli(0.8):
        bright[FLUID] = picture[wet].mean()
    hollow = (far < 0) & (flesh == 0)  # between the folds
    if way == "none":
        reach = rng.uniform(-1, 1.5) if rng.bernoulli(0.7) else rng.uniform(0, 5)
        edge = far + 0.4 * rng.smooth_field(tuple(far.shape), 12)[0]
        around = torch.where(edge < reach, bright[FLUID], 0)
        inside = torch.where(hollow, bright[FLUID] * rng.bernoulli(0.5), picture)
        return torch.where(far < min(reach, 0), inside, around)
    stem = (groups == 12) & (far > -6)
    tail = [float((t - m) * h / s) for t, m, h, s in zip(head.tail, head.middle, HALF_BOX, head.half, strict=True)]
    if stem.sum() > 30:
        bright[TISSUES.index("cord")] = picture[stem].mean() * math.exp(rng.gauss(0.1))
    own = [(p - m) * (h / s) for p, m, h, s in zip(places, head.middle, HALF_BOX, head.half, strict=True)]
    around = None
    if way == "made up" or rng.bernoulli(0.5):
        kinds, _ = draw_tissues(own, far, tail, rng)
        around = render_tissues(kinds, bright, rng)
    if way != "made up":
        real = sample_other_head(head, way, places, mirrored, rng)
        gap = rng.uniform(0, 3) * (1 + 0.3 * rng.smooth_field(tuple(far.shape), 14)[0])
        real = torch.where(far < gap, bright[FLUID], real)
        low = own[2] < -55  # below, where the other head ends
        around = real if around is None else torch.where((real > 0) | ~low, real, around)
    inside = torch.where(hollow, bright[FLUID] * (1 + 0.05 * rng.normal(*far.shape)), picture)
    return torch.where(far < 0, inside, around)


def sample_other_head(head: Head, who: str, places: list[Tensor], mirrored: bool, rng: RandomSource) -> Tensor:
    """Return another head fitted round the brain in a random contrast: (X, Y, Z), white matter about 1, 0 where it
    ends.
    """
    at = [(p + room[0]) / HEAD_STEP for p, room in zip(places, HEAD_MARGIN, strict=True)]
    value = sample_linear([head.around[who]], Pose(at, mirrored))[0] / WHITE_LEVEL
    fine = rng.smooth_field(tuple(value.shape), 8)[0]
    bright = rng.uniform(0.6, 2.2)
    if rng.bernoulli(0.5):
        out = value ** rng.uniform(0.6, 2.0) * (1 + rng.uniform(0, 0.3) * fine) * bright
    else:
        edges = torch.tensor([rng.uniform(0.08, 0.2), rng.uniform(0.3, 0.5), rng.uniform(0.6, 1.1)])
        tones = torch.tensor([rng.uniform(0, 0.05), rng.uniform(0, 0.4), rng.uniform(0.2, 1), bright])
        rough = value * (1 + rng.uniform(0, 0.3) * fine)
        out = tones[torch.bucketize(rough, edges)] + rng.uniform(0, 0.4) * value * (rough > edges[0])
    return torch.where(value > 0, out.clamp(min=1e-4), torch.zeros(()))


def randomize_surroundings(
    picture: Tensor, t1: Tensor, tissue: Tensor, far: Tensor, rng: RandomSource, like: str
) -> Tensor:
    """Return a brain with its own real head round it, in that head's contrast or in a random one."""
    white = float(t1[(tissue == 1)].median()) if (tissue == 1).any() else 0.7
    own = t1 / white
    if like == "t1" and rng.bernoulli(0.7):
        around = own ** rng.uniform(0.7, 1.4) * rng.uniform(0.7, 1.4)
    else:
        tones = torch.zeros(256)
        tones[FIRST_OUTSIDE_CODE:] = torch.rand(256 - FIRST_OUTSIDE_CODE, generator=rng.generator) * rng.uniform(0.6, 2)
        tones[FIRST_OUTSIDE_CODE] = rng.uniform(0, 0.05)
        if rng.bernoulli(0.5):
            tones[FIRST_OUTSIDE_CODE : FIRST_OUTSIDE_CODE + 3] = (
                tones[FIRST_OUTSIDE_CODE : FIRST_OUTSIDE_CODE + 3] * 0.2
            )
        around = tones[tissue.long()] + rng.uniform(-0.5, 0.5) * own * (tissue > FIRST_OUTSIDE_CODE)
    return torch.where(far < 0, picture, around.clamp(min=0))
