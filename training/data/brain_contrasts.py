"""How bright a brain is, what is wrong with it, and what surrounds it, all made up, in units of white matter."""

import math

import torch
from torch import Tensor

from training.core.random_source import Luck
from training.data.brain_heads import SOFT, Head
from training.data.brain_tissues import FLUIDS, GROUP
from training.data.head_shells import FLUID, HALF, TISSUES, coloured, covered, levels
from training.data.random_contrast import flaired, recoloured
from training.data.random_pose import Pose, linear
from training.data.template_head import ROOM, STEP, WHITE

OTHERS, NOTHING = 0.30, 0.10  # shares of the brains within another's head, and without any; the rest is made up


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


def chosen(head: Head, luck: Luck) -> str:
    """What is to surround a brain."""
    at, others = luck.uniform(0, 1), [*head.around]
    if at < OTHERS and others:
        return others[luck.below(len(others))]
    return "none" if at > 1 - NOTHING else "made up"


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
