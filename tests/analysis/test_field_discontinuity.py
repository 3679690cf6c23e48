"""Jumps of a deformation at the boundaries of regions."""

import numpy as np
import pytest

from medapp.analysis import field_discontinuity
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid

TILT = np.array([[-1.9, 0.1, 0.2, 40], [0.12, 1.8, -0.3, -40], [-0.05, 0.15, 2.4, -40], [0, 0, 0, 1]])
BOX = Grid((44, 46, 36), TILT)


def test_a_smooth_field_does_not_jump_and_a_broken_one_does():
    labels = np.zeros(BOX.shape, np.uint8)
    labels[10:20], labels[20:34] = 1, 2
    even = Deformation.from_affine(np.diag([1.1, 0.9, 1.2, 1.0]), BOX)
    assert field_discontinuity.compute_boundary_jumps(even, labels).max() < 1e-4
    vectors = even.vectors.copy()
    vectors[1, 20:] += 2
    broken = Deformation(vectors, TILT)
    jumps = field_discontinuity.compute_boundary_jumps(broken, labels)
    np.testing.assert_allclose(jumps[19:21], 2, atol=1e-4)
    assert jumps[:9].max() == 0 and jumps[11:18].max() == 0, "there are no jumps inside a region"
    means = field_discontinuity.average_jumps_by_region(broken, labels)
    assert means[1] == pytest.approx(1, abs=1e-3) and means[2] == pytest.approx(1, abs=1e-3) and means[0] < 1e-3
