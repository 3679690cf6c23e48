"""Texture files: bytes for the browser's shaders, gzipped, named by their content, x fastest in RAS+ order."""

import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from medapp.imaging.volume import Grid
from medapp.ui.gradio_compat import FileData, GradioModel


class SceneTexture(GradioModel):
    """A block of bytes (z, y, x, channels) on the grid of the image, all axes towards R, A and S.

    `scale` (3,) are the shares of the texture's box that the image's box fills, below 1 where it was padded.
    """

    file: FileData
    shape: list[int]
    channels: int
    scale: list[float]


def write_texture(array: np.ndarray, affine: np.ndarray, folder: Path, *, halve: bool = False) -> SceneTexture:
    """Write uint8 voxels (I, J, K) or (I, J, K, C) with an `affine` (4, 4) to RAS+ mm.

    `halve` averages blocks of 2 x 2 x 2 voxels.
    """
    voxels = turn_to_ras(array, affine)
    size = np.array(voxels.shape[:3])
    if halve:
        voxels = average_blocks(voxels)
    shape, channels = voxels.shape[:3], voxels.shape[3] if voxels.ndim == 4 else 1
    content = np.ascontiguousarray(np.swapaxes(voxels, 0, 2))
    digest = hashlib.blake2b(content, digest_size=12)
    digest.update(repr((shape, channels)).encode())
    file = write_gzipped(folder / f"{digest.hexdigest()}.bin.gz", lambda: content)
    scale = size / (np.array(shape) * (2 if halve else 1))
    return SceneTexture(file=file, shape=list(shape), channels=channels, scale=scale.tolist())


def turn_to_ras(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """View (I, J, K, ...) with its axes turned towards R, A and S, by the `affine` (4, 4) to RAS+ mm."""
    axes, flips = find_ras_axes(affine)
    turned = np.moveaxis(array, axes, (0, 1, 2))
    return turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def turn_from_ras(voxels: np.ndarray, grid: Grid) -> np.ndarray:
    """Return (I, J, K) on the grid from its voxels in one row (N,), x fastest, axes towards R, A and S."""
    axes, flips = find_ras_axes(grid.affine)
    turned = voxels.reshape([grid.shape[axis] for axis in axes], order="F")
    turned = turned[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return np.moveaxis(turned, (0, 1, 2), axes)


def find_ras_axes(affine: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return which voxel axis becomes the one towards R, A and S, and whether it is flipped, as NiiVue decides it.

    The first voxel axis takes the direction along which it extends most, the second that of the two that are left; for
    oblique axes near 45° nibabel may decide otherwise. Compared in float32, which a NIfTI file holds.
    """
    directions = np.asarray(affine[:3, :3], np.float32)
    extent = np.abs(directions)
    first = int(extent[:, 0].argmax())
    near, far = (world for world in range(3) if world != first)
    second = near if extent[near, 1] > extent[far, 1] else far
    voxel_axis = {first: 0, second: 1, 3 - first - second: 2}
    right, front, head = (voxel_axis[world] for world in range(3))
    axes = (right, front, head)
    left, back, foot = (bool(directions[world, axis] < 0) for world, axis in enumerate(axes))
    return axes, (left, back, foot)


def average_blocks(voxels: np.ndarray) -> np.ndarray:
    """Average uint8 (I, J, K, ...) over blocks of 2 x 2 x 2 voxels, rounded; odd ends are repeated."""
    pad = [(0, n % 2) for n in voxels.shape[:3]] + [(0, 0)] * (voxels.ndim - 3)
    padded = np.pad(voxels, pad, mode="edge")
    total = np.zeros([n // 2 for n in padded.shape[:3]] + list(padded.shape[3:]), np.uint16)
    for i, j, k in np.ndindex(2, 2, 2):
        total += padded[i::2, j::2, k::2]
    return ((total + 4) // 8).astype(np.uint8)


def write_gzipped(path: Path, pack: Callable[[], bytes | np.ndarray]) -> FileData:
    """Write what `pack` gives, gzipped, to a path that is named by its content, unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, gzip.compress(pack(), 1, mtime=0))
    return FileData(path=str(path), orig_name=path.name)


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)
