"""Anatomical priors of a voxel: its tissue, by the parcellation, and its place in the template."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from medapp.algorithms.brain_pair import find_centroids
from medapp.algorithms.template_regions import TEMPLATE_REGIONS
from medapp.imaging.brain_labels import CLASS_NAMES, split_side
from medapp.imaging.volume import Volume

TISSUES = (
    ("Cerebral-White-Matter", "Cerebellum-White-Matter", "Brain-Stem"),
    ("Cerebral-Cortex", "Cerebellum-Cortex", "Hippocampus", "Amygdala"),
    ("Thalamus", "Caudate", "Putamen", "Pallidum", "Accumbens", "Ventral-DC"),
    ("Lateral-Ventricle", "Inf-Lat-Ventricle", "3rd-Ventricle", "4th-Ventricle", "Choroid-Plexus"),
)
"""The structures of white matter, cortex, deep nuclei and fluid, without their side."""
TISSUE_TABLE = np.array([[split_side(name)[1] in kind for name in CLASS_NAMES] for kind in TISSUES])
"""(4, 36) bool: which classes belong to each tissue."""
IS_DEEP = np.array(
    [split_side(name)[1] in (*TISSUES[2], "Hippocampus", "Amygdala", "3rd-Ventricle") for name in CLASS_NAMES[1:]]
)
MIN_STRUCTURES = 8  # structures below which no transform is estimated
MAX_DISTANCE = 7.0  # mm of mean distance to the template's structures above which the transform is rejected
MAX_SCALE = 1.5  # scale, or its inverse, above which it is rejected
COORDINATE_SCALE = 70.0  # mm that count as 1
PRIOR_CHANNELS = len(TISSUES) + 3


def template_transform(regions: Volume) -> np.ndarray | None:
    """Estimate the similarity transform (4, 4) from RAS+ mm of the patient to those of the template.

    It is fitted to the centroids of small structures deep in the brain; those of a partly seen cortex would mislead.
    None if fewer than MIN_STRUCTURES are found, or if they do not lie as in a brain.
    """
    centroids = find_centroids(regions)
    weight = np.where(IS_DEEP, np.sqrt(np.minimum(centroids.ml, TEMPLATE_REGIONS.ml)).ravel(), 0)
    known = weight > 0
    if known.sum() < MIN_STRUCTURES:
        return None
    weight = weight[known] / weight[known].sum()
    points, targets = centroids.mm[known], TEMPLATE_REGIONS.mm[known]
    centre, target_centre = weight @ points, weight @ targets
    rotation, _ = Rotation.align_vectors(targets - target_centre, points - centre, weight)
    rotated = rotation.apply(points - centre)
    scale = weight @ (rotated * (targets - target_centre)).sum(1) / (weight @ (rotated**2).sum(1))
    distance = np.sqrt(weight @ ((scale * rotated - targets + target_centre) ** 2).sum(1))
    if distance > MAX_DISTANCE or not 1 / MAX_SCALE < scale < MAX_SCALE:
        return None
    transform = np.eye(4)
    transform[:3, :3] = scale * rotation.as_matrix()
    transform[:3, 3] = target_centre - transform[:3, :3] @ centre
    return transform


def make_prior_maps(regions: np.ndarray, coordinates: Sequence[np.ndarray] | None) -> np.ndarray:
    """Return (7, X, Y, Z) float32: one indicator for each tissue, then the place in the template along x, y and z.

    `regions` (X, Y, Z) are classes. `coordinates` are the template's RAS+ mm along each axis, (X, Y, Z) or
    broadcastable to it; without them their maps are zero. The x map is the distance from the midline, so left and right
    are alike.
    """
    maps = np.zeros((PRIOR_CHANNELS, *regions.shape), np.float32)
    for number, tissue in enumerate(TISSUE_TABLE):
        maps[number] = tissue[regions]
    for number, mm in enumerate(coordinates or (), len(TISSUES)):
        maps[number] = mm / COORDINATE_SCALE
    if coordinates is not None:
        np.abs(maps[len(TISSUES)], out=maps[len(TISSUES)])
    return maps


def to_template(transform: np.ndarray, shape: Sequence[int]) -> list[np.ndarray]:
    """Apply `transform` (4, 4) to the voxel indices of a box of `shape`; return three arrays (X, Y, Z)."""
    i, j, k = np.ogrid[tuple(map(slice, shape))]
    return [row[0] * i + row[1] * j + row[2] * k + row[3] for row in transform[:3].astype(np.float32)]
