"""MS lesions of real shapes transplanted into other brains, and FLAIR, T1 and T2 synthesised with them.

Contrasts come from the tissues of a T1 scan and are not just anything, since what looks like a lesion and is none (rims
and caps of the ventricles, choroid plexus, septum, insula, flow) has to look as it does in FLAIR.
"""

import math
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from medapp.analysis.mask_metrics import find_bounding_box, label_components
from medapp.imaging.brain_labels import MIRROR_CLASSES
from training.core.random_source import RandomSource
from training.data.brain_tissues import BASAL, CHIASM, FLUID, RIM, TISSUE_CLASS, TISSUE_GROUP, VERMIS
from training.data.random_contrast import box_blur, map_contrast

MASK_BANK = "openms_masks_mni_train.npz"
CORNER = (-91.0, -126.0, -72.0)  # RAS+ mm of the first voxel of an MNI mask once its axes run along RAS, 1 mm apart
NUCLEI = {7: (12, -18, 8), 8: (13, 11, 9), 9: (26, 4, 2), 10: (20, 0, 0), 14: (27, -21, -10), 15: (25, 0, -17)}
"""Class on the left -> where its centre lies in MNI space, RAS+ mm, on the right."""
EXTENT = ((-68, 68), (-103, 70), (None, 77))  # of the cerebrum along x, y, z: RAS+ mm of its outermost voxels
SHIFTS, SHIFT_MM = 48, 4.0  # tried for every lesion, and how far they go


def _per_tissue(values: dict[int, float], rest: float) -> Tensor:
    """A value for every tissue, given for the left and the middle; `rest` for the others."""
    return torch.tensor([values.get(int(g), rest) for g in TISSUE_GROUP])


WHITE = _per_tissue({1: 1, 5: 1}, 0) > 0
CORTEX = _per_tissue({2: 1, 6: 1, VERMIS: 1, BASAL: 1}, 0) > 0
SIDES = (TISSUE_CLASS == 3, TISSUE_CLASS == 22)  # lateral ventricles, left and right
WATER = _per_tissue({n: 1 for n in (3, 4, 11, 12, FLUID)}, 0) > 0
LESION_AFFINITY = _per_tissue(
    {1: 1, 5: 0.7, 13: 0.7, 17: 0.3, 7: 0.4, 8: 0.3, 9: 0.3, 10: 0.3, 14: 0.2, 2: 0.2, 6: 0.1, CHIASM: -1, RIM: -1}
    | dict.fromkeys((3, 4, 11, 12, FLUID), -1),
    -1,
)
VENTRICLE = _per_tissue({3: 1, 4: 1, 11: 1, 12: 1}, 0) > 0


def read_mask_bank(file: Path) -> dict[str, np.ndarray]:
    """Return patient -> indices (N, 3) of lesion voxels in MNI space at 1 mm along RAS, the first voxel at CORNER."""
    packed, masks = np.load(file), {}
    width = int(packed["shape"][0])
    for number, name in enumerate(packed["names"]):
        low, high = packed["bbox"][number, :3], packed["bbox"][number, 3:]
        shape = high - low
        bits = packed["bits"][packed["offset"][number] : packed["offset"][number + 1]]
        index = np.argwhere(np.unpackbits(bits, count=int(shape.prod())).reshape(shape)) + low
        index[:, 0] = width - 1 - index[:, 0]
        masks[str(name)] = index.astype(np.int16)
    return masks


def fit_to_mni(tissue: np.ndarray) -> np.ndarray:
    """Return (4, 4) from voxels of a brain (X, Y, Z) at 1 mm along RAS to RAS+ mm of MNI, by nuclei and extent."""
    white, cortex = WHITE.numpy(), CORTEX.numpy()
    cerebrum = np.argwhere((white | cortex)[tissue] & ~np.isin(TISSUE_CLASS.numpy()[tissue], (5, 6, 24, 25)))
    rows: list[list[np.ndarray]] = [[], [], []]
    goals: list[list[float]] = [[], [], []]
    for number, (x, y, z) in NUCLEI.items():
        for side, sign in ((number, -1), (MIRROR_CLASSES[number], 1)):
            index = np.argwhere(tissue == side)
            if not len(index):  # of a slab
                continue
            centre = np.append(index.mean(0), 1)
            for axis, goal in enumerate((sign * x, y, z)):
                rows[axis].append(centre)
                goals[axis].append(goal)
    for axis, limits in enumerate(EXTENT):
        order = np.argsort(cerebrum[:, axis], kind="stable")
        for few, limit in zip((order[:300], order[-300:]), limits, strict=True):
            if limit:
                rows[axis].append(np.append(cerebrum[few].mean(0), 1))
                goals[axis].append(limit)
    solved = [np.linalg.lstsq(np.array(r), np.array(g), rcond=None)[0] for r, g in zip(rows, goals, strict=True)]
    return np.vstack([*solved, (0, 0, 0, 1)])


