"""Metrics of masks: components, Dice, HD95, lesion-wise F1; the app and the evaluation share them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import surface_distance
from scipy import ndimage
from scipy.spatial import ConvexHull, KDTree, QhullError
from scipy.spatial.distance import pdist

from medapp.imaging.volume import Grid

CONNECTIVITY = 26  # voxels that touch by a face, an edge or a corner are one lesion


@dataclass(frozen=True)
class Lesion:
    """One connected component of a mask; `centroid` is in RAS+ mm."""

    label: int
    volume_ml: float
    diameter_mm: float
    centroid: tuple[float, float, float]
    mean_probability: float
    max_probability: float


def label_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Label the connected components of (I, J, K) bool at connectivity 26 by size, 1 the largest; and count them."""
    labels = np.zeros(mask.shape, np.int32)
    box = find_bounding_box(mask)
    part, count = ndimage.label(mask[box], np.ones((3, 3, 3)))
    sizes = np.bincount(part.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, np.int32)
    rank[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, count + 1)
    labels[box] = rank[part]
    return labels, count


def find_bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Find the smallest box of a bool array that contains every true voxel; the whole array if there is none."""
    filled = [np.flatnonzero(mask.any(axis=tuple(b for b in range(mask.ndim) if b != a))) for a in range(mask.ndim)]
    return tuple(slice(f[0], f[-1] + 1) if len(f) else slice(None) for f in filled)


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Return (X, Y, Z) bool with its enclosed background filled."""
    around = np.pad(~mask, 1, constant_values=True)
    outside = ndimage.label(around)[0]
    return (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]


def measure_components(labels: np.ndarray, count: int, probability: np.ndarray, grid: Grid) -> list[Lesion]:
    """Measure each component 1..`count` of `labels` (I, J, K); diameters are between voxel centres."""
    components = []
    for label, box in enumerate(ndimage.find_objects(labels, count), 1):
        index = np.argwhere(labels[box] == label)
        p = probability[box][tuple(index.T)]
        index += [s.start for s in box]
        points = grid.to_mm(index)
        centroid = points.mean(axis=0)
        volume = len(index) * grid.voxel_ml
        components.append(
            Lesion(label, volume, measure_diameter(points), tuple(centroid), float(p.mean()), float(p.max()))
        )
    return components


def measure_diameter(points: np.ndarray) -> float:
    """Measure the longest distance between any two of the points (N, 3), in their unit."""
    if len(points) < 2:
        return 0.0
    if len(points) > 8:
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:  # all in one plane or on one line: keep the extremes along many directions
            directions = np.random.default_rng(0).normal(size=(256, points.shape[1]))
            along = points @ directions.T
            points = points[np.unique([along.argmin(axis=0), along.argmax(axis=0)])]
    return float(pdist(points).max())


def compute_dice(mask: np.ndarray, reference: np.ndarray) -> float:
    """Compute the Dice coefficient of two bool arrays; 1 if both are empty."""
    total = int(mask.sum()) + int(reference.sum())
    return 1.0 if total == 0 else float(2 * np.logical_and(mask, reference).sum() / total)


def compute_hd95(mask: np.ndarray, reference: np.ndarray, grid: Grid) -> float | None:
    """Compute HD95 in mm: the 95th percentile Hausdorff distance of the surfaces, weighted by area.

    Masks are (I, J, K) bool. None if one is empty, 0 if both are. Nikolov et al. 2021, doi:10.2196/26151, in
    surface-distance. Compare `compute_voxel_hd95`, which counts border voxels instead of area.
    """
    if mask.any() != reference.any():
        return None
    if not mask.any():
        return 0.0
    box = find_bounding_box(mask | reference)
    padded = [np.pad(m[box], 1) for m in (mask, reference)]
    distances = surface_distance.compute_surface_distances(*padded, spacing_mm=tuple(grid.spacing))
    return float(surface_distance.compute_robust_hausdorff(distances, 95))


def compute_voxel_hd95(first: np.ndarray | None, second: np.ndarray | None) -> float | None:
    """Compute voxel HD95, the 95th percentile Hausdorff distance of two sets of points (N, 3), each counted once.

    None if a set is. For the border voxels of many regions it is much faster than `compute_hd95`.
    """
    if first is None or second is None:
        return None
    ways = (KDTree(a, balanced_tree=False).query(b, workers=-1)[0] for a, b in ((first, second), (second, first)))
    return float(max(np.percentile(distances, 95) for distances in ways))


class LesionMatches(NamedTuple):
    """How many lesions two masks have, and how many of each share a voxel with the other mask."""

    first: int
    first_matched: int
    second: int
    second_matched: int

    @property
    def f1(self) -> float:
        """Lesion-wise F1 of the first mask against the second; 1 if both are empty."""
        if self.first + self.second == 0:
            return 1.0
        recall = self.second_matched / self.second if self.second else 0.0
        precision = self.first_matched / self.first if self.first else 0.0
        return 0.0 if recall + precision == 0 else 2 * recall * precision / (recall + precision)


def match_lesions(first: np.ndarray, second: np.ndarray) -> LesionMatches:
    """Match the connected components of two masks, both (I, J, K) bool: a lesion is matched if it shares a voxel."""
    ours, n = label_components(first)
    theirs, m = label_components(second)
    both = first & second
    return LesionMatches(n, len(np.unique(ours[both])), m, len(np.unique(theirs[both])))


def compute_lesion_f1(mask: np.ndarray, reference: np.ndarray) -> float:
    """Compute lesion-wise F1: a lesion is detected if it shares a voxel with the other mask; 1 if both are empty."""
    return match_lesions(mask, reference).f1
