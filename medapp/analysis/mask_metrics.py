"""Measures of masks and images; the app and the evaluation share them."""

from dataclasses import dataclass

import numpy as np
import surface_distance
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from medapp.imaging.volume import Grid

CONNECTIVITY = 26  # voxels that touch by a face, an edge or a corner are one lesion


@dataclass(frozen=True)
class Lesion:
    """One connected component; `centroid` is RAS+ millimetres."""

    label: int
    volume_ml: float
    diameter_mm: float
    centroid: tuple[float, float, float]
    mean_probability: float
    max_probability: float


def label_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected components of (I, J, K) bool at connectivity 26: labels 1.. from the largest down, and their number."""
    labels = np.zeros(mask.shape, np.int32)
    box = find_bounding_box(mask)
    part, count = ndimage.label(mask[box], np.ones((3, 3, 3)))
    sizes = np.bincount(part.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, np.int32)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    labels[box] = rank[part]
    return labels, count


def find_bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box of (I, J, K) that holds every true voxel; the whole array if there is none."""
    filled = [np.flatnonzero(mask.any(axis=tuple(b for b in range(mask.ndim) if b != a))) for a in range(mask.ndim)]
    return tuple(slice(f[0], f[-1] + 1) if len(f) else slice(None) for f in filled)


def measure_components(labels: np.ndarray, count: int, probability: np.ndarray, grid: Grid) -> list[Lesion]:
    """Measure each component 1..`count` of (I, J, K) `labels`; diameters run between voxel centres."""
    found = []
    for label, box in enumerate(ndimage.find_objects(labels, count), 1):
        index = np.argwhere(labels[box] == label)
        p = probability[box][tuple(index.T)]
        index += [s.start for s in box]
        points = grid.to_mm(index)
        centroid = points.mean(axis=0)
        volume = len(index) * grid.voxel_ml
        found.append(Lesion(label, volume, measure_diameter(points), tuple(centroid), float(p.mean()), float(p.max())))
    return found


def measure_diameter(points: np.ndarray) -> float:
    """Longest distance between any two of the points (N, 3), in their unit."""
    if len(points) < 2:
        return 0.0
    if len(points) > 8:
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:  # all in one plane or on one line: keep the outline by directions
            turns = np.random.default_rng(0).normal(size=(256, points.shape[1]))
            along = points @ turns.T
            points = points[np.unique([along.argmin(axis=0), along.argmax(axis=0)])]
    return float(pdist(points).max())


def compute_dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """Overlap of two bool arrays, 0 to 1; two empty masks agree: 1."""
    total = int(mask.sum()) + int(reference.sum())
    return 1.0 if total == 0 else float(2 * np.logical_and(mask, reference).sum() / total)


def compute_hd95(mask: np.ndarray, reference: np.ndarray, grid: Grid) -> float | None:
    """95th percentile Hausdorff distance in millimetres, surface-weighted; None if one mask is empty, 0 if both are."""
    if mask.any() != reference.any():
        return None
    if not mask.any():
        return 0.0
    box = find_bounding_box(mask | reference)
    padded = [np.pad(m[box], 1) for m in (mask, reference)]
    distances = surface_distance.compute_surface_distances(*padded, spacing_mm=tuple(grid.spacing))
    return float(surface_distance.compute_robust_hausdorff(distances, 95))


def compute_lesion_f1(mask: np.ndarray, reference: np.ndarray) -> float:
    """F1 over lesions: a lesion counts as found if it shares a voxel with the other mask; two empty masks agree: 1."""
    ours, n = label_components(mask)
    theirs, m = label_components(reference)
    if n + m == 0:
        return 1.0
    found = len(np.unique(theirs[mask & reference]))
    right = len(np.unique(ours[mask & reference]))
    recall, precision = found / m if m else 0.0, right / n if n else 0.0
    return 0.0 if recall + precision == 0 else 2 * recall * precision / (recall + precision)
