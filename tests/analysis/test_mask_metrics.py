"""Measures agree with what can be worked out by hand."""

import numpy as np
import pytest
from scipy import ndimage

from medapp.analysis import mask_metrics
from medapp.imaging.volume import Grid

GRID = Grid((30, 30, 12), np.diag([-1.0, 2.0, 5.0, 1.0]))


def box(*slices) -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    mask[tuple(slice(*s) for s in slices)] = True
    return mask


def test_components_are_numbered_from_the_largest_and_touch_by_corners():
    mask = box((1, 2), (1, 2), (1, 2)) | box((2, 3), (2, 3), (2, 3)) | box((10, 20), (10, 20), (5, 8))
    labels, count = mask_metrics.label_components(mask)
    assert count == 2
    assert labels[15, 15, 6] == 1 and labels[1, 1, 1] == labels[2, 2, 2] == 2


def test_lesion_volume_diameter_centroid_and_probability():
    mask = box((10, 20), (5, 6), (3, 5))
    probability = np.where(mask, 0.6, 0.0)
    probability[10, 5, 3] = 0.9
    labels, count = mask_metrics.label_components(mask)
    (lesion,) = mask_metrics.measure_components(labels, count, probability, GRID)
    assert lesion.volume_ml == pytest.approx(20 * 10 / 1000)
    assert lesion.diameter_mm == pytest.approx(np.hypot(9, 5))
    assert lesion.centroid == pytest.approx((-14.5, 10.0, 17.5))
    assert lesion.max_probability == pytest.approx(0.9)
    assert lesion.mean_probability == pytest.approx((0.9 + 19 * 0.6) / 20)


def test_diameter_of_a_flat_lesion_and_of_a_ball():
    flat = np.argwhere(box((2, 12), (3, 23), (4, 5))).astype(float)
    assert mask_metrics.measure_diameter(flat) == pytest.approx(np.hypot(9, 19), rel=1e-6)
    ball = np.argwhere(np.linalg.norm(np.indices((21, 21, 21)) - 10, axis=0) <= 8).astype(float)
    assert mask_metrics.measure_diameter(ball) == pytest.approx(16)
    assert mask_metrics.measure_diameter(ball[:1]) == 0


def test_dice_and_hd95():
    a, b = box((5, 15), (5, 15), (2, 8)), box((8, 18), (5, 15), (2, 8))
    assert mask_metrics.compute_dice(a, b) == pytest.approx(0.7)
    assert mask_metrics.compute_hd95(a, b, GRID) == pytest.approx(3.0)
    assert mask_metrics.compute_hd95(a, a, GRID) == 0
    assert mask_metrics.compute_hd95(a, np.zeros_like(a), GRID) is None
    assert mask_metrics.compute_dice(np.zeros_like(a), np.zeros_like(a)) == 1


def test_lesion_f1_counts_lesions_not_voxels():
    two = box((2, 5), (2, 5), (2, 4)) | box((20, 28), (20, 28), (6, 10))
    assert mask_metrics.compute_lesion_f1(two, two) == 1
    one = box((3, 4), (3, 4), (3, 4))
    assert mask_metrics.compute_lesion_f1(one, two) == pytest.approx(2 * 1 * 0.5 / 1.5)
    assert mask_metrics.compute_lesion_f1(np.zeros_like(one), two) == 0


def test_hd95_weighs_surfaces_by_area_and_voxel_hd95_counts_border_voxels():
    block = box((5, 25), (5, 25), (3, 6))
    spike = block | box((10, 12), (10, 12), (6, 10))  # few voxels with long sides
    points = [GRID.to_mm(np.argwhere(m & ~ndimage.binary_erosion(m))) for m in (block, spike)]
    assert mask_metrics.compute_hd95(block, spike, GRID) == pytest.approx(5)
    assert mask_metrics.compute_voxel_hd95(*points) == pytest.approx(0)
    assert mask_metrics.compute_voxel_hd95(points[0], None) is None
