"""A training tried out in seconds, without data: `python -m training.smoke [TRAINING ...] --out OUT`.

Makes a miniature of what the training reads, in noise and boxes, and lets it take a few steps twice: at one go, and
killed on the way. Both must end with the same weights. OUT gets `TRAINING/data`, `TRAINING/whole`, `TRAINING/killed`.
"""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from medapp.errors import UserError

SITES = ("CS", "DU", "HT")


class Differs(UserError):
    """A killed training did not go on as if nothing had happened."""


class Trial(NamedTuple):
    """How a training is tried: what makes its DATA, and its arguments for a few steps."""

    data: Callable[[Path], None]
    arguments: tuple[str, ...]


def blob(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise about 60 of 255 with a brighter box, and the box, bool."""
    random = np.random.default_rng(seed)
    box = np.zeros(shape, bool)
    box[tuple(slice(n // 3, n // 3 + n // 4) for n in shape)] = True
    return np.clip(random.normal(60, 8, shape) + 90 * box, 0, 255).astype(np.uint8), box


def gliomas(folder: Path) -> None:
    for number in range(18):
        study = folder / f"TCGA_{SITES[number % 3]}_{number:04d}_19990101"
        study.mkdir()
        for index in range(1, 4):
            image, mask = blob((96, 96), 10 * number + index)
            Image.fromarray(np.repeat(image[..., None], 3, -1)).save(study / f"{index:03d}.jpg")
            Image.fromarray(mask.astype(np.uint8) * 255).save(study / f"{index:03d}_mask.png")


def doses(folder: Path) -> None:
    for number, part in enumerate(("train", "train", "validation")):
        image = blob((256, 256), number)[0].astype(np.float32)
        low = np.stack([image + np.random.default_rng(n).normal(0, 20, image.shape) for n in range(4)])
        np.savez(folder / f"slice{number}.npz", part=part, full=image, low=low)


def counts(folder: Path) -> None:
    for number, part in enumerate(("train", "train", "validation")):
        full = np.stack([blob((96, 96), 10 * number + n)[0] for n in range(4)]).astype(np.float32)
        low = np.random.default_rng(number).poisson(full).astype(np.float32)
        facts = {"kind": "real" if number else "phantom", "stack": np.zeros(4, int), "fraction": np.full(4, 0.25)}
        np.savez(folder / f"scan{number}.npz", part=part, low=low, full=full, pixel_mm=2.0, patient=number, **facts)


def fields(folder: Path) -> None:
    for number in range(12):
        image = np.stack([blob((576, 576), 3 * number + c)[0] for c in range(3)], -1)
        Image.fromarray(image).save(folder / f"TCGA-{number:02d}.png")


TRIALS = {
    "segment_glioma_ar2unet": Trial(gliomas, ("--epochs", "2", "--batch", "24", "--width", "4", "--every", "1")),
    "restore_ct_rat": Trial(doses, ("--steps", "2", "--batch", "1", "--every", "2")),
    "restore_pet_rat": Trial(counts, ("--steps", "2", "--batch", "1", "--every", "2")),
    "restore_pathology_rat": Trial(fields, ("--steps", "2", "--batch", "1", "--every", "2")),
}


def tried(name: str, out: Path) -> None:
    """Run one training at one go and killed in between. Raises Differs."""
    trial, data = TRIALS[name], out / name / "data"
    if not data.exists():
        data.mkdir(parents=True)
        trial.data(data)
    main = importlib.import_module(f"training.{name}").main
    whole, killed = out / name / "whole", out / name / "killed"
    main(["--data", str(data), "--out", str(whole), "--device", "cpu", *trial.arguments])
    for _ in range(2):
        main(["--data", str(data), "--out", str(killed), "--device", "cpu", *trial.arguments, "--minutes", "1e-9"])
    first, second = (torch.load(folder / "checkpoint.pt", weights_only=True)["average"] for folder in (whole, killed))
    if first.keys() != second.keys() or not all(torch.allclose(first[key], second[key]) for key in first):
        raise Differs(f"{name}: a killed run ended with other weights than one that was not.")


def main(given: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", nargs="*", choices=[[], *TRIALS], help="all unless said")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(given)
    for name in args.training or TRIALS:
        tried(name, args.out)
        print(f"{name}: well", flush=True)


if __name__ == "__main__":
    main()
