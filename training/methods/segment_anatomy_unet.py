"""Trains the brain parcellation: `python -m training.methods.segment_anatomy_unet --data DATA --out OUT`.

DATA holds T1 scans without skull and their Neuromorphometrics labels, `ID_t1.nii.gz` and `ID_labels.nii.gz`. Most of
the patches keep the scan's own contrast, strongly varied; after a while the others get one made up from the labels
(domain randomisation as in SynthSeg, Billot et al. 2023, doi:10.1016/j.media.2023.102789), or with `--flair` one like
FLAIR, with lesions and in thick slices too; most get a made-up skull, scalp and neck, or an average head round them.
OUT gets `checkpoint.pt`, from which a killed run goes on as if nothing had happened, `best.safetensors` and `log.csv`;
the scans, turned to RAS, are kept in `runs/data`. Of scans other than ours a few are held out, see `split`.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from medapp.algorithms.parcellation import likeliest
from medapp.errors import UserError
from medapp.imaging.brain_labels import MIRROR, NAMES, translated
from medapp.imaging.geometry import isotropic, oriented, resample, respaced, slice_axis
from medapp.imaging.intensity import CLIP, GLARE, dimmed, standardize
from medapp.imaging.volume import Grid, Volume
from medapp.io import files
from medapp.networks.unet3d import UNet3D, blocks
from training.core.case import Case
from training.core.data_cache import folder
from training.core.options import Options
from training.core.precision import autocast
from training.core.run import Run, halved
from training.data.template_head import ROOM, STEP, WHITE, fitted

VALIDATION = ("1007", "1012", "1036")  # of our scans
TEST = ("1001", "1009", "1014", "1017")  # people scanned once: the rescans of the set are all trained on
RESCANS = {"1023": "1003", "1024": "1004", "1025": "1005", "1038": "1018", "1039": "1019"}  # of the same person
SEED = 20261122
MARGIN = 24  # voxels around what is not black
PATCH, WHOLE = (112, 128, 112), (144, 176, 160)  # voxels
MADE_UP, EASY = 0.3, 0.07  # share of the patches in a made-up contrast, and of the steps before the first
SETTLED = 0.3  # share of the steps after which the norms no longer follow each patch
STEP_MM = 0.25  # of the distance from the brain, kept as uint8

# Tissues, finer than the classes, for made-up contrasts: beyond the 36 classes these, with their class.
EXTRA = {"vermis left": 6, "vermis right": 25, "basal left": 2, "basal right": 21, "fluid": 0, "chiasm": 0, "rim": 0}
VERMIS, BASAL, FLUID, CHIASM, RIM = 36, 38, 40, 41, 42
CLASS = torch.tensor([*range(36), *EXTRA.values()], dtype=torch.uint8)
GROUP = torch.tensor([*(min(n, MIRROR[n]) for n in range(36)), *(36, 36, 38, 38), FLUID, CHIASM, RIM])  # no sides
SWAP = torch.tensor([*MIRROR, 37, 36, 39, 38, FLUID, CHIASM, RIM], dtype=torch.uint8)  # the other side
FLUIDS = torch.tensor([3, 4, 11, 12, FLUID, RIM])


class Scan(NamedTuple):
    """One scan at 1 mm, axes along RAS: (X, Y, Z) uint8; `distance` is from the brain, in steps of STEP_MM.

    `head` is the average head round it, on the grid of `template_head.fitted`.
    """

    image: Tensor
    tissue: Tensor
    distance: Tensor
    head: Tensor | None = None


def names_in(data: Path) -> list[str]:
    return sorted(p.name.removesuffix("_t1.nii.gz") for p in data.glob("*_t1.nii.gz"))


def split(names: Sequence[str]) -> dict[str, list[str]]:
    """The scans of "train", "validation" and "test": ours as always, of others every fifth to each of the last two."""
    held = {"validation": VALIDATION, "test": TEST}
    if not set(TEST) & set(names):
        held = {"validation": names[2::5], "test": names[4::5]}
    parts = {part: [name for name in names if name in there] for part, there in held.items()}
    parts["train"] = [name for name in names if name not in {*parts["validation"], *parts["test"]}]
    return parts


def learned(data: Path, held: int = 1) -> tuple[list[str], list[str]]:
    """The scans to learn from, and those to validate on. Raises UserError where these are fewer than `held`."""
    parts = split(names := names_in(data))
    if not parts["train"] or len(parts["validation"]) < held:
        few = f"{data} holds {len(names)} scans (ID_t1.nii.gz beside ID_labels.nii.gz)"
        raise UserError(f"{few}: too few to learn from and to hold {held} out.")
    return parts["train"], parts["validation"]


def prepare(data: Path, name: str) -> Scan:
    """Read one scan, or what was kept of it."""
    kept = folder("anatomy", data) / f"{name}.npz"
    if not kept.exists():
        image = files.read([data / f"{name}_t1.nii.gz"])
        labels = files.read([data / f"{name}_labels.nii.gz"])
        grid = isotropic(oriented(image.grid), 1.0)
        t1 = resample(image, grid).array
        numbers = resample(labels.like(labels.array, labels={1: "any"}), grid).array
        tissue = translated(numbers)
        vermis = (numbers >= 71) & (numbers <= 74)
        tissue[vermis] = np.where(tissue[vermis] == CLASS[VERMIS].item(), VERMIS, VERMIS + 1)
        for number, code in ((75, BASAL), (76, BASAL + 1), (46, FLUID), (69, CHIASM)):
            tissue[numbers == number] = code
        t1 = np.rint(t1).clip(0, 255).astype(np.uint8)
        tissue[(t1 > 0) & (tissue == 0)] = RIM
        where = np.argwhere(tissue > 0)
        box = tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
        t1, tissue = np.pad(t1[box], MARGIN), np.pad(tissue[box], MARGIN)
        distance = ndimage.distance_transform_edt(tissue == 0) / STEP_MM
        np.savez_compressed(kept, image=t1, tissue=tissue, distance=distance.clip(0, 255).astype(np.uint8))
    arrays = np.load(kept)
    return Scan(*(torch.from_numpy(arrays[field]) for field in ("image", "tissue", "distance")))


def with_head(scan: Scan, data: Path, name: str) -> Scan:
    """The scan of `data` with the average head round it, made, or kept from before."""
    kept = folder("anatomy", data) / f"{name}_head.npy"
    if not kept.exists():
        np.save(kept, fitted(scan.distance.numpy() == 0))
    return scan._replace(head=torch.from_numpy(np.load(kept)))


class Luck:
    """Random numbers from one generator, so that a run goes on exactly."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.generator) * scale

    def one(self, scale: float) -> float:
        return float(self.normal(scale=scale))

    def chance(self, p: float) -> bool:
        return self.uniform(0, 1) < p

    def below(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self.generator))

    def field(self, shape: tuple[int, ...], spacing: float, channels: int = 1) -> Tensor:
        """Smooth noise (channels, *shape), standard deviation about 1, one knot every `spacing` voxels."""
        knots = self.normal(1, channels, *(max(2, round(n / spacing) + 1) for n in shape))
        return F.interpolate(knots, tuple(shape), mode="trilinear", align_corners=True)[0] * 1.4