def move_lesions(index: np.ndarray, affine: np.ndarray, shape: tuple[int, ...], rng: RandomSource) -> np.ndarray:
    """Move lesions of one brain roughly to their place in another: (X, Y, Z) bool, perhaps mirrored, scaled, bent.

    `affine` (4, 4) sends voxels of the new brain to RAS+ millimetres of MNI.
    """
    parts = np.stack(np.meshgrid(*[(-0.35, 0, 0.35)] * 3), -1).reshape(-1, 3)  # so that no hole is left
    mm = (index[:, None] + parts + CORNER).reshape(-1, 3)
    mm = mm * np.exp(rng.normal(3, scale=0.04).numpy()) + rng.normal(3, scale=1.5).numpy()
    waves, phases = rng.normal(3, 3, scale=1 / 12).numpy(), rng.normal(3, 3, scale=3).numpy()
    mm = mm + sum(2 * np.sin(mm @ wave + 1)[:, None] * np.sin(phase) for wave, phase in zip(waves, phases, strict=True))
    if rng.bernoulli(0.5):
        mm[:, 0] *= -1
    at = np.rint(np.c_[mm, np.ones(len(mm))] @ np.linalg.inv(affine).T)[:, :3].astype(int)
    out = np.zeros(shape, bool)
    out[tuple(at[((at >= 0) & (at < shape)).all(1)].T)] = True
    return out


