"""Small studies in BIDS: names without images, and FLAIR scans that the glioma method reads in a moment."""

import json
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

from medapp import examples

METHOD = "segment_glioma_ar2unet"
SLICES = slice(11, 15)  # of the example, through its lesion


def describe_study(root: Path) -> Path:
    """Write what every study has; return its folder."""
    root.mkdir(parents=True, exist_ok=True)
    description = {"Name": "Synthetic", "BIDSVersion": "1.10.0", "Authors": ["Nobody"]}
    (root / "dataset_description.json").write_text(json.dumps(description))
    (root / "README").write_text("Made for tests: " + "synthetic scans of nobody. " * 8)
    return root


def touch_files(root: Path, names: Iterable[str]) -> Path:
    """A study of empty files."""
    describe_study(root)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def write_flairs(root: Path, names: Iterable[str]) -> Path:
    """A study of FLAIR scans, each the example with other noise and brightness."""
    describe_study(root)
    example = next(e for e in examples.of_task("segmentation") if e.reference and set(e.images) == {"flair"})
    image = nib.load(example.images["flair"])
    slices = np.asarray(image.dataobj, np.float32)[:, :, SLICES]
    for number, name in enumerate(names):
        random = np.random.default_rng(number)
        noisy = (slices + random.normal(0, 0.01 * slices.max(), slices.shape) * (slices > 0)) * random.uniform(0.5, 2)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(noisy.astype(np.float32), image.affine), path)
    return root
