"""Whereabouts: what is known of a voxel before it is looked at: the kind of tissue, and the place in the template."""

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
"""White matter, cortex, nuclei, fluid: the structures of each, on either side."""
TISSUE_TABLE = np.array([[split_side(name)[1] in kind for name in CLASS_NAMES] for kind in TISSUES])
"""(4, 36) bool: the kind of each class."""
IS_DEEP = np.array(
    [split_side(name)[1] in (*TISSUES[2], "Hippocampus", "Amygdala", "3rd-Ventricle") for name in CLASS_NAMES[1:]]
)
MIN_STRUCTURES = 8  # structures below which no transform is estimated
MAX_DISTANCE = 7.0  # mm of mean distance to the template's structures above which the transform is rejected
MAX_SCALE = 1.5  # scale, or its inverse, above which it is rejected
COORDINATE_SCALE = 70.0  # mm that count as 1
PRIOR_CHANNELS = len(TISSUES) + 3


def template_transform(regions: Volume) -> np.ndarray | None:
    """(4, 4) from RAS+ millimetres of the patient to those of the template: turned, moved and scaled, nothing else.

    By the middles of small structures deep in the brain, since half of a cortex has its middle elsewhere. None where
    FEWEST are not found, or where they do not lie as in a brain.
    """
    found = find_centroids(regions)
    weight = np.where(IS_DEEP, np.sqrt(np.minimum(found.ml, TEMPLATE_REGIONS.ml)).ravel(), 0)
    there = weight > 0
    if there.sum() < MIN_STRUCTURES:
        return None
    weight = weight[there] / weight[there].sum()
    ours, theirs = found.mm[there], TEMPLATE_REGIONS.mm[there]
    middle, goal = weight @ ours, weight @ theirs
    turn, _ = Rotation.align_vectors(theirs - goal, ours - middle, weight)
    turned = turn.apply(ours - middle)
    scale = weight @ (turned * (theirs - goal)).sum(1) / (weight @ (turned**2).sum(1))
    apart = np.sqrt(weight @ ((scale * turned - theirs + goal) ** 2).sum(1))
    if apart > MAX_DISTANCE or not 1 / MAX_SCALE < scale < MAX_SCALE:
        return None
    home = np.eye(4)
    home[:3, :3] = scale * turn.as_matrix()
    home[:3, 3] = goal - home[:3, :3] @ middle
    return home


def make_prior_maps(regions: np.ndarray, home: Sequence[np.ndarray] | None) -> np.ndarray:
    """(7, X, Y, Z) float32: 1 for each voxel's kind of tissue, none in the background; then the place in the template.

    `regions` (X, Y, Z) are classes, `home` the template's RAS+ mm along each axis, (X, Y, Z) or less to be broadcast;
    zeros without. Both sides of the body are one: the first is the distance from the midline.
    """
    out = np.zeros((PRIOR_CHANNELS, *regions.shape), np.float32)
    for number, kind in enumerate(TISSUE_TABLE):
        out[number] = kind[regions]
    for number, mm in enumerate(home or (), len(TISSUES)):
        out[number] = mm / COORDINATE_SCALE
    if home is not None:
        np.abs(out[len(TISSUES)], out=out[len(TISSUES)])
    return out


def to_template(home: np.ndarray, shape: Sequence[int]) -> list[np.ndarray]:
    """What `home` (4, 4) makes of the voxels of a box: three arrays (X, Y, Z)."""
    i, j, k = np.ogrid[tuple(map(slice, shape))]
    return [row[0] * i + row[1] * j + row[2] * k + row[3] for row in home[:3].astype(np.float32)]