class Pose(NamedTuple):
    """Where a patch lies in a scan: the voxel index along each axis, (X, Y, Z) each, and whether it is mirrored."""

    points: list[Tensor]
    mirrored: bool


def pose(shape: tuple[int, ...], size: tuple[int, int, int], luck: Luck, about: Tensor | None = None) -> Pose:
    """A moved, turned, stretched, bent and perhaps mirrored patch of `size`, about an index (3,) if one is given."""
    extent = torch.tensor(shape)
    room = (extent - 2 * MARGIN - torch.tensor(size)).clamp(min=0) / 2 + 10
    away = torch.rand(3, generator=luck.generator) * 2 - 1
    centre = (extent - 1) / 2 + room * away if about is None else about + torch.tensor(size) / 4 * away
    angles = luck.normal(3, scale=math.radians(11))
    matrix = torch.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        turn = torch.eye(3)
        turn[i, i], turn[j, j], turn[i, j], turn[j, i] = angle.cos(), angle.cos(), -angle.sin(), angle.sin()
        matrix = matrix @ turn
    matrix = matrix * torch.exp(luck.one(0.07) + luck.normal(3, scale=0.05)) + luck.normal(3, 3, scale=0.02)
    mirrored = luck.chance(0.5)
    if mirrored:
        matrix[:, 0] *= -1

    along = [torch.arange(n) - (n - 1) / 2 for n in size]
    bend = luck.field(size, 40, 3) * luck.uniform(0, 3) + luck.field(size, 16, 3) * luck.uniform(0, 1)
    points = []
    for axis in range(3):
        a, b, c = (matrix[axis, k] * along[k] for k in range(3))
        points.append(centre[axis] + a[:, None, None] + b[:, None] + c + bend[axis])
    return Pose(points, mirrored)


