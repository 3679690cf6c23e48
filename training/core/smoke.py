"""Try trainings in seconds, without data: `python -m training.core.smoke [TRAINING ...] --out OUT`.

Makes a miniature of what the training reads, in noise and boxes, and lets it take a few steps twice: at one go, and
killed on the way. Both must end with the same weights. OUT gets `TRAINING/data`, `TRAINING/whole`, `TRAINING/killed`.
"""

import argparse
import importlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch
from PIL import Image

from medapp.errors import UserError

SITES = ("CS", "DU", "HT")
BRAIN_MM, SPACING_MM = (62, 80, 60), 2  # half axes, and the voxels that they are drawn in
FEW = range(3)  # two to learn from, one held out
PAIRS = (1002, 1003, 1007, 1012, 1001)  # as of our set: two to learn from, two held out, one for the test
NESTED = ((1.0, 203, 204, 110), (0.85, 44, 45, 170), (0.35, 51, 52, 30))  # share, Neuromorphometrics right, left, T1


class ResumeError(UserError):
    """A killed training did not resume as if it had not been killed."""


class Trial(NamedTuple):
    """How a training is tried: a function that makes its DATA, and its arguments for a few steps."""

    data: Callable[[Path], None]
    arguments: tuple[str, ...]


def noisy_box(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise about 60 of 255 with a brighter box, uint8, and the box, bool."""
    random = np.random.default_rng(seed)
    box = np.zeros(shape, bool)
    box[tuple(slice(n // 3, n // 3 + n // 4) for n in shape)] = True
    return np.clip(random.normal(60, 8, shape) + 90 * box, 0, 255).astype(np.uint8), box


def make_gliomas(folder: Path) -> None:
    """Write 18 studies of three slices, as `segment_glioma_ar2unet` reads them."""
    for number in range(18):
        study = folder / f"TCGA_{SITES[number % 3]}_{number:04d}_19990101"
        study.mkdir()
        for index in range(1, 4):
            image, mask = noisy_box((96, 96), 10 * number + index)
            Image.fromarray(np.repeat(image[..., None], 3, -1)).save(study / f"{index:03d}.jpg")
            Image.fromarray(mask.astype(np.uint8) * 255).save(study / f"{index:03d}_mask.png")


def make_ct_doses(folder: Path) -> None:
    """Write three slices with four noisy versions each, as `restore_ct_rat` reads them."""
    for number, part in enumerate(("train", "train", "validation")):
        image = noisy_box((256, 256), number)[0].astype(np.float32)
        low = np.stack([image + np.random.default_rng(n).normal(0, 20, image.shape) for n in range(4)])
        np.savez(folder / f"slice{number}.npz", part=part, full=image, low=low)


def make_pet_counts(folder: Path) -> None:
    """Write three stacks of slices with full and fewer counts, as `restore_pet_rat` reads them."""
    for number, part in enumerate(("train", "train", "validation")):
        full = np.stack([noisy_box((96, 96), 10 * number + n)[0] for n in range(4)]).astype(np.float32)
        low = np.random.default_rng(number).poisson(full).astype(np.float32)
        facts = {"kind": "real" if number else "phantom", "stack": np.zeros(4, int), "fraction": np.full(4, 0.25)}
        np.savez(folder / f"scan{number}.npz", part=part, low=low, full=full, pixel_mm=2.0, patient=number, **facts)


def make_pathology_fields(folder: Path) -> None:
    """Write 12 pictures, as `restore_pathology_rat` reads them."""
    for number in range(12):
        image = np.stack([noisy_box((576, 576), 3 * number + c)[0] for c in range(3)], -1)
        Image.fromarray(image).save(folder / f"TCGA-{number:02d}.png")


def make_brains(folder: Path, names: Iterable[int], size: float = 1.0) -> None:
    """Write T1 and labels of ellipsoids of cortex, white matter and ventricle, each in two halves and no two alike."""
    half = np.array(BRAIN_MM) * size
    reach = half.astype(int) // SPACING_MM * SPACING_MM + 10
    affine = nib.affines.from_matvec(np.eye(3) * SPACING_MM, -reach)
    mm = np.moveaxis(np.indices(2 * reach // SPACING_MM) * SPACING_MM, 0, -1) - reach
    for number in names:
        random = np.random.default_rng(number)
        away = np.linalg.norm(mm / (half * random.uniform(0.92, 1.04, 3)), axis=-1)
        t1, labels = (np.zeros(away.shape, np.uint8) for _ in range(2))
        for share, right, left, level in NESTED:
            inside = away < share
            t1[inside] = random.normal(level, 6, inside.sum())
            labels[inside] = np.where(mm[..., 0] < 0, left, right)[inside]
        for image, kind in ((t1, "t1"), (labels, "labels")):
            nib.save(nib.Nifti1Image(image, affine), folder / f"{number:04d}_{kind}.nii.gz")


def make_strokes(folder: Path) -> None:
    """Write brains, and masks packed as `stroke_lesions` unpacks them: boxes of 2 to 10 ml in MNI space."""
    for kind in ("brain_t1", "stroke_masks"):
        (folder / kind).mkdir()
    make_brains(folder / "brain_t1", FEW)
    random, boxes, bits = np.random.default_rng(0), [], []
    for side in range(13, 21):
        corner = random.integers((50, 80, 60), (90, 110, 90))
        boxes.append([*corner, *(corner + side)])
        bits.append(np.packbits(np.ones(side**3, bool)))
    boxes, sizes = np.array(boxes * 5), np.array([len(b) for b in bits] * 5)
    np.savez(
        folder / "stroke_masks" / "boxes.npz",
        names=[f"box {n}" for n in range(len(boxes))],
        affine=nib.affines.from_matvec(np.eye(3), (-98, -134, -72)),
        bbox=boxes,
        volume_vox=np.prod(boxes[:, 3:] - boxes[:, :3], axis=1),
        bits=np.concatenate(bits * 5),
        offset=np.concatenate([[0], np.cumsum(sizes)]),
    )


def make_small_brains(folder: Path) -> None:
    """Write three brains of half the size."""
    (folder / "brain_t1").mkdir()
    make_brains(folder / "brain_t1", FEW, 0.5)


TRIALS = {
    "segment_brain_unet": Trial(
        make_small_brains, ("--part", "coarse", "--real", "--steps", "2", "--width", "4", "--every", "2")
    ),
    "segment_anatomy_unet": Trial(
        partial(make_brains, names=FEW, size=0.5), ("--steps", "2", "--width", "4", "--every", "2")
    ),
    "segment_stroke_raxnet": Trial(
        make_strokes,
        ("--plane", "axial", "--steps", "2", "--batch", "2", "--width", "4", "--every", "2")
        + ("--heads", "2", "--before", "2", "--held", "1"),
    ),
    "register_brain_textscf": Trial(
        partial(make_brains, names=PAIRS), ("--steps", "2", "--width", "2", "--every", "2")
    ),
    "segment_glioma_ar2unet": Trial(make_gliomas, ("--epochs", "2", "--batch", "24", "--width", "4", "--every", "1")),
    "restore_ct_rat": Trial(make_ct_doses, ("--steps", "2", "--batch", "1", "--every", "2")),
    "restore_pet_rat": Trial(make_pet_counts, ("--steps", "2", "--batch", "1", "--every", "2")),
    "restore_pathology_rat": Trial(make_pathology_fields, ("--steps", "2", "--batch", "1", "--every", "2")),
}


def check_resume(name: str, out: Path) -> None:
    """Run a training without and with a kill in between. Raises ResumeError if the weights differ."""
    trial, data = TRIALS[name], out / name / "data"
    if not data.exists():
        data.mkdir(parents=True)
        trial.data(data)
    main = importlib.import_module(f"training.methods.{name}").main
    whole, killed = out / name / "whole", out / name / "killed"
    arguments = ["--data", str(data), "--device", "cpu", *trial.arguments]
    main([*arguments, "--out", str(whole)])
    for again in ([], ["--resume"]):
        main([*arguments, "--out", str(killed), "--minutes", "1e-9", *again])
    first, second = (torch.load(folder / "checkpoint.pt", weights_only=True)["average"] for folder in (whole, killed))
    if first.keys() != second.keys() or not all(torch.allclose(first[key], second[key]) for key in first):
        raise ResumeError(f"{name}: a killed run ended with other weights than one that was not.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", nargs="*", choices=[[], *TRIALS], help="all by default")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    for name in args.training or TRIALS:
        check_resume(name, args.out)
        print(f"{name}: well", flush=True)


if __name__ == "__main__":
    main()
