"""The CT and PET sets of restoration: index, split and files."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.core.data_cache import write_atomically

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


def part_of(task: str, patient: str) -> str:
    """Return the part, one of PARTS, to which a patient of `ct` or `brain` belongs."""
    return next((part for part, patients in HELD_BACK[task].items() if patient in patients), "train")


def read_index(data: Path, task: str) -> list[dict[str, Any]]:
    """Return the index entries of one task (`ct`, `pet`), in the index's order."""
    index = json.loads((data / "index.json").read_text())
    return [entry for entry in index if entry["task"] == TASKS[task]]


def named_generator(name: str) -> np.random.Generator:
    """Return a generator that depends on the name alone, so that a resumed run makes the same."""
    return np.random.default_rng([SEED, zlib.crc32(name.encode())])


def read_ct_slice(path: Path) -> np.ndarray:
    """Return a slice in HU, (H, W) float32, from 16-bit JPEG 2000 that stores HU + 1024."""
    return np.asarray(Image.open(path)).astype(np.float32) - 1024


def write_npz(path: Path, **arrays: Any) -> None:
    """Write an `.npz` that appears under its name only once it is complete."""
    write_atomically(path, lambda file: np.savez(file, **arrays))
