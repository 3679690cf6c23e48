"""Patients of TCGA-LGG, or of any folder, as standardised slices for AR2-UNet."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from medapp.imaging.intensity import standardize
from medapp.imaging.volume import Volume
from medapp.pipelines.segment_glioma_ar2unet import make_working_grid, resample_slices
from training.core.case import Case

SIDE = 192  # pixels a side of a slice: 240 mm at the 1.25 mm that the pipeline works at
SEED = 20261121


@dataclass
class Patient:
    """A study: `whole` and `stripped` are standardised (N, 3, SIDE, SIDE) float16, `mask` is (N, SIDE, SIDE) bool."""

    name: str
    whole: np.ndarray
    stripped: np.ndarray
    mask: np.ndarray


def load_patient(folder: Path) -> Patient:
    """Read a patient and standardise each sequence over the whole study, with the skull and without it."""
    files = sorted(folder.glob("[0-9][0-9][0-9].jpg"))
    image = np.stack([read_picture(f, "RGB") for f in files]).transpose(0, 3, 1, 2)  # (N, 3, SIDE, SIDE)
    masks = [f.with_name(f.stem + "_mask.png") for f in files]
    mask = np.stack([read_picture(m, "L") > 127 if m.exists() else np.zeros((SIDE, SIDE), bool) for m in masks])
    return standardize_patient(folder.name, image, mask)


def patient_from_case(case: Case) -> Patient:
    """Return anyone's case as a patient: the pipeline's slices in the middle of SIDE × SIDE pixels."""
    pre, flair, post = case.volumes
    if flair is None:
        raise ValueError(f"{case.patient} has no FLAIR")
    grid, depth = make_working_grid(flair)

    def placed(volume: Volume) -> np.ndarray:
        """(N, SIDE, SIDE), nothing below 0."""
        array = resample_slices(volume, grid, depth) - volume.array.min()
        short = [max(SIDE - n, 0) for n in array.shape[1:]]
        array = np.pad(array, [(0, 0), *((n // 2, n - n // 2) for n in short)])
        top, left = ((n - SIDE) // 2 for n in array.shape[1:])
        return array[:, top : top + SIDE, left : left + SIDE]

    image = np.stack([placed(volume or flair) for volume in (pre, flair, post)], 1)
    return standardize_patient(case.patient, image, placed(case.truth) > 0)


def standardize_patient(name: str, image: np.ndarray, mask: np.ndarray) -> Patient:
    """Return a patient from (N, 3, SIDE, SIDE), from 0 on, and its mask (N, SIDE, SIDE) bool."""
    brain = estimate_brain(image[:, 1]) | mask
    whole = np.stack([standardize(image[:, c]) for c in range(3)], 1)
    stripped = np.stack([standardize(image[:, c] * brain) for c in range(3)], 1)
    return Patient(name, whole.astype(np.float16), stripped.astype(np.float16), mask)


def read_picture(file: Path, mode: str) -> np.ndarray:
    """Return a picture as SIDE × SIDE pixels of a Pillow mode."""
    return np.asarray(Image.open(file).convert(mode).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def estimate_brain(flair: np.ndarray) -> np.ndarray:
    """Return a slice-wise estimate of the brain in (N, H, W), good enough to simulate a stripped head."""
    threshold = 0.55 * np.median(flair[flair > flair.mean()])
    brain = np.zeros(flair.shape, bool)
    for index, piece in enumerate(flair):
        core = ndimage.binary_erosion(ndimage.gaussian_filter(piece.astype(np.float32), 1) > threshold, iterations=4)
        labels, count = ndimage.label(core)
        if count:
            largest = labels == 1 + np.argmax(ndimage.sum(core, labels, range(1, count + 1)))
            grown = ndimage.binary_dilation(largest, iterations=5)
            brain[index] = ndimage.binary_fill_holes(ndimage.binary_closing(grown, iterations=4))
    return brain


def study_site(name: str) -> str:
    """Return the site of a TCGA study, "DU" for TCGA_DU_1234, "" for others."""
    return name.split("_")[1] if name.startswith("TCGA_") else ""


def split_patients(names: list[str], validation: float = 0.12, test: float = 0.14) -> dict[str, list[str]]:
    """Split patients into train, validation and test with every site in the same proportion, always the same way.

    Patients of no known site count as one site, with at least one of them in each part if there are three.
    """
    random = np.random.default_rng(SEED)
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for site in sorted({study_site(n) for n in names}):
        members = random.permutation(sorted(n for n in names if study_site(n) == site)).tolist()
        least = int(not site and len(members) > 2)
        v, t = (max(least, round(len(members) * share)) for share in (validation, test))
        parts["validation"] += members[:v]
        parts["test"] += members[v : v + t]
        parts["train"] += members[v + t :]
    return parts


def read_slices(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return slices (row, column, slice, channel) uint8 and their masks (row, column, slice) bool."""
    image = np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files], 2)
    mask = np.zeros(image.shape[:3], bool)
    for number, file in enumerate(files):
        mask_file = file.with_name(f"{file.stem}_mask.png")
        if mask_file.exists():
            mask[..., number] = np.asarray(Image.open(mask_file).convert("L")) > 127
    return image, mask
