"""Heads with MS to learn from, patch by patch: made-up ones and the few real ones, in all the ways scanners spoil them.

`python -m training.ms_heads --data DATA --out SHEET.png` draws a sheet of them to be looked at. DATA holds `brain_t1`
and `ms`; what takes long is kept in `runs/data/ms`.
"""

import argparse
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from nilearn.datasets import load_mni152_wm_template
from PIL import Image
from scipy import ndimage
from torch import Tensor

from medapp.imaging import files
from medapp.imaging.geometry import isotropic, oriented, resample
from medapp.imaging.measure import bounds
from medapp.imaging.volume import Volume
from training import ms_gliomas
from training import segment_anatomy_unet as anatomy
from training.ms_lesions import (
    CORNER,
    PACKED,
    VENTRICLE,
    WHITE,
    blurred,
    contrast,
    flair,
    masks,
    moved,
    painted,
    placed,
    planted,
    specks,
    thinned,
)  # fmt: skip
from training.segment_anatomy_unet import MARGIN, RIM, STEP_MM, Luck, below, dressed, linear, nearest, scanned

CACHE = Path("runs/data/ms")
SEQUENCES = ("flair", "t1", "t2")
PLOTS = 10  # patients whose lesions each brain is given in turn
PATCH, WHOLE = (96, 112, 96), (144, 176, 144)  # voxels
TILES = ((2, 0, False), (2, 0, True), (1, 0, False), (0, 0, False), (2, 1, False), (2, 2, False))
"""Of a row of the sheet: axis, channel, outlined."""
LOUD = {"flair": 2.2, "t1": 1.3, "t2": 1.8}  # brightness beside the noise that scanners add
REAL, GLIOMA = 0.35, 0.35  # shares of the patches; the rest is made up
REALS = ("openms_p07", "openms_p19", "mslesseg_P14_T1", "mslesseg_P14_T2", "mslesseg_P14_T3", "mslesseg_P18_T1")


class Head(NamedTuple):
    """A brain without lesions, and where other people's would lie in it; all (X, Y, Z) as in `Scan`."""

    scan: anatomy.Scan
    depth: Tensor  # from the ventricles, in steps of STEP_MM
    plots: dict[str, Tensor]  # patient -> indices (N, 3) of lesion voxels


class Real(NamedTuple):
    """A real head without its skull: (X, Y, Z) uint8 each, 1 mm, axes along RAS, MARGIN voxels around the brain.

    `t1` is zeros where there is none.
    """

    patient: str
    flair: Tensor
    t1: Tensor
    lesions: Tensor  # 0 or 255
    white: Tensor  # probability of white matter, 255 = 1
    unknown: Tensor  # 255 where nothing is learned
    plots: dict[str, Tensor]  # as of a `Head`


class Patch(NamedTuple):
    """What is learned from: `images` (3, X, Y, Z) standardised in the order of SEQUENCES, zeros where missing; `target`
    (X, Y, Z), the share of lesion in each voxel; `known` (X, Y, Z) bool, where that is so."""

    images: Tensor
    target: Tensor
    known: Tensor


def patient(name: str) -> str:
    """The person of a scan: `mslesseg_P14_T2` -> `P14`."""
    return name.split("_")[1]


def prepare(data: Path, name: str, plots: int = PLOTS) -> Head:
    """Read one brain and plant lesions in it, or read what was kept of that."""
    scan = anatomy.prepare(data / "brain_t1", name)
    kept = CACHE / f"{name}.npz"
    if not kept.exists():
        luck = Luck(int(name))
        tissue = scan.tissue.numpy()
        ventricle = VENTRICLE.numpy()[tissue]
        box, depth = bounds(tissue > 0), np.full(tissue.shape, np.inf)
        depth[box] = ndimage.distance_transform_edt(~ventricle[box])
        affine = placed(tissue)
        bank = masks(data / "ms" / PACKED)
        arrays = {"depth": (depth / STEP_MM).clip(0, 255).astype(np.uint8)}
        for number in torch.randperm(len(bank), generator=luck.generator)[:plots].tolist():
            who = list(bank)[number]
            rough = moved(bank[who], affine, tissue.shape, luck)
            arrays[who] = np.argwhere(planted(rough, tissue, depth, luck)).astype(np.int16)
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, **arrays)
    arrays = {k: torch.from_numpy(v) for k, v in np.load(kept).items()}
    return Head(scan, arrays.pop("depth"), arrays)


