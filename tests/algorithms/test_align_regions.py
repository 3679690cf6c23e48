"""Alignment to the template by the centroids of a head's regions."""

import numpy as np
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.algorithms.mni_template import align_regions
from medapp.algorithms.template_regions import TEMPLATE_REGIONS
from medapp.imaging.volume import Grid, Volume


def test_a_head_is_brought_to_the_template():
    grid = Grid((110, 120, 100), from_matvec(np.diag([2.0, 2, 2]), (-100, -130, -100)))
    turn = Rotation.from_euler("xyz", (8, -5, 12), degrees=True).as_matrix() @ np.diag([1.1, 0.95, 1.05])
    to_head = from_matvec(turn, (6, -4, 9))
    labels = np.zeros(grid.shape, np.uint8)
    present = np.flatnonzero(TEMPLATE_REGIONS.ml.ravel())
    centroids = TEMPLATE_REGIONS.mm[present] @ to_head[:3, :3].T + to_head[:3, 3]
    for number, index in zip(present + 1, np.rint(grid.to_index(centroids)).astype(int), strict=True):
        labels[tuple(slice(i - 1, i + 2) for i in index)] = number
    found = align_regions(Volume(labels, grid.affine, labels={1: "any"}))
    assert found is not None
    corners = np.array([[-60, -90, -40, 1], [60, 70, 70, 1], [0, 0, 0, 1.0]]).T
    np.testing.assert_allclose((found @ to_head @ corners)[:3], corners[:3], atol=3)
    assert align_regions(Volume(np.zeros_like(labels), grid.affine)) is None
