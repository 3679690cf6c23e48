"""PET slices with full and fewer counts, of brain and torso phantoms and of a real scan.

`python -m training.data.restoration_data pet` calls `make_pet_pairs`.
"""

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from scipy import ndimage

from medapp.simulation import low_count_pet as pet_physics
from training.data import pet_phantoms
from training.data.restoration_sets import named_generator, part_of, read_ct_slice, read_index, write_npz

FRACTIONS = (0.5, 0.25, 0.1, 0.05)
SIDES = (96, 128, 160, 192)
PET_BATCH = 24
NEIGHBOURS = 6  # slices of one stack, which share a count level
BRAIN_BATCHES, TORSO_BATCHES = 3, 4  # per patient
REAL_BLOCKS = {"train": (0, 90, 16), "validation": (94, 110, 4), "test": (114, 135, 4)}  # slices, versions


def make_pet_pairs(data: Path, brains: Path, out: Path) -> None:
    """Write `.npz` batches of slices with fewer counts, in the full count's own unit; what is there already stays.

    Keys: `low`, `full` (N, H, W) float16, `clean` the same without counting noise (for real images: `full`), `fraction`
    (N,) and `counts` (N,) of the full scan per slice, `stack` (N,), the same number for slices that lie on each other,
    `pixel_mm`, `recipe`, `kind` (brain, torso, real), `patient`, `part`. Low counts are thinned from the full ones, as
    a shorter scan would see.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_real_batches(data, out)
    slices = [e for e in read_index(data, "ct") if "cranium" not in e["file"]]
    ids = sorted(p.name.split("_")[0] for p in brains.glob("*_labels.nii.gz"))
    for turn in range(max(BRAIN_BATCHES, TORSO_BATCHES)):  # a bit of each, so that a part of the cache is useful
        for patient in ids if turn < BRAIN_BATCHES else ():
            name = f"brain_{patient}_{turn}"
            if not (out / f"{name}.npz").exists():
                rng = named_generator(name)
                images, mm, fwhm = draw_brain_slices(brains / f"{patient}_labels.nii.gz", rng)
                write_phantom_batch(
                    out / f"{name}.npz", images, mm, fwhm, rng, "brain", patient, part_of("brain", patient)
                )
        for patient in sorted({e["patient"] for e in slices}) if turn < TORSO_BATCHES else ():
            own = [e for e in slices if e["patient"] == patient]
            name = f"torso_{patient}_{turn}"
            if not (out / f"{name}.npz").exists() and (len(own) > 2 or turn < 2):
                rng = named_generator(name)
                images, mm, fwhm = draw_torso_slices(data, own, rng)
                write_phantom_batch(
                    out / f"{name}.npz", images, mm, fwhm, rng, "torso", patient, part_of("ct", patient)
                )


def draw_brain_slices(path: Path, rng: np.random.Generator) -> tuple[np.ndarray, float, float]:
    """PET_BATCH axial slices of one brain phantom from below, (N, S, S), their pixel and the resolution (FWHM), mm."""
    labels = np.asarray(nibabel.load(path).dataobj).astype(np.int16)
    activity = pet_phantoms.brain_uptake(labels, rng)
    side = int(rng.choice(SIDES))
    mm, fwhm = float(np.clip(rng.uniform(1.2, 2.8), 210 / side, 300 / side)), float(rng.uniform(4, 7))
    activity = ndimage.gaussian_filter1d(activity, fwhm / 2.3548, axis=2)
    filled = np.flatnonzero((labels > 0).sum((0, 1)) > 1500)
    step = rng.uniform(1.5, 4.5)
    first = rng.uniform(filled[0], max(filled[-1] - step * PET_BATCH, filled[0] + 1))
    indices = (first + step * np.arange(PET_BATCH)).clip(0, filled[-1]).astype(int)
    turn = float(rng.uniform(-15, 15))
    images = [pet_phantoms.resample_uptake(activity[:, ::-1, k].T, 1.0, fwhm, side, mm, turn) for k in indices]
    return np.stack(images), mm, fwhm


def draw_torso_slices(
    data: Path, own: list[dict[str, Any]], rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:
    """PET_BATCH phantoms over CT slices of one patient, as `draw_brain_slices`, in stacks of NEIGHBOURS."""
    side = int(rng.choice(SIDES[:3]))
    mm, fwhm = float(np.clip(rng.uniform(2, 5), 330 / side, 550 / side)), float(rng.uniform(4, 8))
    images = []
    for entry in rng.choice(np.array(own, object), PET_BATCH // NEIGHBOURS):
        hu = read_ct_slice(data / entry["file"])
        uptake = pet_phantoms.torso_uptake(hu, entry["pixel_mm"], rng)
        image = pet_phantoms.resample_uptake(uptake, entry["pixel_mm"], fwhm, side, mm, float(rng.uniform(-10, 10)))
        images += pet_phantoms.drift_slices(image, NEIGHBOURS, rng.uniform(0, 2.5) / mm, 25 / mm, rng)
    return np.stack(images), mm, fwhm


def draw_fractions(count: int, rng: np.random.Generator) -> np.ndarray:
    """Fractions of the counts, mostly the four that are offered, else anything from 0.04 to 0.7; (count,) float32."""
    offered = rng.choice(FRACTIONS, count)
    return np.where(rng.random(count) < 0.7, offered, np.exp(rng.uniform(np.log(0.04), np.log(0.7), count))).astype(
        np.float32
    )


def draw_recipe(rng: np.random.Generator) -> pet_physics.Reconstruction:
    """A random reconstruction: mostly ordered subsets, mostly with 2.5 to 7 mm of filter after it."""
    fwhm = 0.0 if rng.random() < 0.05 else float(rng.uniform(2.5, 7))
    if rng.random() < 0.2:
        return pet_physics.Reconstruction("fbp", fwhm_mm=fwhm, cutoff=float(rng.uniform(0.6, 1)))
    return pet_physics.Reconstruction("osem", iterations=int(rng.integers(2, 5)), fwhm_mm=fwhm)


def write_phantom_batch(
    target: Path,
    images: np.ndarray,
    mm: float,
    fwhm: float,
    rng: np.random.Generator,
    kind: str,
    patient: str,
    part: str,
) -> None:
    """Scan one batch of phantoms (N, S, S) with full and thinned counts, reconstruct both alike, write them."""
    recipe = draw_recipe(rng)
    n = len(images)
    mean = np.exp(rng.uniform(np.log(3e5), np.log(2.5e6)))
    sums = images.sum((1, 2))
    counts = (mean * (sums / sums.mean()).clip(0.3, 3)).astype(np.float32)
    stack = np.arange(n) // NEIGHBOURS
    fraction = draw_fractions(n, rng)[stack]
    random = torch.Generator().manual_seed(int(rng.integers(2**31)))
    scan = pet_physics.simulate_acquisition(torch.from_numpy(images), mm, torch.from_numpy(counts))
    kept = torch.from_numpy(fraction)[:, None, None]
    counted = torch.poisson(scan.mean, random)
    low = pet_physics.reconstruct_slices(
        pet_physics.shorten_acquisition(scan, kept), pet_physics.thin_counts(counted, kept, random), recipe
    )
    full = pet_physics.reconstruct_slices(scan, counted, recipe)
    clean = pet_physics.reconstruct_slices(scan, scan.mean, recipe)
    write_pet_batch(target, low, full, clean, fraction, counts, stack, mm, str(recipe), kind, patient, part)


def write_real_batches(data: Path, out: Path) -> None:
    """The real volume, blocks of slices apart from each other for each part, with missing counts' noise added."""
    for entry in read_index(data, "pet"):
        with np.load(data / entry["file"]) as file:
            volume = file["v"].astype(np.float32) * float(file["scale_bqml"]) * float(file["suv_per_bqml"])
            mm = float(file["voxel_mm"][1])
        for part, (first, last, rounds) in REAL_BLOCKS.items():
            for turn in range(rounds):
                name = f"real_{entry['patient']}_{part}_{turn}"
                if (out / f"{name}.npz").exists():
                    continue
                rng = named_generator(name)
                full = volume[first:last]
                fraction = FRACTIONS[turn] if part != "train" else float(draw_fractions(1, rng)[0])
                counts, recipe = 1e6, pet_physics.Reconstruction(fwhm_mm=5)
                if part == "train":
                    counts, recipe = float(np.exp(rng.uniform(np.log(4e5), np.log(2e6)))), draw_recipe(rng)
                seed = int(rng.integers(2**31))
                low = pet_physics.lower_counts(full, mm, fraction, counts, recipe, seed)
                each = np.full(len(full), fraction, np.float32)
                write_pet_batch(
                    out / f"{name}.npz", low, full, full, each, each * 0 + counts, each * 0, mm, str(recipe),
                    "real", entry["patient"], part,
                )  # fmt: skip


def write_pet_batch(target: Path, low: Any, full: Any, clean: Any, fraction: np.ndarray, counts: np.ndarray,
                stack: np.ndarray, mm: float, recipe: str, kind: str, patient: str, part: str) -> None:  # fmt: skip
    images = {
        k: np.asarray(v, np.float32).astype(np.float16) for k, v in (("low", low), ("full", full), ("clean", clean))
    }
    write_npz(
        target, **images, fraction=fraction, counts=counts.astype(np.float32),
        stack=stack.astype(np.int16), pixel_mm=np.float32(mm), recipe=recipe,
        kind=kind, patient=patient, part=part,
    )  # fmt: skip
