"""Image pairs for restoration, degraded by physics.

`python -m training.data.restoration_data ct|pet --data DATA --out OUT`.

DATA is a folder with `index.json`, `ct_fulldose/` and `pet/`. One `.npz` per slice or batch is written into OUT; a
killed run goes on where it stopped. (Degraded pathology fields are cheap: its training makes them on the fly.)
Patients are split once and for all in `split`. What is read here is numpy.
"""

import argparse
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from medapp.simulation import low_dose_ct as ct_physics

SEED = 20261203
PARTS = ("train", "validation", "test")
HELD_BACK = {  # patients of each set that are not trained on; brains: rescans of one subject stay together
    "ct": {
        "validation": ("LIDC-IDRI-0003", "A002304"),
        "test": ("LIDC-IDRI-0001", "A062055", "A072894"),
    },
    "brain": {
        "validation": ("1003", "1023", "1008"),
        "test": ("1004", "1024", "1011", "1014"),
    },
}
TASKS = {"ct": "ct_fulldose", "pet": "pet"}
REALISATIONS = 4  # of each CT slice


def split(task: str, patient: str) -> str:
    """The part, one of PARTS, that a patient of `ct` or `brain` belongs to."""
    return next((part for part, patients in HELD_BACK[task].items() if patient in patients), "train")


def entries(data: Path, task: str) -> list[dict[str, Any]]:
    """The index entries of one task (`ct`, `pet`), in the index's order."""
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
    `noise` at full dose in HU, `pixel_mm`, `patient`, `part`. The first half of the versions has the grain of the
    image, the others a softer or sharper one of the same strength.
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
        from training.data.pet_pairs import pet_pairs  # which reads its patients from here

        pet_pairs(arguments.data, arguments.brains or arguments.data.parent / "brain_t1", arguments.out)


if __name__ == "__main__":
    main()