def linear(images: Sequence[Tensor], seen: Pose) -> Tensor:
    """Images of one scan, each (X, Y, Z) uint8, as they are seen: (C, *size) float32, 0 outside."""
    shape = images[0].shape
    low = [max(int(p.min().floor()) - 1, 0) for p in seen.points]
    high = [min(int(p.max().ceil()) + 2, n) for p, n in zip(seen.points, shape, strict=True)]
    box = tuple(slice(a, max(b, a + 2)) for a, b in zip(low, high, strict=True))
    within = torch.stack([image[box] for image in images]).float()[None]
    grid = torch.stack(
        [(p - a) * 2 / (n - 1) - 1 for p, a, n in zip(seen.points, low, within.shape[2:], strict=True)][::-1], -1
    )
    return F.grid_sample(within, grid[None], mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def nearest(tissue: Tensor, seen: Pose, swap: Tensor = SWAP) -> Tensor:
    """Tissue (X, Y, Z) uint8 as it is seen; where that is mirrored, `swap` has the other side of each number."""
    size = seen.points[0].shape
    index, inside = torch.zeros(size, dtype=torch.int64), torch.ones(size, dtype=torch.bool)
    for p, n in zip(seen.points, tissue.shape, strict=True):
        p = p.round().long()
        inside &= (p >= 0) & (p < n)
        index = index * n + p.clamp(0, n - 1)
    found = torch.take(tissue, index) * inside
    return swap[found.long()] if seen.mirrored else found


def below(scan: Scan, seen: Pose) -> Tensor:
    """How far below the middle of the brain each voxel lies, in millimetres, for the neck."""
    return (scan.image.shape[2] - 1) / 2 - seen.points[2]


def view(
    scan: Scan, size: tuple[int, int, int], luck: Luck, face: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor, Pose]:
    """A patch of a scan in a random pose, which looks at the face and neck if asked to.

    Returns, all of `size`: image 0 to 1, tissue uint8, distance from the brain in millimetres, `below`; and the pose.
    """
    extent = torch.tensor(scan.image.shape)
    low = extent * torch.tensor([0.5, 0.65, 0]) + torch.tensor([0, 0, MARGIN - 10])
    seen = pose(scan.image.shape, size, luck, low if face else None)
    image, near = linear([scan.image, 255 - scan.distance], seen)  # zero outside: black, and far away
    return image / 255, nearest(scan.tissue, seen), (255 - near) * STEP_MM, below(scan, seen), seen


def recoloured(image: Tensor, tissue: Tensor, luck: Luck) -> Tensor:
    """A made-up contrast: every tissue gets a mean of its own, and as much of the scan's texture as chance will."""
    groups = GROUP[tissue.long()]
    flat = groups.flatten()
    count = torch.bincount(flat, minlength=len(CLASS)).clamp(min=1)
    mean = torch.bincount(flat, image.flatten(), minlength=len(CLASS)) / count
    if luck.chance(0.5):  # anything
        made = torch.rand(len(CLASS), generator=luck.generator)
    else:  # like T1, or turned round like T2
        slope = luck.uniform(0.6, 1.3) * (1 if luck.chance(0.6) else -1)
        made = 0.5 + slope * (mean - 0.5) + luck.normal(len(CLASS), scale=0.08)
    made[FLUIDS] = made[3] + luck.normal(len(FLUIDS), scale=0.05)
    made[0], mean[0] = 0, 0
    if luck.chance(0.5):
        made[RIM] = 0
    texture = luck.uniform(-1, 1)
    grain = luck.normal(len(CLASS), scale=0.03).abs()[groups] * luck.normal(*image.shape)
    picture = made[groups] + texture * (image - mean[groups]) * (made[groups] > 0) + grain * (groups > 0)
    return picture.clamp(min=0)


def varied(image: Tensor, tissue: Tensor, luck: Luck) -> Tensor:
    """The scan's own contrast, bent; the rim left by whoever took the skull off may go."""
    image = image ** math.exp(luck.one(0.25))
    if luck.chance(0.3):
        image = image * (tissue != RIM)
    return image


def blurred(x: Tensor, times: int = 1) -> Tensor:
    """(X, Y, Z) with every voxel the mean of the 27 around it, as often as wanted."""
    x = x[None, None]
    for _ in range(times):
        for axis in range(3):
            kernel, padding = [1, 1, 1], [0, 0, 0]
            kernel[axis], padding[axis] = 3, 1
            x = F.avg_pool3d(x, kernel, 1, padding, count_include_pad=False)
    return x[0, 0]


def contrast(t1: Tensor, tissue: Tensor, knots: Sequence[float], luck: Luck, offset: float = 0.02) -> Tensor:
    """A brain without lesions in another contrast, from its T1 in units of white matter, (X, Y, Z).

    `knots` are the new brightness where T1 is that of fluid, grey matter, white matter and above.
    """
    curve = np.interp(t1.numpy(), (0.05, 0.3, 0.68, 1.0, 1.25), (0, *knots))
    each = luck.normal(len(CLASS), scale=offset)
    each[0] = 0
    return torch.from_numpy(curve).float() + each[GROUP[tissue.long()]] * (t1 > 0.35)


def flaired(image: Tensor, tissue: Tensor, luck: Luck) -> Tensor:
    """Like FLAIR: fluid dark, grey matter hardly brighter than white, and often lesions, bright, in white matter."""
    groups = GROUP[tissue.long()]
    white = (groups == 1) | (groups == 5)  # cerebral, cerebellar
    if not white.any():
        return image
    fluid, grey, bright = luck.uniform(0, 0.4), luck.uniform(0.95, 1.4), luck.uniform(0.85, 1)
    picture = contrast(image / image[white].median(), tissue, (fluid, grey, 1, bright), luck, luck.uniform(0.01, 0.08))
    water = torch.isin(groups, FLUIDS[FLUIDS != RIM])
    picture = torch.where(water, picture.clamp(max=1) * luck.uniform(0.3, 1), picture)
    if luck.chance(0.7):
        near = F.interpolate(F.avg_pool3d(water[None, None].float(), 8), tuple(image.shape), mode="trilinear")[0, 0]
        place = luck.field(tuple(image.shape), luck.uniform(6, 14))[0] + luck.uniform(0, 5) * near
        share = blurred(((place - luck.uniform(1.2, 3.5)) * 3).clamp(0, 1) * white)
        picture = picture + share * (luck.uniform(1.2, 2.5) - picture)
    if luck.chance(0.3):
        picture = picture * (tissue != RIM)
    return picture.clamp(min=0)


def sliced(image: Tensor, thickness: float, axis: int) -> Tensor:
    """(X, Y, Z) as it comes back from slices of `thickness` voxels along `axis`."""
    sizes = list(image.shape)
    sizes[axis] = max(2, round(sizes[axis] / thickness))
    small = F.interpolate(image[None, None], sizes, mode="area")
    return F.interpolate(small, tuple(image.shape), mode="trilinear", align_corners=False)[0, 0]


def within(image: Tensor, around: Tensor, distance: Tensor) -> Tensor:
    """The image where the brain is, and what is `around` it elsewhere."""
    brain = (distance < 0.5).float()
    return image * brain + around.clamp(min=0) * (1 - brain)


def dressed(image: Tensor, distance: Tensor, below: Tensor, luck: Luck) -> Tensor:
    """The brain within made-up fluid, skull with marrow, scalp, neck and face; sometimes only the first of these."""
    size = tuple(image.shape)
    far = distance + luck.field(size, 14)[0] * luck.uniform(0.3, 1.2)
    coarse, fine = luck.field(size, 32)[0], luck.field(size, 9)[0]
    bright = luck.uniform(0.6, 2.0)  # fat outshines white matter
    fluid_to = luck.uniform(0.5, 4)
    bone_to = fluid_to + luck.uniform(2, 8) + coarse.clamp(-2, 2)
    skin_to = bone_to + luck.uniform(2, 12) + 2 * coarse.roll(size[0] // 3, 0)
    if luck.chance(0.8):
        skin_to = skin_to + (below - luck.uniform(10, 40)).clamp(min=0) * luck.uniform(0.2, 1.2)
    # soft tissue: patches of fat, muscle, gristle and air
    values = torch.tensor([luck.uniform(0.6, 1.3), luck.uniform(0.2, 0.7), luck.uniform(0, 0.5), luck.uniform(0, 0.1)])
    patch = ((coarse * 0.7 + fine * 0.7 + 1.2) * 1.3).clamp(0, 3).long()
    soft = values[patch.flip(0)] * bright
    bone = luck.uniform(0, 0.15) + luck.uniform(0, 0.8) * (fine + 0.3).clamp(0, 1)
    out = torch.where(far < bone_to, bone, soft)
    out = torch.where(far < fluid_to, luck.uniform(0, 0.5) * (1 + 0.2 * fine), out)
    skin = bone_to if luck.chance(0.1) else skin_to
    if luck.chance(0.12):
        skin = fluid_to + luck.uniform(0, 3)
    out = out * (far < skin)
    return within(image, out, distance)


def beheld(image: Tensor, scan: Scan, distance: Tensor, seen: Pose, luck: Luck) -> Tensor:
    """The brain within the average head, whose contrast and sharpness are made up."""
    size = tuple(image.shape)
    points = [(p + room[0]) / STEP for p, room in zip(seen.points, ROOM, strict=True)]
    value = linear([scan.head], Pose(points, seen.mirrored))[0] / WHITE  # white matter would be 1
    value = value * luck.uniform(0.7, 1.3)
    fine = luck.field(size, 8)[0]
    bright = luck.uniform(0.6, 2.0)
    if luck.chance(0.5):
        out = value ** luck.uniform(0.6, 2.0) * (1 + luck.uniform(0, 0.3) * fine) * bright
    else:  # air, bone, muscle and fat apart
        edges = torch.tensor([luck.uniform(0.08, 0.2), luck.uniform(0.3, 0.5), luck.uniform(0.6, 1.1)])
        levels = torch.tensor([luck.uniform(0, 0.05), luck.uniform(0, 0.3), luck.uniform(0.2, 0.8), bright])
        rough = value * (1 + luck.uniform(0, 0.3) * fine)
        out = levels[torch.bucketize(rough, edges)] + luck.uniform(0, 0.4) * value * (rough > edges[0])
    gap = luck.uniform(0, 4) * (1 + 0.3 * luck.field(size, 14)[0])
    out = torch.where(distance < gap, luck.uniform(0, 0.4) * (1 + 0.2 * fine), out)
    return within(image, out, distance)


def scanned(image: Tensor, luck: Luck, glare: float = math.inf, noise: float = 0.08, shade: float = 0.25) -> Tensor:
    """What scanners do: coil shading, thick slices or blur, noise, and an unknown scale; standardised.

    What is brighter than `glare` times the median of the head is cut to that first.
    """
    size = tuple(image.shape)
    if luck.chance(0.8):
        image = image * torch.exp(luck.field(size, 64)[0] * luck.uniform(0, shade))
    if luck.chance(0.35):
        coarse = [float(n) for n in size]
        if luck.chance(0.6):
            axis = luck.below(3)
            coarse[axis] /= luck.uniform(1.2, 4)
        else:
            factor = luck.uniform(1.1, 2)
            coarse = [n / factor for n in coarse]
        small = F.interpolate(image[None, None], [round(n) for n in coarse], mode="area")
        image = F.interpolate(small, size, mode="trilinear", align_corners=False)[0, 0]
    if luck.chance(0.7):
        level = luck.uniform(0, noise)
        image = image + luck.normal(*size, scale=level)
        if luck.chance(0.5):
            image = image.abs()
    few = image.flatten()[::37]
    head = few[few > torch.minimum(few, few.quantile(0.999)).mean()]
    if len(head) < 100:
        return image
    most = glare * float(head.median())
    image, head = image.clamp(max=most), head.clamp(max=most)
    low, middle, high = head.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    image = (image - middle) / max(high - low, 0.02)
    return (image * math.exp(luck.one(0.12)) + luck.one(0.15)).clamp(*CLIP)


def sample(scans: list[Scan], luck: Luck, made_up: float = MADE_UP, flair: float = 0) -> tuple[Tensor, Tensor]:
    """One patch: image (X, Y, Z) standardised, classes (X, Y, Z) uint8.

    `flair` is the share of those like FLAIR, half of them in thick slices; of the rest `made_up` have other contrasts.
    """
    size = WHOLE if luck.chance(0.08) else PATCH
    scan, around = scans[luck.below(len(scans))], luck.uniform(0, 1)
    image, tissue, distance, below, seen = view(scan, size, luck, around < 0.15)
    like_flair = luck.chance(flair)
    change = flaired if like_flair else recoloured if luck.chance(made_up) else varied
    image = change(image, tissue, luck)
    if around < 0.45:
        image = beheld(image, scan, distance, seen, luck)
    elif around < 0.78:
        image = dressed(image, distance, below, luck)
    if like_flair and luck.chance(0.5):
        axis = 2 if luck.chance(0.7) else luck.below(3)
        image = sliced(image, luck.uniform(2, 7), axis)
    return scanned(image, luck, GLARE), CLASS[tissue.long()]


def chosen(target: Tensor, luck: Luck, near: int = 40_000, far: int = 8_000) -> tuple[Tensor, Tensor]:
    """Blocks to learn from: those by a border between classes, and a few others.

    Classes (X, Y, Z) -> index (N,) of blocks of 2×2×2 voxels in C order, their classes (N, 8).
    """
    parts = blocks(target[None, None].float())  # (1, 8, X/2, Y/2, Z/2)
    high = F.max_pool3d(parts.amax(1, keepdim=True), 3, 1, 1)
    low = -F.max_pool3d(-parts.amin(1, keepdim=True), 3, 1, 1)
    border = (high != low).flatten()
    pieces = []
    for mask, most in ((border, near), (~border, far)):
        index = mask.nonzero()[:, 0]
        pieces.append(index[torch.randperm(len(index), generator=luck.generator)[:most]])
    index = torch.cat(pieces)
    return index, parts[0].flatten(1).T[index].long()


def objective(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy plus one minus the mean Dice of the classes that are there: (N, C) and (N,)."""
    log = logits.float().log_softmax(-1)
    own = log.gather(1, target[:, None])[:, 0]
    total = log.exp().sum(0)
    count = torch.bincount(target, minlength=logits.shape[1]).float()
    overlap = torch.zeros_like(total).index_add(0, target, own.exp())
    there = count > 30
    share = (2 * overlap + 1) / (total + count + 1)
    return 1 - share[there].mean() - own.mean()


def overlaps(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Dice (36,) of every class; NaN where the truth has none."""
    both = np.bincount(truth.ravel().astype(np.int64) * 36 + found.ravel(), minlength=36 * 36).reshape(36, 36)
    count = both.sum(1)
    return np.where(count, 2 * both.diagonal() / np.maximum(count + both.sum(0), 1), np.nan)


def clothed(scan: Scan, seed: int) -> np.ndarray:
    """A whole scan with a made-up head around it, for validation."""
    image = scan.image.float() / 255
    below = ((image.shape[2] - 1) / 2 - torch.arange(image.shape[2])).expand(image.shape)
    return dressed(image, scan.distance * STEP_MM, below, Luck(seed)).numpy()


def validate(net: UNet3D, pictures: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, float]:
    """Mean Dice over the regions for each kind of picture, and over the regions without vessels."""
    scores = {}
    vessel = [n for n, name in enumerate(NAMES) if "Vessel" in name]
    for kind, cases in pictures.items():
        each = np.array([overlaps(likeliest(net, image), truth) for image, truth in cases])[:, 1:]
        scores[kind] = float(np.nanmean(each))
        scores[f"{kind}_no_vessel"] = float(np.nanmean(np.delete(each, [n - 1 for n in vessel], 1)))
    return scores


def settle(net: UNet3D, settled: bool) -> None:
    """Norms that follow each patch learn fast; fixed ones, at last, see a whole head as they saw its parts."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.train(not settled)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out = Path(args.data), Path(args.out)
    names, held = learned(data)
    scans = [with_head(prepare(data, name), data, name) for name in names]
    pictures: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"bare": [], "head": [], "flair": [], "thick": []}
    for number, scan in enumerate(prepare(data, name) for name in held):
        truth = CLASS[scan.tissue.long()].numpy()
        pictures["bare"].append((standardize(dimmed(scan.image.numpy())), truth))
        pictures["head"].append((standardize(dimmed(clothed(scan, number))), truth))
        flair = flaired(scan.image.float() / 255, scan.tissue, Luck(number))
        pictures["flair"].append((standardize(dimmed(flair.numpy())), truth))
        pictures["thick"].append((standardize(dimmed(sliced(flair, 5, 2).numpy())), truth))

    net = UNet3D(len(NAMES), args.width)
    if args.like:
        net.load_state_dict(load_file(args.like))
    net = net.to(args.device, memory_format=torch.channels_last_3d)
    luck = Luck(SEED)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-2)
    run = Run(out, net, optimizer, luck.generator, args.steps)
    while not run.ended:
        settle(net, bool(args.like) or run.step > SETTLED * args.steps)
        made_up = MADE_UP if args.like or run.step > EASY * args.steps else 0
        image, target = sample(scans, luck, made_up, args.flair)
        index, classes = chosen(target, luck)
        image, index, classes = (part.to(args.device) for part in (image, index, classes))
        with autocast(args.device):
            features = net.features(image[None, None])
            logits = net.logits(features.flatten(0, 3)[index])
        run.descend(objective(logits.flatten(0, 1), classes.flatten()))

        late = run.late(args.minutes)
        if run.step % args.every == 0 or run.ended:
            served = run.average.module
            served.load_state_dict(dict(net.named_buffers()), strict=False)
            run.note(scores := validate(served.eval(), pictures))
            if run.better(sum(scores[kind] for kind in pictures)):
                save_file(halved(served), out / "best.safetensors")
        else:
            run.tell()
        if run.due(args.keep) or run.ended or late:
            run.keep()
        if late:
            break


def thick(volume: Volume, mm: float = 5.0) -> Volume:
    """Redrawn with slices of so many millimetres, along the axis in which they are thickest already."""
    across = np.arange(3) == slice_axis(volume.grid)
    return resample(volume, respaced(volume.grid, np.where(across, mm, volume.spacing)))


LAYOUT = f"{TEST[0]}_labels.nii.gz"  # by which DATA of `cases` is known


def cases(data: Path, part: str) -> Iterator[Case]:
    """The scans of one part of the split in several conditions; the truth is numbered in our classes."""
    known = {n: name for n, name in enumerate(NAMES) if n}
    names = names_in(data)
    for name in names if part == "all" else split(names)[part]:
        t1 = files.read([data / f"{name}_t1.nii.gz"])
        labels = files.read([data / f"{name}_labels.nii.gz"])
        truth = labels.like(translated(labels.array), labels=known)
        yield Case(name, "OASIS-1", "no skull", (t1,), truth)
        scan = prepare(data, name)
        image = Volume(clothed(scan, int(name)), np.eye(4))
        classes = Volume(CLASS[scan.tissue.long()].numpy(), np.eye(4), labels=known)
        yield Case(name, "OASIS-1", "made-up head", (image,), classes)
        yield Case(name, "OASIS-1", "made-up head, 4 mm slices", (thick(image, 4),), thick(classes, 4))
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("xyz", (15, -10, 20), degrees=True).as_matrix()
        oblique = Grid(image.shape, image.affine @ around(turn, image.shape))
        yield Case(
            name,
            "OASIS-1",
            "made-up head, turned",
            (Volume(resample(image, oblique).array, np.eye(4)),),
            Volume(resample(classes, oblique).array, np.eye(4), labels=known),
        )
        flair = Volume(flaired(scan.image.float() / 255, scan.tissue, Luck(int(name))).numpy(), np.eye(4))
        yield Case(name, "OASIS-1", "made-up FLAIR, 5 mm slices", (thick(flair),), thick(classes))


def around(turn: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The turn (4, 4) about the middle of a box of voxels."""
    middle = np.eye(4)
    middle[:3, 3] = (np.array(shape) - 1) / 2
    return middle @ turn @ np.linalg.inv(middle)


def main(given: list[str] | None = None) -> None:
    options = Options(__doc__.splitlines()[0], steps=7000, rate=4e-3, every=400)
    options.add_argument("--width", type=int, default=32)
    options.add_argument("--flair", type=float, default=0.0, help="share of the patches that look like FLAIR")
    options.carry_out(train, given)


if __name__ == "__main__":
    main()
