"""T1 scans without skull and their Neuromorphometrics labels, cached at 1 mm along RAS."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from medapp.errors import UserError
from medapp.imaging.brain_labels import translate_labels
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.io import files
from training.core.data_cache import cache_folder
from training.data.brain_tissues import BASAL, CHIASM, FLUID, RIM, TISSUE_CLASS, VERMIS
from training.data.template_head import fit_head

VALIDATION_SCANS = ("1007", "1012", "1036")  # of our scans
TEST_SCANS = ("1001", "1009", "1014", "1017")  # people scanned once: the rescans of the set are all trained on
RESCANS = {"1023": "1003", "1024": "1004", "1025": "1005", "1038": "1018", "1039": "1019"}  # of the same person
SEED = 20261122
MARGIN = 24  # voxels around what is not black
STEP_MM = 0.25  # of the distance from the brain, kept as uint8


class LabelledScan(NamedTuple):
    """One scan at 1 mm, axes along RAS: (X, Y, Z) uint8; `distance` is from the brain, in steps of STEP_MM.

    `head` is the average head round it, on the grid of `template_head.fit_head`.
    """

    image: Tensor
    tissue: Tensor
    distance: Tensor
    head: Tensor | None = None


def list_scans(data: Path) -> list[str]:
    """Return the names of the T1 scans in a folder."""
    return sorted(p.name.removesuffix("_t1.nii.gz") for p in data.glob("*_t1.nii.gz"))


def split_scans(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the scans of "train", "validation" and "test": fixed ones of our set, of others every fifth for each of
    the last two.
    """
    held: dict[str, Sequence[str]] = {"validation": VALIDATION_SCANS, "test": TEST_SCANS}
    if not set(TEST_SCANS) & set(names):
        held = {"validation": names[2::5], "test": names[4::5]}
    parts = {part: [name for name in names if name in scans] for part, scans in held.items()}
    parts["train"] = [name for name in names if name not in {*parts["validation"], *parts["test"]}]
    return parts


def training_scans(data: Path, held: int = 1) -> tuple[list[str], list[str]]:
    """Return the scans to learn from and those to validate on. Raises UserError for fewer than `held` of the latter."""
    parts = split_scans(names := list_scans(data))
    if not parts["train"] or len(parts["validation"]) < held:
        few = f"{data} holds {len(names)} scans (ID_t1.nii.gz beside ID_labels.nii.gz)"
        raise UserError(f"{few}: too few to learn from and to hold {held} out.")
    return parts["train"], parts["validation"]


def load_scan(data: Path, name: str) -> LabelledScan:
    """Return a scan, read anew or from the cache."""
    kept = cache_folder("anatomy", data) / f"{name}.npz"
    if not kept.exists():
        image = files.read([data / f"{name}_t1.nii.gz"])
        labels = files.read([data / f"{name}_labels.nii.gz"])
        grid = with_isotropic_spacing(reorient(image.grid), 1.0)
        t1 = resample(image, grid).array
        numbers = resample(labels.new_like(labels.array, labels={1: "any"}), grid).array
        tissue = translate_labels(numbers)
        vermis = (numbers >= 71) & (numbers <= 74)
        tissue[vermis] = np.where(tissue[vermis] == TISSUE_CLASS[VERMIS].item(), VERMIS, VERMIS + 1)
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
    return LabelledScan(*(torch.from_numpy(arrays[field]) for field in ("image", "tissue", "distance")))


def load_average_head(scan: LabelledScan, data: Path, name: str) -> LabelledScan:
    """Return the scan with the average head fitted round it, made anew or from the cache."""
    kept = cache_folder("anatomy", data) / f"{name}_head.npy"
    if not kept.exists():
        np.save(kept, fit_head(scan.distance.numpy() == 0))
    return scan._replace(head=torch.from_numpy(np.load(kept)))
