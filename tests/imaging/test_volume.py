"""Volumes are read-only and of a valid shape; grids convert between indices and millimetres."""

import numpy as np
import pytest
from deformation_fields import FIXED

from medapp.imaging.volume import Grid, Volume


def test_a_volume_is_read_only_and_keeps_its_grid():
    volume = Volume(np.zeros((2, 3, 4)), np.diag([1.0, 2, 3, 1]), labels={1: "lesion"})
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0] = 1
    mask = volume.new_like(np.ones((2, 3, 4), np.uint8), name="mask")
    assert mask.grid.is_same(volume.grid) and mask.labels == {1: "lesion"} and mask.name == "mask"
    assert volume.axis_codes == "RAS" and volume.grid.voxel_ml == pytest.approx(0.006)


@pytest.mark.parametrize(("shape", "affine"), [((2, 3), np.eye(4)), ((2, 3, 4, 2), np.eye(4)), ((2, 3, 4), np.eye(3))])
def test_other_shapes_are_refused(shape, affine):
    with pytest.raises(ValueError, match=r"\(4, 4\)|\(I, J, K\)"):
        Volume(np.zeros(shape), affine)


def test_indices_become_millimetres_and_back():
    index = np.array([[0, 0, 0], [1.5, 2, 3]])
    np.testing.assert_allclose(FIXED.to_index(FIXED.to_mm(index)), index, atol=1e-9)
    shifted = FIXED.affine.copy()
    shifted[0, 3] += 0.01
    assert FIXED.is_same(Grid(FIXED.shape, shifted), tolerance_mm=0.1)
    assert not FIXED.is_same(Grid(FIXED.shape, shifted))
