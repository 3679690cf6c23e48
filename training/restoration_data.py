"""Image pairs for the restoration methods, degraded by physics: `python -m training.restoration_data ct|pet --data DATA --out OUT`.

DATA is a folder with `index.json`, `ct_fulldose/`, `pet/` and `path_monuseg/`. `ct` and `pet` write one `.npz` per slice or
batch into OUT and go on where a killed run stopped; the degraded pathology fields are cheap and made on the fly. Patients
are split once and for all in `split`. What is read here is numpy.
"""

import argparse
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from medapp.physics import ct as ct_physics
from medapp.physics import pet as pet_physics
from training import pet_phantoms

SEED = 20261203
PARTS = ("train", "validation", "test")
HELD_BACK = {  # patients of each set that are not trained on; brains: rescans of one subject stay together
    "ct": {
        "validation": ("LIDC-IDRI-0003", "A002304"),
        "test": ("LIDC-IDRI-0001", "A062055", "A072894"),
    },
    "pathology": {
        "validation": ("TCGA-21-5786", "TCGA-B0-5711", "TCGA-G9-6356", "TCGA-RD-A8N9"),
        "test": ("TCGA-38-6178", "TCGA-AR-A1AS", "TCGA-AY-A8YK", "TCGA-DK-A2I6", "TCGA-HE-7129", "TCGA-NH-A8F7"),
    },
    "brain": {
        "validation": ("1003", "1023", "1008"),
        "test": ("1004", "1024", "1011", "1014"),
    },
}
TASKS = {"ct": "ct_fulldose", "pet": "pet", "pathology": "path_sr"}
REALISATIONS = 4  # of each CT slice
FRACTIONS = (0.5, 0.25, 0.1, 0.05)
SIDES = (96, 128, 160, 192)
PET_BATCH = 16
BRAIN_BATCHES, TORSO_BATCHES = 4, 6  # per patient
REAL_BLOCKS = {"train": (0, 90, 6), "validation": (94, 110, 4), "test": (114, 135, 4)}  # slices, versions


def split(task: str, patient: str) -> str:
    """The part, one of PARTS, that a patient of `ct`, `pathology` or `brain` belongs to."""
    return next((part for part, patients in HELD_BACK[task].items() if patient in patients), "train")


def entries(data: Path, task: str) -> list[dict[str, Any]]:
    """The index entries of one task (`ct`, `pet`, `pathology`), in the index's order."""
    index = json.loads((data / "index.json").read_text())
    return [entry for entry in index if entry["task"] == TASKS[task]]