def read(data: Path, name: str, bank: Mapping[str, np.ndarray] | None = None) -> Real:
    """Read one patient, or what was kept of one; `bank` has the lesions of others in MNI space, see `masks`."""
    kept = CACHE / f"{name}.npz"
    if not kept.exists():
        given = {role: files.read([data / "ms" / f"{name}_{role}.nii.gz"]) for role in ("flair", "t1", "mask")}
        grid = isotropic(oriented(given["flair"].grid), 1.0)
        given["mask"] = given["mask"].like(given["mask"].array, labels={1: "lesion"})
        image = load_mni152_wm_template(resolution=1)
        given["white"] = Volume(np.asarray(image.dataobj, np.float32) * 255, image.affine)
        drawn = {role: resample(volume, grid).array for role, volume in given.items()}
        drawn["mask"] = drawn["mask"] * 255
        box = bounds(drawn["flair"] > 0)
        arrays = {k: np.pad(np.rint(v[box]).clip(0, 255).astype(np.uint8), MARGIN) for k, v in drawn.items()}
        low = grid.affine[:3, 3] + [s.start - MARGIN for s in box] - CORNER
        CACHE.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, low=low.round().astype(int), **arrays)
    arrays = np.load(kept)
    plots = {who: torch.from_numpy(index - arrays["low"]) for who, index in (bank or {}).items()}
    flair, t1, mask, white = (torch.from_numpy(arrays[role]) for role in ("flair", "t1", "mask", "white"))
    return Real(patient(name), flair, t1, mask, white, torch.zeros_like(mask), plots)


def glioma(data: Path, name: str) -> Real | None:
    """A head with a glioma, which is not known to be MS or not; None where the set has too few slices of it."""
    arrays = ms_gliomas.prepare(data, name, CACHE / f"{name}.npz")
    if arrays is None:
        return None
    flair, t1, white, unknown = (torch.from_numpy(arrays.pop(role)) for role in ("flair", "t1", "white", "unknown"))
    plots = {role.split()[1]: torch.from_numpy(index) for role, index in arrays.items()}
    return Real(name, flair, t1, torch.zeros_like(flair), white, unknown, plots)


