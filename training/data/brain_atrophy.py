"""Atrophy: ventricles, sulci and fissures of a brain grow wide, and the tissue between them gives way.

Every voxel of tissue has a way to the nearest fluid. Looking part of that way ahead moves the border of the fluid into
the tissue; the further from the fluid, the less. No border passes the middle of the fluid.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from training.core.data_cache import cache_folder, write_atomically
from training.data.brain_tissues import FLUID, RIM, TISSUE_GROUP
from training.data.labelled_brains import LabelledScan

VENTRICLES = (3, 4, 11, 12)  # groups of tissue
WAY_STEP = 0.25  # voxels, in which ways are kept
CORTEX = 2
DARK_SHARE = 0.6  # between fluid, 0, and grey matter, 1: what is darker in and about the cortex is a sulcus
LEAST_VOXELS = 60  # of a piece of fluid, so that no speck grows
FAR = 31.0  # voxels: ways are no longer


class FluidWays(NamedTuple):
    """Way and its length (4, X, Y, Z) int8, in steps of WAY_STEP, from every voxel of a scan to the nearest fluid of
    each kind.
    """

    ventricles: Tensor
    sulci: Tensor


def find_ways(fluid: np.ndarray) -> np.ndarray:
    """Return way and length (4, X, Y, Z) int8 to the nearest voxel of `fluid` (X, Y, Z) bool, cut to FAR."""
    away, nearest = ndimage.distance_transform_edt(~fluid, return_indices=True)
    both = np.concatenate([nearest - np.indices(fluid.shape), away[None]])
    shorter = np.minimum(1, FAR / np.maximum(away, 1e-6))
    return np.rint(both * (shorter / WAY_STEP)).astype(np.int8)


def load_ways(data: Path, name: str, scan: LabelledScan) -> FluidWays:
    """Return the ways to fluid in a scan, found anew or from the cache."""
    kept = cache_folder("stroke", data) / f"{name}_ways.npz"
    if not kept.exists():
        tissue, image = scan.tissue.numpy(), scan.image.numpy()
        group = TISSUE_GROUP.numpy()[tissue]
        ventricles = np.isin(group, VENTRICLES)
        fluid, grey = np.quantile(image[ventricles], 0.05), np.median(image[group == CORTEX])
        dark = image < fluid + DARK_SHARE * (grey - fluid)
        sulci = (tissue == 0) | (np.isin(group, (RIM, FLUID, CORTEX)) & dark)
        pieces, _ = ndimage.label(sulci)
        sulci &= np.bincount(pieces.ravel())[pieces] >= LEAST_VOXELS
        found = {"ventricles": find_ways(ventricles), "sulci": find_ways(sulci)}
        write_atomically(kept, lambda file: np.savez_compressed(file, **found))
    with np.load(kept) as arrays:
        return FluidWays(*(torch.from_numpy(arrays[field]) for field in FluidWays._fields))


def widen_fluid(where: Tensor, ways: Tensor, mm: Tensor, fade: float) -> tuple[Tensor, Tensor]:
    """Widen the fluid of a scan by `mm` (X, Y, Z) on each side, less the further from it (e-fold in `fade` voxels).

    `where` (3, X, Y, Z) is the voxel index in the scan of every voxel seen, `ways` one of `FluidWays`. Returns the
    moved indices and how much of every voxel has become fluid, 0 to 1.
    """
    shape = torch.tensor(ways.shape[1:])
    grid = (where * (2 / (shape - 1))[:, None, None, None] - 1).flip(0).movedim(0, -1)
    way = F.grid_sample(ways.float()[None], grid[None], padding_mode="border", align_corners=True)[0] * WAY_STEP
    way, away = way[:3], way[3]  # apart: between two sulci ways cancel out
    reached = mm * torch.exp(-away / fade)
    moved = where + way * (reached / away.clamp(min=1e-3)).clamp(max=1)
    return moved, (reached - away + 0.5).clamp(0, 1)