def generator_of(name: str) -> np.random.Generator:
    """Random numbers that depend on the name alone, so that a resumed run makes what the first would have made."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


# CT


def ct_slice(path: Path) -> np.ndarray:
    """A slice in HU, (H, W) float32, from 16-bit JPEG 2000 that stores HU + 1024."""
    return np.asarray(Image.open(path)).astype(np.float32) - 1024


def ct_pairs(data: Path, out: Path) -> None:
    """Write `<slice>.npz` for each full-dose slice, with REALISATIONS noisier versions; what is there already stays.

    Keys: `full` (H, W) and `low` (N, H, W) int16 HU, `dose` (N,), `cutoff` (N,) of the kernel in cycles per mm,
    `noise` at full dose in HU, `pixel_mm`, `patient`, `part`. The first half of the versions has the grain of the image,
    the others a softer or sharper one of the same strength.
    """
    out.mkdir(parents=True, exist_ok=True)
    for entry in entries(data, "ct"):
        name = Path(entry["file"]).stem
        target = out / f"{name}.npz"
        if target.exists():
            continue
        rng = generator_of(name)
        hu = ct_slice(data / entry["file"])
        doses = np.where(rng.random(REALISATIONS) < 0.7, rng.normal(0.25, 0.03, REALISATIONS), 0.0)
        doses = np.where(doses > 0, doses, np.exp(rng.uniform(np.log(0.1), np.log(0.6), REALISATIONS))).clip(0.1, 0.6)
        scan = ct_physics.analysed(hu, entry["pixel_mm"])
        other = ct_physics.analysed(hu, entry["pixel_mm"], scan.cutoff * float(np.exp(rng.uniform(-0.35, 0.6))))
        half = REALISATIONS // 2
        random = torch.Generator().manual_seed(int(rng.integers(2**31)))
        noise = [
            ct_physics.added(s, list(d), [s.cutoff] * len(d), random).numpy()
            for s, d in ((scan, doses[:half]), (other, doses[half:]))
        ]
        low = (hu + np.concatenate(noise)).round().clip(ct_physics.FLOOR, 32767).astype(np.int16)
        written(
            target,
            full=hu.astype(np.int16),
            low=low,
            dose=doses.astype(np.float32),
            cutoff=np.repeat(np.float32([scan.cutoff, other.cutoff]), half),
            noise=np.float32(scan.noise),
            pixel_mm=np.float32(entry["pixel_mm"]),
            patient=entry["patient"],
            part=split("ct", entry["patient"]),
        )


# PET


def pet_pairs(data: Path, brains: Path, out: Path) -> None:
    """Write `.npz` batches of slices with fewer counts, in the full count's own unit; what is there already stays.

    Keys: `low`, `full` (N, H, W) float16, `clean` the same without counting noise (for real images: `full`), `fraction`
    (N,) and `counts` (N,) of the full scan per slice, `pixel_mm`, `recipe`, `kind` (brain, torso, real), `patient`,
    `part`. Low counts are thinned from the full ones, as a shorter scan would see.
    """
    out.mkdir(parents=True, exist_ok=True)
    real_batches(data, out)
    slices = [e for e in entries(data, "ct") if "cranium" not in e["file"]]
    ids = sorted(p.name.split("_")[0] for p in brains.glob("*_labels.nii.gz"))
    for turn in range(max(BRAIN_BATCHES, TORSO_BATCHES)):  # a bit of each, so that a part of the cache is useful
        for patient in ids if turn < BRAIN_BATCHES else ():
            name = f"brain_{patient}_{turn}"
            if not (out / f"{name}.npz").exists():
                rng = generator_of(name)
                images, mm, fwhm = brain_slices(brains / f"{patient}_labels.nii.gz", rng)
                phantom_batch(out / f"{name}.npz", images, mm, fwhm, rng, "brain", patient, split("brain", patient))
        for patient in sorted({e["patient"] for e in slices}) if turn < TORSO_BATCHES else ():
            own = [e for e in slices if e["patient"] == patient]
            name = f"torso_{patient}_{turn}"
            if not (out / f"{name}.npz").exists() and (len(own) > 2 or turn < 2):
                rng = generator_of(name)
                images, mm, fwhm = torso_slices(data, own, rng)
                phantom_batch(out / f"{name}.npz", images, mm, fwhm, rng, "torso", patient, split("ct", patient))


def brain_slices(path: Path, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """PET_BATCH axial slices of one brain phantom, (N, S, S), their pixel and the resolution (FWHM) in mm."""
    labels = np.asarray(nibabel.load(path).dataobj).astype(np.int16)
    activity = pet_phantoms.brain(labels, rng)
    side = int(rng.choice(SIDES))
    mm, fwhm = float(max(rng.uniform(1.2, 2.8), 210 / side)), float(rng.uniform(4, 7))
    activity = ndimage.gaussian_filter1d(activity, fwhm / 2.3548, axis=2)
    filled = np.flatnonzero((labels > 0).sum((0, 1)) > 1500)
    chosen = rng.choice(filled, PET_BATCH, replace=False)
    images = [
        pet_phantoms.sampled(activity[:, ::-1, k].T, 1.0, fwhm, side, mm, float(rng.uniform(-15, 15))) for k in chosen
    ]
    return np.stack(images), mm, fwhm


def torso_slices(data: Path, own: list[dict[str, Any]], rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """PET_BATCH phantoms over the CT slices of one patient, as `brain_slices`."""
    side = int(rng.choice(SIDES[:3]))
    mm, fwhm = float(max(rng.uniform(2, 5), 330 / side)), float(rng.uniform(4, 8))
    images = []
    for entry in rng.choice(np.array(own, object), PET_BATCH):
        hu = ct_slice(data / entry["file"])
        uptake = pet_phantoms.torso(hu, entry["pixel_mm"], rng)
        images.append(pet_phantoms.sampled(uptake, entry["pixel_mm"], fwhm, side, mm, float(rng.uniform(-10, 10))))
    return np.stack(images), mm, fwhm


def fractions(count: int, rng: np.random.Generator) -> np.ndarray:
    """Fractions of the counts, mostly the four that are offered, else anything from 0.04 to 0.7; (count,) float32."""
    offered = rng.choice(FRACTIONS, count)
    return np.where(rng.random(count) < 0.7, offered, np.exp(rng.uniform(np.log(0.04), np.log(0.7), count))).astype(
        np.float32
    )


def recipe_of(rng: np.random.Generator) -> pet_physics.Recipe:
    """A random reconstruction: mostly ordered subsets, with 0 to 6 mm of filter after it."""
    fwhm = 0.0 if rng.random() < 0.1 else float(rng.uniform(2, 6))
    if rng.random() < 0.2:
        return pet_physics.Recipe("fbp", fwhm_mm=fwhm, cutoff=float(rng.uniform(0.6, 1)))
    return pet_physics.Recipe("osem", iterations=int(rng.integers(2, 5)), fwhm_mm=fwhm)


def phantom_batch(
    target: Path, images: np.ndarray, mm: float, fwhm: float, rng: np.random.Generator, kind: str, patient: str, part: str
) -> None:
    """Scan one batch of phantoms (N, S, S) with full and thinned counts, reconstruct both alike, write them."""
    recipe = recipe_of(rng)
    n = len(images)
    mean = np.exp(rng.uniform(np.log(3e5), np.log(2.5e6)))
    sums = images.sum((1, 2))
    counts = (mean * (sums / sums.mean()).clip(0.3, 3) * rng.uniform(0.7, 1.4, n)).astype(np.float32)
    fraction = fractions(n, rng)
    random = torch.Generator().manual_seed(int(rng.integers(2**31)))
    scan = pet_physics.acquired(torch.from_numpy(images), mm, torch.from_numpy(counts))
    kept = torch.from_numpy(fraction)[:, None, None]
    counted = torch.poisson(scan.mean, random)
    low = pet_physics.reconstructed(
        pet_physics.fewer(scan, kept), pet_physics.thinned(counted, kept, random), recipe
    )
    full = pet_physics.reconstructed(scan, counted, recipe)
    clean = pet_physics.reconstructed(scan, scan.mean, recipe)
    pet_written(target, low, full, clean, fraction, counts, mm, str(recipe), kind, patient, part)


def real_batches(data: Path, out: Path) -> None:
    """The real volume, blocks of slices apart from each other for each part, with missing counts' noise added."""
    for entry in entries(data, "pet"):
        with np.load(data / entry["file"]) as file:
            volume = file["v"].astype(np.float32) * float(file["scale_bqml"]) * float(file["suv_per_bqml"])
            mm = float(file["voxel_mm"][1])
        for part, (first, last, rounds) in REAL_BLOCKS.items():
            for turn in range(rounds):
                name = f"real_{entry['patient']}_{part}_{turn}"
                if (out / f"{name}.npz").exists():
                    continue
                rng = generator_of(name)
                full = volume[first:last]
                fraction = FRACTIONS[turn] if part != "train" else float(fractions(1, rng)[0])
                counts, recipe = float(np.exp(rng.uniform(np.log(4e5), np.log(2e6)))), recipe_of(rng)
                seed = int(rng.integers(2**31))
                low = pet_physics.lower_counts(full, mm, fraction, counts, recipe, seed)
                each = np.full(len(full), fraction, np.float32)
                pet_written(
                    out / f"{name}.npz", low, full, full, each, each * 0 + counts, mm, str(recipe), "real",
                    entry["patient"], part,
                )  # fmt: skip