def filled(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(X, Y, Z) uint8, 255 at every index (N, 3) that lies within."""
    out = torch.zeros(shape, dtype=torch.uint8)
    index = index.long()
    index = index[((index >= 0) & (index < torch.tensor(shape))).all(1)]
    out[tuple(index.T)] = 255
    return out


def made(
    head: Head, size: tuple[int, int, int], luck: Luck, without: Collection[str] = ()
) -> tuple[dict[str, Tensor], Tensor]:
    """A made-up patient, none with the lesions of those in `without`: images by sequence, share of lesion (X, Y, Z)."""
    scan, who = head.scan, [name for name in head.plots if name not in without]
    index = head.plots[who[luck.below(len(who))]]
    about = index[luck.below(len(index))] if len(index) and luck.chance(0.4) and size != WHOLE else None
    seen = anatomy.pose(scan.image.shape, size, luck, about)
    image, near, shallow, soft = linear(
        [scan.image, 255 - scan.distance, 255 - head.depth, filled(index, scan.image.shape)], seen
    )
    tissue, distance, depth = nearest(scan.tissue, seen), (255 - near) * STEP_MM, (255 - shallow) * STEP_MM
    brain = WHITE[tissue.long()]
    t1 = image / image[brain].median() if brain.any() else image / 255
    soft = thinned(soft / 255, luck) if luck.chance(0.88) else torch.zeros(size)
    if soft.any() and luck.chance(0.4):
        soft = torch.maximum(soft, specks(brain & (depth > 2), luck))
    t2 = contrast(t1, tissue, (luck.uniform(0.9, 1.4), luck.uniform(0.6, 0.8), 0.5, 0.45), luck)
    images = painted({"flair": flair(t1, tissue, depth, luck), "t1": t1, "t2": t2}, soft, luck)
    images = worn(images, t1, tissue, distance, below(scan, seen), luck)
    return images, soft


def worn(
    images: dict[str, Tensor], t1: Tensor, tissue: Tensor, distance: Tensor, below: Tensor, luck: Luck
) -> dict[str, Tensor]:
    """What surrounds the brain: mostly nothing, as extraction leaves it, tight or wide; sometimes a whole head."""
    way = luck.uniform(0, 1)
    if way < 0.15:
        return {k: dressed(image, distance, below, Luck(luck.below(2**31))) for k, image in images.items()}
    if way < 0.4:
        return {k: image * (tissue != RIM) for k, image in images.items()}
    if way < 0.6:
        tight = blurred((t1 > luck.uniform(0.4, 0.6)).float(), 2) > 0.5
        return {k: image * tight for k, image in images.items()}
    if way < 0.8:
        reach = luck.uniform(0.5, 3) + luck.field(tuple(t1.shape), 25)[0]
        band = (distance < reach) & (t1 < 0.1)
        fluid = {"flair": luck.uniform(0.02, 0.25), "t1": luck.uniform(0.1, 0.35), "t2": luck.uniform(0.7, 1.3)}
        return {k: torch.where(band, fluid[k], image) for k, image in images.items()}
    return images


def found(
    real: Real, size: tuple[int, int, int], luck: Luck, without: Collection[str] = ()
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """A real head, most often with lesions of others painted between its own; as `made`, and where that is known."""
    who = [name for name in real.plots if name not in without]
    more = real.plots[who[luck.below(len(who))]] if who else torch.zeros(0, 3)
    about, own = None, real.lesions.nonzero()
    if size != WHOLE and luck.chance(0.5):
        where = own if len(own) and (luck.chance(0.5) or not len(more)) else more
        about = where[luck.below(len(where))] if len(where) else None
    seen = anatomy.pose(real.flair.shape, size, luck, about)
    parts = [real.flair, real.t1, real.lesions, real.white, real.unknown, filled(more, real.flair.shape)]
    image, t1, own, white, unknown, others = linear(parts, seen)
    own, others, white, known = own / 255, others / 255, white / 255, unknown < 1
    sound = (white > 0.6) & (own < 0.01) & known
    if sound.sum() < 500:
        return {"flair": image / 255} | ({"t1": t1 / 255} if t1.any() else {}), own, known
    level, level_t1 = image[sound].median(), t1[sound].median()
    images = {"flair": image / level * 0.5}
    if level_t1 > 0:
        images["t1"] = t1 / level_t1
    if luck.chance(0.6):
        room = (white > 0.35) & (images["flair"] > 0.38) & known
        others = thinned(others * room, luck)
        if luck.chance(0.3):
            others = torch.maximum(others, specks(room & (white > 0.6), luck))
        images = painted(images, others * (1 - own), luck)
        own = torch.maximum(own, others)
    return images, own, known


def acquired(images: dict[str, Tensor], luck: Luck) -> Tensor:
    """What scanners make of it, sequence by sequence, and which sequences there are: (3, X, Y, Z) standardised.

    FLAIR is always there; T1 and T2 are zeros where they are missing, here as when served.
    """
    way = luck.uniform(0, 1)
    there = {"flair": True, "t1": "t1" in images and way > 0.45, "t2": "t2" in images and (way < 0.05 or way > 0.8)}
    out = []
    for name in SEQUENCES:
        if not there[name]:
            out.append(torch.zeros_like(images["flair"]))
            continue
        image = (images[name] * LOUD[name]).clamp(min=0) ** math.exp(luck.one(0.12))
        if luck.chance(0.45 if name == "flair" else 0.25):
            image = sliced(image, luck.uniform(1.5, 5), 2 if luck.chance(0.75) else luck.below(2))
        out.append(scanned(image, luck))
    return torch.stack(out)


def sliced(image: Tensor, thickness: float, axis: int) -> Tensor:
    """(X, Y, Z) as it comes back from slices of `thickness` voxels along `axis`."""
    sizes = list(image.shape)
    sizes[axis] = max(2, round(sizes[axis] / thickness))
    small = F.interpolate(image[None, None], sizes, mode="area")
    return F.interpolate(small, tuple(image.shape), mode="trilinear", align_corners=False)[0, 0]


class Clinic:
    """The brains named, all patients but those left out (`P14`, `p07`, ...), and heads with a glioma."""

    def __init__(self, data: Path, brains: list[str], leave: Collection[str] = (), gliomas: bool = True) -> None:
        self.heads = [prepare(data, name) for name in brains]
        self.without = {name.replace("p", "patient") for name in leave}  # in the words of the masks
        bank, self.patients = masks(data / "ms" / PACKED), dict[str, list[Real]]()
        for name in REALS:
            if patient(name) not in leave:
                self.patients.setdefault(patient(name), []).append(read(data, name, bank))
        rest = (glioma(data, name) for name in (ms_gliomas.names_in(data) if gliomas else ()))
        self.gliomas = [real for real in rest if real is not None]

    def sample(self, luck: Luck) -> Patch:
        """One patch, always the same for the same luck."""
        size, way = WHOLE if luck.chance(0.04) else PATCH, luck.uniform(0, 1)
        if way < REAL:
            scans = list(self.patients.values())[luck.below(len(self.patients))]
            images, target, known = found(scans[luck.below(len(scans))], size, luck, self.without)
        elif way < REAL + GLIOMA and self.gliomas:
            images, target, known = found(self.gliomas[luck.below(len(self.gliomas))], size, luck, self.without)
        else:
            images, target = made(self.heads[luck.below(len(self.heads))], size, luck, self.without)
            known = torch.ones(size, dtype=torch.bool)
        return Patch(acquired(images, luck), target, known)


def sheet(patches: list[Patch]) -> Image.Image:
    """FLAIR in three planes through the most lesion, T1 beside it, lesions outlined once: a row a patch."""
    rows = []
    for images, target, _ in patches:
        volume, mask = images.numpy(), target.numpy() > 0.5
        at = [int(mask.sum(tuple(b for b in range(3) if b != a)).argmax()) or mask.shape[a] // 2 for a in range(3)]
        tiles = []
        for axis, channel, outlined in TILES:
            piece = np.take(volume[channel], at[axis], axis).T[::-1]
            grey = np.repeat(((piece + 2.2) / 5 * 255).clip(0, 255).astype(np.uint8)[..., None], 3, -1)
            if outlined:
                shown = np.take(mask, at[axis], axis).T[::-1]
                grey[shown & ~ndimage.binary_erosion(shown)] = (255, 60, 60)
            tiles.append(np.pad(grey, [(0, 180 - grey.shape[0]), (0, 180 - grey.shape[1]), (0, 0)]))
        rows.append(np.concatenate(tiles, 1))
    return Image.fromarray(np.concatenate(rows, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    brains = [n for n in anatomy.names_in(args.data / "brain_t1") if n not in anatomy.VALIDATION + anatomy.TEST]
    clinic = Clinic(args.data, brains[:3])
    reals = [scans[0] for scans in clinic.patients.values()]
    patches = []
    for row in range(args.rows):
        luck = Luck(args.seed + row)
        if row % 3 == 0:
            images, target = made(clinic.heads[luck.below(3)], WHOLE, luck)
        else:
            images, target, _ = found((reals, clinic.gliomas)[row % 3 - 1][luck.below(len(reals))], WHOLE, luck)
        patches.append(Patch(acquired(images, luck), target, torch.ones_like(target, dtype=torch.bool)))
    sheet(patches).save(args.out)


if __name__ == "__main__":
    main()
