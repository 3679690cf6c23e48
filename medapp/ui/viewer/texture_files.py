"""Texture files: bytes for the browser's shaders, gzipped, named by their content, x fastest in RAS+ order."""

import gzip
import hashlib
import os
from pathlib import Path

import nibabel as nib
import numpy as np

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
    """Write uint8 voxels (I, J, K) or (I, J, K, C) with an `affine` (4, 4) to RAS+ mm; `halve` averages blocks of 2³."""
    canonical = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    voxels = np.asarray(canonical.dataobj)
    size = np.array(voxels.shape[:3])
    if halve:
        voxels = average_blocks(voxels)
    channels = voxels.shape[3] if voxels.ndim == 4 else 1
    content = np.ascontiguousarray(np.moveaxis(voxels.reshape(*voxels.shape[:3], channels), (0, 1, 2), (2, 1, 0)))
    shape = list(voxels.shape[:3])
    name = hashlib.blake2b(content, digest_size=12, person=repr((shape, channels)).encode()[:16]).hexdigest()
    path = folder / f"{name}.bin.gz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, gzip.compress(content, 1, mtime=0))
    scale = size / (np.array(shape) * (2 if halve else 1))
    return SceneTexture(
        file=FileData(path=str(path), orig_name=path.name), shape=shape, channels=channels, scale=scale.tolist()
    )


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def average_blocks(voxels: np.ndarray) -> np.ndarray:
    """Average uint8 (I, J, K, ...) over blocks of 2 x 2 x 2 voxels, rounded; odd ends are repeated."""
    pad = [(0, n % 2) for n in voxels.shape[:3]] + [(0, 0)] * (voxels.ndim - 3)
    mean = np.pad(voxels, pad, mode="edge").astype(np.float32)
    for axis in range(3):
        halves = [mean.take(range(start, mean.shape[axis], 2), axis) for start in (0, 1)]
        mean = (halves[0] + halves[1]) / 2
    return np.rint(mean).astype(np.uint8)