def pet_written(target: Path, low: Any, full: Any, clean: Any, fraction: np.ndarray, counts: np.ndarray, mm: float,
                recipe: str, kind: str, patient: str, part: str) -> None:  # fmt: skip
    images = {k: np.asarray(v, np.float32).astype(np.float16) for k, v in (("low", low), ("full", full), ("clean", clean))}
    written(
        target, **images, fraction=fraction, counts=counts.astype(np.float32), pixel_mm=np.float32(mm), recipe=recipe,
        kind=kind, patient=patient, part=part,
    )  # fmt: skip


# Pathology


def pathology(data: Path, part: str) -> Iterator[tuple[str, np.ndarray]]:
    """Patient and H&E field (1000, 1000, 3) uint8 of one part; degrade with `optics.degrade` and `optics.Lens.random`."""
    for entry in entries(data, "pathology"):
        if split("pathology", entry["patient"]) == part:
            yield entry["patient"], np.asarray(Image.open(data / entry["file"]).convert("RGB"))


# Files


def written(path: Path, **arrays: Any) -> None:
    """Write an `.npz` under its name only once it is whole."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.rename(path)


def cached(out: Path, part: str) -> Iterator[dict[str, np.ndarray]]:
    """The cached files of one part (`train`, `validation`, `test`) in order of name, each as a dict of arrays."""
    for path in sorted(out.glob("*.npz")):
        with np.load(path) as file:
            if str(file["part"]) == part:
                yield {key: file[key] for key in file.files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=("ct", "pet"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--brains", type=Path, help="folder of *_labels.nii.gz; brain_t1 beside DATA unless given")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.set == "ct":
        ct_pairs(arguments.data, arguments.out)
    else:
        pet_pairs(arguments.data, arguments.brains or arguments.data.parent / "brain_t1", arguments.out)


if __name__ == "__main__":
    main()
