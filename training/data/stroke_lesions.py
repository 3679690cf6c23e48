"""Painted strokes: shapes of real infarcts with the look of old ones in T1.

Nothing outside a brain's tissue is painted. An old infarct is a cavity nearly as dark as fluid, with strands and a rim
of gliosis between fluid and white matter; some never hollow out. `paint_ageing` paints what is easily taken for one:
widened perivascular spaces and sulci, white-matter disease. Images are (X, Y, Z) float32 from 0 to 1 with voxels of 1
mm along RAS, tissues are numbered as in `training.data.brain_tissues`; both are changed in place, nothing else is.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor

from medapp.imaging.volume import Grid
from training.core.random_source import RandomSource
from training.data.brain_tissues import FLUID_TISSUES, TISSUE_GROUP
from training.data.labelled_brains import SEED

BINS_ML = (0.15, 1, 5, 20, 60, 300)  # borders of the sizes of lesion
SIZE_SHARES = (0.15, 0.3, 0.25, 0.17, 0.13)  # how often each size is drawn
SPLIT = {"train": 0.8, "validation": 0.08, "test": 0.12}  # of the masks
LEAST_VOXELS = 12  # voxels in one piece, at least
SHAPE_MARGIN = 6  # voxels around a shape that may change
WHITE, CORTEX, VENTRICLE, PUTAMEN = 1, 2, 3, 8  # groups of tissue
Box = tuple[slice, slice, slice]


class LesionShape(NamedTuple):
    """A real lesion: (X, Y, Z) bool, cut out closely, and (4, 4) from voxel index to MNI millimetres."""

    name: str
    mask: np.ndarray
    affine: np.ndarray


class LesionShapes:
    """The masks of one part of the split, packed as they come."""

    def __init__(self, data: Path, part: str) -> None:
        self.packs = {file.stem: dict(np.load(file)) for file in sorted(data.glob("*.npz"))}
        self.bins: list[list[tuple[str, int]]] = [[] for _ in SIZE_SHARES]
        for pack, content in self.packs.items():
            size = np.digitize(content["volume_vox"] / 1000, BINS_ML) - 1
            for at in split_masks(len(size))[part]:
                if 0 <= size[at] < len(SIZE_SHARES):
                    self.bins[size[at]].append((pack, int(at)))

    def draw(self, rng: RandomSource) -> LesionShape:
        """Draw a mask, its size by SIZE_SHARES."""
        share = np.array(SIZE_SHARES) * [bool(kept) for kept in self.bins]
        size = int(np.searchsorted(np.cumsum(share / share.sum()), rng.uniform(0, 1)).clip(0, len(share) - 1))
        pack, at = self.bins[size][rng.randint(len(self.bins[size]))]
        content = self.packs[pack]
        box = content["bbox"][at].astype(int)
        bits = np.unpackbits(content["bits"][content["offset"][at] : content["offset"][at + 1]])
        extent = box[3:] - box[:3]
        mask = bits[: extent.prod()].reshape(extent).astype(bool)
        return LesionShape(str(content["names"][at]), mask, content["affine"] @ from_matvec(np.eye(3), box[:3]))


def split_masks(count: int) -> dict[str, np.ndarray]:
    """Split the numbers below `count` into parts, always the same way."""
    order = np.random.default_rng(SEED).permutation(count)
    ends = (np.cumsum(list(SPLIT.values())) * count).round().astype(int)
    return dict(zip(SPLIT, np.split(order, ends[:-1]), strict=True))


def place_lesion(shape: LesionShape, grid: Grid, rng: RandomSource) -> tuple[Box, np.ndarray] | None:
    """Turn, stretch, shift, perhaps mirror a shape and make its border ragged; return a box of the grid and bool in it.

    Returns None if it does not lie in the grid.
    """
    middle = apply_affine(shape.affine, (np.array(shape.mask.shape) - 1) / 2)
    side = np.diag([-1.0 if rng.bernoulli(0.5) else 1.0, 1, 1])
    angles, stretch, shift = (rng.normal(3, scale=scale).numpy() for scale in (6, 0.06, 3.5))
    turn = side @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.exp(rng.gauss(0.12) + stretch)
    to_grid = np.linalg.inv(grid.affine) @ from_matvec(turn, side @ middle + shift - turn @ middle) @ shape.affine
    corners = np.stack(np.meshgrid(*((0, n - 1) for n in shape.mask.shape), indexing="ij"), -1).reshape(-1, 3)
    ends = apply_affine(to_grid, corners)
    low = np.maximum(np.floor(ends.min(0)).astype(int) - SHAPE_MARGIN, 0)
    high = np.minimum(np.ceil(ends.max(0)).astype(int) + SHAPE_MARGIN + 1, grid.shape)
    if (high - low < 4).any():
        return None
    x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    back = np.linalg.inv(to_grid)
    offset = apply_affine(back, low)
    size = tuple((high - low).tolist())
    mask = ndimage.affine_transform(shape.mask.astype(np.float32), back[:3, :3], offset, size, order=1)
    ragged = rng.smooth_field(size, 7)[0] * rng.uniform(0, 0.14) + rng.smooth_field(size, 3)[0] * rng.uniform(0, 0.1)
    mask = ndimage.gaussian_filter(mask, rng.uniform(0.4, 1.0))
    return (x, y, z), mask + ragged.numpy() * (mask > 0.02) > 0.5


def reference_levels(image: Tensor, tissue: Tensor, share: float = 0.25) -> tuple[float, float]:
    """Return the brightness of the ventricles and of the white matter of a scan.

    That of the ventricles is the quantile `share`: their darker half, or less of small ones, which are grey.
    """
    group = TISSUE_GROUP[tissue[::2, ::2, ::2].long()]
    few = image[::2, ::2, ::2]
    ventricle, white = few[group == VENTRICLE], few[group == WHITE]
    return float(ventricle.quantile(share)), float(white.median())


def keep_tissue(shape_mask: np.ndarray, tissue: Tensor) -> np.ndarray:
    """Return the part of a shape (X, Y, Z) bool that is a lesion: tissue, and the narrow sulci within."""
    group = TISSUE_GROUP[tissue.long()].numpy()
    empty = (group == 0) | np.isin(group, FLUID_TISSUES)
    mask = ndimage.binary_closing(shape_mask & ~empty, iterations=2) & shape_mask & (group != 0) & (group != VENTRICLE)
    pieces, count = ndimage.label(mask)
    return mask & ~np.isin(pieces, np.flatnonzero(np.bincount(pieces.ravel(), minlength=count + 1) < LEAST_VOXELS))


def spread_mask(mask: Tensor, voxels: int) -> Tensor:
    """Return how near (X, Y, Z) bool is, 0 to 1: its mean within `voxels` voxels of 4 to either side."""
    coarse = F.avg_pool3d(mask.float()[None, None], 4, 4, ceil_mode=True)
    return F.interpolate(F.avg_pool3d(coarse, 2 * voxels + 1, 1, voxels), mask.shape, mode="trilinear")[0, 0]


def paint_infarct(
    image: Tensor, tissue: Tensor, shape_mask: np.ndarray, rng: RandomSource, levels: tuple[float, float]
) -> np.ndarray:
    """Paint a lesion into a box of an image, in place; return its mask (X, Y, Z) bool, empty if there is no tissue.

    `shape_mask` (X, Y, Z) bool is its shape before it is kept to the tissue; `levels` are those of `reference_levels`.
    """
    mask = keep_tissue(shape_mask, tissue)
    if not mask.any():
        return mask

    group = TISSUE_GROUP[tissue.long()].numpy()
    empty = (group == 0) | np.isin(group, FLUID_TISSUES)
    size = tuple(mask.shape)
    fields = {spacing: rng.smooth_field(size, spacing)[0].numpy() for spacing in (4, 7, 12)}
    depth = ndimage.distance_transform_edt(mask)
    thick = depth.max()  # of a lacune little, of a territory much
    rim = rng.uniform(0.2, min(2.5, 0.25 * thick + 0.25)) * np.exp(0.4 * fields[12])
    core = np.clip((depth - rim) / rng.uniform(0.7, 1.6) + 0.4, 0, 1)
    glial = np.clip(rng.uniform(0.5, 0.8) * (1 + 0.2 * fields[7]), 0.4, 0.9)  # darker than grey matter
    kind = rng.uniform(0, 1)
    hollow: float | np.ndarray = rng.uniform(0.85, 1.0)
    if kind < 0.12:  # never hollowed out
        hollow = rng.uniform(0.6, 0.8)
    elif kind < 0.4:  # hollow in places
        hollow = hollow * np.clip(0.75 + 0.4 * fields[12] + 0.2 * fields[7], 0.3, 1)
    if rng.bernoulli(0.35):  # strands
        hollow = hollow * (1 - rng.uniform(0.3, 0.6) * np.clip(1 - np.abs(fields[7]) / 0.12, 0, 1))
    share = mask * np.maximum(core * hollow, glial)
    share = ndimage.gaussian_filter(share, rng.uniform(0.35, 0.75))

    fluid, white = levels
    dark = fluid + (white - fluid) * (rng.uniform(-0.03, 0.15) + 0.03 * fields[4])
    original = image.numpy()
    # grey and white matter cannot be told apart any more
    flat = ndimage.gaussian_filter(original, 1.5) * 0.6 + original * 0.4
    halo = ndimage.gaussian_filter(mask.astype(np.float32), 2.5) * rng.uniform(0, 0.15) * ~empty
    around = (1 - share) * (1 - halo) + halo * share
    changed = np.where(mask, flat, original) * around + dark * (1 - around)
    image.copy_(torch.from_numpy(np.where(group == 0, original, np.maximum(changed, 0)).astype(np.float32)))
    return mask


def paint_ageing(image: Tensor, tissue: Tensor, rng: RandomSource, levels: tuple[float, float]) -> None:
    """Paint changes of age that are no stroke, in place; `levels` are those of `reference_levels`."""
    fluid = levels[0]
    group = TISSUE_GROUP[tissue.long()]
    if rng.bernoulli(0.6):
        share = torch.zeros_like(image)
        for where, most in ((group == PUTAMEN, 14), (group == WHITE, 20)):
            places = where.flatten().nonzero()[:, 0]
            for _ in range(rng.randint(most) if len(places) else 0):
                _paint_perivascular_space(share, int(places[rng.randint(len(places))]), rng)
        _blend(image, share * ((group == WHITE) | (group >= 5)), fluid)
    if rng.bernoulli(0.5):  # caps and bands around the ventricles, patches in the white matter
        near = spread_mask(group == VENTRICLE, 2)
        size = tuple(image.shape)
        patches = rng.smooth_field(size, 9)[0] * 0.8 + rng.smooth_field(size, 22)[0] * 0.6
        reach = near / near.max() * rng.uniform(0, 4) + patches - rng.uniform(1.6, 3)
        _blend(image, reach.clamp(0, 1) * rng.uniform(0.08, 0.35) * (group == WHITE), fluid)
    if rng.bernoulli(0.5):  # sulci
        outside = F.max_pool3d(((group == 0) | (group == 42)).float()[None, None], 3, 1, 1)[0, 0]
        where = (rng.smooth_field(tuple(image.shape), 18)[0] - rng.uniform(0, 1.5)).clamp(0, 1)
        _blend(image, outside * where * (group == CORTEX) * rng.uniform(0.5, 1), fluid)


def _blend(image: Tensor, share: Tensor, level: float) -> None:
    image.lerp_(torch.full_like(image, level), share)


def _paint_perivascular_space(share: Tensor, place: int, rng: RandomSource) -> None:
    """One perivascular space: a short thin line through a voxel."""
    centre = np.array(np.unravel_index(place, tuple(share.shape)))
    way = rng.normal(3).numpy() * [1, 1, 2]
    way /= np.linalg.norm(way) + 1e-6
    low = np.maximum(centre - 6, 0)
    high = np.minimum(centre + 7, share.shape)
    away = np.indices(high - low).reshape(3, -1).T + low - centre
    along = away @ way
    across = np.linalg.norm(away - along[:, None] * way, axis=1)
    line = np.clip(rng.uniform(0.5, 1.4) + 0.5 - across, 0, 1) * (np.abs(along) < rng.uniform(1, 6))
    region = share[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    dark = torch.from_numpy((line * rng.uniform(0.3, 0.9)).reshape(region.shape)).float()
    region.copy_(torch.maximum(region, dark))
