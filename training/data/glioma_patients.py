"""Patients of TCGA-LGG, or of any folder, as standardised slices for AR2-UNet."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from medapp.imaging.intensity import STANDARD_RANGE, find_standard_scale, standardize
from medapp.imaging.volume import Volume
from medapp.pipelines.segment_glioma_ar2unet import make_working_grid, resample_slices
from training.core.case import Case

SIDE = 192  # pixels a side of a slice: 240 mm at the 1.25 mm that the pipeline works at
LESION_RIM = 6  # pixels around a lesion that are taken for brain
SEED = 20261121


@dataclass
class Patient:
    """A study: `whole` is standardised (N, 3, SIDE, SIDE) float16, `brain` and `mask` are (N, SIDE, SIDE) bool.

    `bare_scale` (3, 3) has for each sequence the factor and the offset that make its values in `whole` those of the
    scan standardised without the skull, and the value of the air there.
    """

    name: str
    whole: np.ndarray
    brain: np.ndarray
    mask: np.ndarray
    bare_scale: np.ndarray

    @property
    def stripped(self) -> np.ndarray:
        """The slices without the skull, standardised as such, of the shape of `whole`."""
        factor, offset, air = self.bare_scale.T[:, :, None, None]
        bare = np.where(self.brain[:, None], self.whole * factor + offset, air)
        return bare.clip(*STANDARD_RANGE).astype(np.float16)


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
    near = ndimage.binary_dilation(mask, np.ones((1, 3, 3)), iterations=LESION_RIM)
    brain = estimate_brain(image[:, 1]) | near  # no border that gives a lesion away where the estimate misses it
    whole = np.stack([standardize(image[:, c]) for c in range(3)], 1)
    scales = np.array([_compare_scales(image[:, c], brain) for c in range(3)], np.float32)
    return Patient(name, whole.astype(np.float16), brain, mask, scales)


def _compare_scales(image: np.ndarray, brain: np.ndarray) -> tuple[float, float, float]:
    """Return a sequence's row of `Patient.bare_scale`."""
    median, spread = find_standard_scale(image) or (0.0, 1.0)
    bare_median, bare_spread = find_standard_scale(image * brain) or (median, spread)
    return spread / bare_spread, (median - bare_median) / bare_spread, -bare_median / bare_spread


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


def change_scanner(image: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return slices (row, column, slice, channel) uint8 as another scanner might show them, float32 from 0 on.

    Each channel has its own gamma, well off 1 either way, all one coil's shading, and noise.
    """
    rows, columns = (np.linspace(-1, 1, n)[:, None] for n in image.shape[:2])
    a, b, c, d = random.uniform(-0.25, 0.25, 4)
    shading = np.exp(a * rows + b * columns.T + c * rows**2 + d * columns.T**2)[..., None]
    out = np.empty(image.shape, np.float32)
    for channel in range(image.shape[-1]):
        gamma = np.exp(random.choice([-1, 1]) * random.uniform(0.25, 0.5))
        clean = (image[..., channel] / 255.0) ** gamma * shading
        noise = random.normal(0, 0.02, (2, *clean.shape))
        out[..., channel] = 1000 * np.hypot(clean + noise[0], noise[1])
    return out
