"""Overlap and landmarks: what is told of a deformation by region and by point."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.analysis import mask_metrics, region_overlap
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume

TILTED = from_matvec(
    Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ np.diag([1.0, 1.2, 2]), (5, 0, -9)
)


def cube(shift: int = 0) -> np.ndarray:
    array = np.zeros((30, 30, 20), np.uint8)
    array[5 + shift : 15 + shift, 8:20, 4:12] = 1
    array[18:24, 8:20, 4:12] = 2
    return array


def test_overlap_is_that_of_the_measures_and_hd95_that_of_the_shift():
    labels = Volume(cube(), TILTED, {1: "one", 2: "two", 3: "not there"})
    still = Deformation(np.zeros((3, 30, 30, 20)), TILTED)
    table, metrics = region_overlap.measure_overlap(
        labels, cube(3), cube(1), still, np.ones(labels.shape), {"fixed": "a", "moving": "b"}
    )
    assert [row[0] for row in table.rows] == ["one", "two"]
    one = dict(zip(table.columns, table.rows[0], strict=True))
    assert one["volume (ml)"] == pytest.approx(10 * 12 * 8 * 2.4 / 1000, abs=1e-3)
    assert one["Dice before"] == pytest.approx(mask_metrics.compute_dice(cube() == 1, cube(3) == 1), abs=1e-4)
    assert one["Dice after"] == pytest.approx(0.9)
    assert (one["voxel HD95 before (mm)"], one["voxel HD95 after (mm)"]) == (3.0, 1.0)
    assert metrics["dice"].value == pytest.approx((0.9 + table.rows[1][5]) / 2, abs=1e-4)
    assert one["mean Jacobian"] == 1 and one["mean displacement (mm)"] == 0


def test_a_region_that_the_moving_image_lacks_scores_nothing_and_has_no_distance():
    labels = Volume(cube(), TILTED, {1: "one", 2: "two"})
    still = Deformation(np.zeros((3, 30, 30, 20)), TILTED)
    gone = np.where(cube() == 2, 0, cube())
    table, _ = region_overlap.measure_overlap(
        labels, gone, gone, still, np.ones(labels.shape), {"fixed": "a", "moving": "b"}
    )
    assert table.rows[1][4:8] == (0.0, 0.0, None, None)