def plant_lesions(rough: np.ndarray, tissue: np.ndarray, depth: np.ndarray, rng: RandomSource) -> np.ndarray:
    """Shift each lesion of (X, Y, Z) bool to where most of it lies in white matter, and cut it to the brain.

    `depth` is the distance from the ventricles in millimetres: what was beside them stays beside them.
    """
    worth, out = LESION_AFFINITY.numpy()[tissue], np.zeros(rough.shape, bool)
    labels, count = label_components(rough)
    edge = np.array(rough.shape) - 1
    for number, box in enumerate(ndimage.find_objects(labels, count), 1):
        index = np.argwhere(labels[box] == number) + [s.start for s in box]
        few = index[:: max(1, len(index) // 200)]
        shifts = np.r_[np.zeros((1, 3)), rng.normal(SHIFTS, 3, scale=SHIFT_MM).numpy()].round().astype(int)
        places = tuple((few[None] + shifts[:, None]).clip(0, edge).transpose(2, 0, 1))
        score = worth[places].mean(1) - 0.02 * np.linalg.norm(shifts, axis=1)
        if depth[tuple(few.T)].min() < 4:
            score += 0.5 * (depth[places].min(1) <= 1.5)
        if score.max() < 0.3:
            continue
        index = (index + shifts[score.argmax()]).clip(0, edge)
        least = 0.15 if rng.bernoulli(0.4) else 0.25  # some reach into the cortex
        out[tuple(index[worth[tuple(index.T)] > least].T)] = True
    if not out.any():
        return out
    box = tuple(slice(max(b.start - 3, 0), b.stop + 3) for b in find_bounding_box(out))
    gap = (depth[box] <= 2) & WHITE.numpy()[tissue[box]]
    out[box] |= gap & ndimage.binary_dilation(out[box], iterations=2)
    return out


def transplant_lesions(
    data: Path, tissue: np.ndarray, depth: np.ndarray, count: int, rng: RandomSource
) -> dict[str, np.ndarray]:
    """Return lesions of `count` people with MS as this brain might have them: patient -> indices (N, 3) int16."""
    affine, bank, out = fit_to_mni(tissue), read_mask_bank(data / "ms" / MASK_BANK), {}
    for number in torch.randperm(len(bank), generator=rng.generator)[:count].tolist():
        who = list(bank)[number]
        rough = move_lesions(bank[who], affine, tissue.shape, rng)
        out[who] = np.argwhere(plant_lesions(rough, tissue, depth, rng)).astype(np.int16)
    return out


def thin_lesions(soft: Tensor, rng: RandomSource) -> Tensor:
    """Keep some of the lesions (X, Y, Z), from all to a few: the load of patients varies a hundredfold."""
    labels, count = ndimage.label((soft > 0.2).numpy())
    if not count:
        return soft
    keep = torch.rand(count + 1, generator=rng.generator) < rng.uniform(0.1, 1.2)
    return soft * keep[torch.from_numpy(labels).long()]


def draw_specks(room: Tensor, rng: RandomSource) -> Tensor:
    """Draw a few small round lesions within `room` (X, Y, Z) bool: (X, Y, Z) 0 to 1."""
    spots = torch.zeros(room.shape)
    places = room.flatten().nonzero()[:, 0]
    for _ in range(rng.randint(8) if len(places) else 0):
        centre = np.unravel_index(int(places[rng.randint(len(places))]), tuple(room.shape))
        radius = rng.uniform(1.2, 3.5)
        box = tuple(slice(max(c - 6, 0), c + 7) for c in centre)
        away = torch.meshgrid(
            *(torch.arange(s.start, min(s.stop, n)) - c for s, c, n in zip(box, centre, room.shape, strict=True)),
            indexing="ij",
        )
        stretch = [math.exp(rng.gauss(0.25)) for _ in range(3)]
        far = sum((a * k) ** 2 for a, k in zip(away, stretch, strict=True)) ** 0.5
        spots[box] = torch.maximum(spots[box], (radius + 0.5 - far).clamp(0, 1))
    return spots * room


def synthesize_ms_flair(t1: Tensor, tissue: Tensor, depth: Tensor, rng: RandomSource) -> Tensor:
    """Return FLAIR (X, Y, Z) of a brain without lesions, white matter near 0.5, with normal hyperintensities."""
    size = tuple(t1.shape)
    white, fluid = 0.5, rng.uniform(0.0, 0.2)
    grey = white * rng.uniform(0.95, 1.2)
    image = map_contrast(t1, tissue, (fluid, grey, white, white * rng.uniform(0.85, 1)), rng, rng.uniform(0.01, 0.04))
    image = torch.where(CORTEX[tissue.long()] & (t1 > 0.4), image.clamp(max=grey * 1.1), image)
    brain, water = WHITE[tissue.long()], WATER[tissue.long()]
    image = torch.where(water, torch.minimum(image, torch.tensor(white)) * rng.uniform(0.3, 1) + 0.3 * fluid, image)
    image = image * (1 - rng.uniform(0, 0.3) * (TISSUE_GROUP[tissue.long()] == 10))  # iron in the pallidum
    coarse, fine = rng.smooth_field(size, 34)[0], rng.smooth_field(size, 11)[0]
    if rng.bernoulli(0.8):  # rims and caps of the ventricles
        rim = rng.uniform(0, 0.25) * torch.exp(-depth / rng.uniform(0.7, 2)) * (0.7 + 0.3 * fine)
        caps = rng.uniform(0, 0.2) * torch.exp(-depth / rng.uniform(2, 5)) * coarse.clamp(0, 2)
        image = image + (rim + caps).clamp(min=0) * brain
    if rng.bernoulli(0.5):  # white matter a little brighter far and wide
        image = image + rng.uniform(0, 0.08) * (coarse + 0.5).clamp(0, 1.5) * torch.exp(-depth / 12) * brain
    if rng.bernoulli(0.8):  # grey matter: insula, cingulum, temporal pole, hippocampus; brain stem
        patches = rng.uniform(0, 0.15) * coarse.flip(0).clamp(0, 1.5) + rng.uniform(0, 0.1) * fine.flip(2).clamp(0, 2)
        image = image + patches * (brain.logical_not() & (t1 > 0.5) & ~water)
    if rng.bernoulli(0.6):  # choroid plexus
        plexus = (SIDES[0] | SIDES[1])[tissue.long()] * ((fine - rng.uniform(0.6, 1.6)) * 3).clamp(0, 1)
        image = torch.lerp(image, torch.tensor(rng.uniform(0.3, 0.8)), plexus)
    if rng.bernoulli(0.4):  # flow in the third and fourth ventricle and the cisterns
        place = water & ~(SIDES[0] | SIDES[1])[tissue.long()]
        image = image + rng.uniform(0, 0.6) * ((fine.flip(1) - 1) * 2).clamp(0, 1) * place
    if rng.bernoulli(0.6):  # septum
        left, right = (box_blur(side[tissue.long()].float()) for side in SIDES)
        image = image + rng.uniform(0, 0.6) * (4 * left * right * water).clamp(0, 1)
    return image.clamp(min=0)


def paint_lesions(images: dict[str, Tensor], soft: Tensor, rng: RandomSource) -> dict[str, Tensor]:
    """Paint lesions, whose share is `soft`, into images by sequence with white matter near 0.5 (T1: 1)."""
    if not soft.any():
        return images
    size = tuple(soft.shape)
    share = box_blur(soft, 1 + rng.randint(2)) if rng.bernoulli(0.7) else soft
    halo = box_blur(soft, 6) * rng.uniform(0, 0.15)
    uneven = (
        1
        + rng.uniform(0.05, 0.25) * rng.smooth_field(size, 12)[0]
        + rng.uniform(0, 0.12) * rng.smooth_field(size, 4)[0]
    )
    hole = ((rng.smooth_field(size, 10)[0] - 0.7) * 2).clamp(0, 1) * rng.uniform(0, 1) * share**3 * rng.bernoulli(0.35)
    out = dict(images)
    bright = 0.5 * (1 + rng.uniform(0.3, 0.8) * uneven.clamp(0.5, 1.6))
    base = images["flair"]
    level = torch.maximum(bright * (1 - 0.8 * hole), base * (1 - hole))
    out["flair"] = torch.lerp(base, level, share) + halo * 0.5 * (base > 0.25)
    dark = (1 - rng.uniform(-0.05, 0.5) * uneven.clamp(0, 2) - 0.4 * hole).clamp(0.25, 1.05)
    if "t1" in images:
        out["t1"] = torch.lerp(images["t1"], torch.minimum(images["t1"], dark), share)
    wet = (0.5 * (1 + rng.uniform(0.3, 1.2) * uneven) + 0.4 * hole).clamp(0.4, 1.6)
    if "t2" in images:
        out["t2"] = torch.lerp(images["t2"], torch.maximum(images["t2"], wet), share) + halo * 0.3
    return out
