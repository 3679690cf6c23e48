"""Discontinuity of a deformation at the boundaries of anatomical regions."""

from collections.abc import Iterator

import numpy as np

from medapp.imaging.deformation import Deformation

BOUNDARY_JUMP_HELP = (
    "The jump at a boundary is the difference between the displacements of neighbouring voxels of two regions, less "
    "the mean slope of the field on either side; it is 0 where the field is smooth."
)


def compute_boundary_jumps(deformation: Deformation, labels: np.ndarray) -> np.ndarray:
    """Compute each voxel's largest jump to a neighbour of another region, (I, J, K) float32 in mm; 0 elsewhere.

    `labels` (I, J, K) lie on the deformation's grid; 0 counts as a region. See BOUNDARY_JUMP_HELP.
    """
    out = np.zeros(labels.shape, np.float32)
    for low, high, jump in _iterate_faces(deformation, labels):
        for side in (low, high):
            out[side] = np.maximum(out[side], jump)
    return out


def average_jumps_by_region(deformation: Deformation, labels: np.ndarray) -> dict[int, float]:
    """Average the jumps in mm over the voxel faces between each region and all others; by number of the region."""
    count = int(labels.max()) + 1
    total, faces = np.zeros(count), np.zeros(count)
    for low, high, jump in _iterate_faces(deformation, labels):
        between = labels[low] != labels[high]
        for side in (low, high):
            inside = labels[side][between]
            total += np.bincount(inside, jump[between], count)
            faces += np.bincount(inside, minlength=count)
    return {int(n): float(total[n] / faces[n]) for n in np.flatnonzero(faces)}


def _iterate_faces(deformation: Deformation, labels: np.ndarray) -> Iterator[tuple[tuple, tuple, np.ndarray]]:
    """Yield by axis the voxels below and above the faces, and the jump at faces between two regions, else 0."""
    for axis in range(3):
        steps = np.diff(deformation.vectors, axis=axis + 1)
        n = steps.shape[axis + 1]
        if n < 1:
            continue
        before, after = (np.take(steps, np.clip(np.arange(n) + d, 0, n - 1), axis + 1) for d in (-1, 1))
        jump = np.sqrt(np.square(steps - (before + after) / 2).sum(0))
        low, high = (
            tuple(slice(*ends) if a == axis else slice(None) for a in range(3)) for ends in ((0, -1), (1, None))
        )
        yield low, high, jump * (labels[low] != labels[high])
