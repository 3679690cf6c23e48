"""Whereabouts: what is known of a voxel before it is looked at: the kind of tissue, and the place in the template."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from medapp.algorithms.brain_pair import middles
from medapp.algorithms.template_regions import REGIONS
from medapp.imaging.brain_labels import CLASS_NAMES, split_side
from medapp.imaging.volume import Volume

KINDS = (
    ("Cerebral-White-Matter", "Cerebellum-White-Matter", "Brain-Stem"),
    ("Cerebral-Cortex", "Cerebellum-Cortex", "Hippocampus", "Amygdala"),
    ("Thalamus", "Caudate", "Putamen", "Pallidum", "Accumbens", "Ventral-DC"),
    ("Lateral-Ventricle", "Inf-Lat-Ventricle", "3rd-Ventricle", "4th-Ventricle", "Choroid-Plexus"),
)
"""White matter, cortex, nuclei, fluid: the structures of each, on either side."""
TABLE = np.array([[split_side(name)[1] in kind for name in CLASS_NAMES] for kind in KINDS])
"""(4, 36) bool: the kind of each class."""
DEEP = np.array(
    [split_side(name)[1] in (*KINDS[2], "Hippocampus", "Amygdala", "3rd-Ventricle") for name in CLASS_NAMES[1:]]
)
FEWEST, APART, STRETCH = 8, 7.0, 1.5  # structures; mm from theirs on average; times larger or smaller, that still do
REACH = 70.0  # mm that count as 1
MAPS = len(KINDS) + 3


def homeward(regions: Volume) -> np.ndarray | None:
    """(4, 4) from RAS+ millimetres of the patient to those of the template: turned, moved and scaled, nothing else.

    By the middles of small structures deep in the brain, since half of a cortex has its middle elsewhere. None where
    FEWEST are not found, or where they do not lie as in a brain.
    """
    found = middles(regions)
    weight = np.where(DEEP, np.sqrt(np.minimum(found.ml, REGIONS.ml)).ravel(), 0)
    there = weight > 0
    if there.sum() < FEWEST:
        return None
    weight = weight[there] / weight[there].sum()
    ours, theirs = found.mm[there], REGIONS.mm[there]
    middle, goal = weight @ ours, weight @ theirs
    turn, _ = Rotation.align_vectors(theirs - goal, ours - middle, weight)
    turned = turn.apply(ours - middle)
    scale = weight @ (turned * (theirs - goal)).sum(1) / (weight @ (turned**2).sum(1))
    apart = np.sqrt(weight @ ((scale * turned - theirs + goal) ** 2).sum(1))
    if apart > APART or not 1 / STRETCH < scale < STRETCH:
        return None
    home = np.eye(4)
    home[:3, :3] = scale * turn.as_matrix()
    home[:3, 3] = goal - home[:3, :3] @ middle
    return home


def maps(regions: np.ndarray, home: Sequence[np.ndarray] | None) -> np.ndarray:
    """(7, X, Y, Z) float32: 1 for each voxel's kind of tissue, none in the background; then the place in the template.

    `regions` (X, Y, Z) are classes, `home` the template's RAS+ mm along each axis, (X, Y, Z) or less to be broadcast;
    zeros without. Both sides of the body are one: the first is the distance from the midline.
    """
    out = np.zeros((MAPS, *regions.shape), np.float32)
    for number, kind in enumerate(TABLE):
        out[number] = kind[regions]
    for number, mm in enumerate(home or (), len(KINDS)):
        out[number] = mm / REACH
    if home is not None:
        np.abs(out[len(KINDS)], out=out[len(KINDS)])
    return out


def laid(home: np.ndarray, shape: Sequence[int]) -> list[np.ndarray]:
    """What `home` (4, 4) makes of the voxels of a box: three arrays (X, Y, Z)."""
    i, j, k = np.ogrid[tuple(map(slice, shape))]
    return [row[0] * i + row[1] * j + row[2] * k + row[3] for row in home[:3].astype(np.float32)]
