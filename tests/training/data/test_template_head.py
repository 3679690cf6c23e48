"""A head fitted round a brain lies as far from it everywhere as in the average head."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from training.core.random_source import RandomSource
from training.data import template_head
from training.data.labelled_brains import STEP_MM, LabelledScan
from training.data.random_pose import Pose, draw_view, sample_linear
from training.data.random_skull import add_average_head
from training.data.template_head import HEAD_MARGIN, HEAD_STEP, fit_head


def ball(shape, middle, radii) -> np.ndarray:
    places = np.indices(shape, np.float32)
    return sum(((p - m) / r) ** 2 for p, m, r in zip(places, middle, radii, strict=True)) < 1


@pytest.fixture
def rings(monkeypatch):
    """An average head whose value is 100 from 4 to 10 mm off the brain, and 0 elsewhere."""
    brain = ball((120, 140, 130), (60, 70, 70), (35, 45, 35))
    signed = ndimage.distance_transform_edt(~brain) - ndimage.distance_transform_edt(brain)
    head = np.where((signed > 4) & (signed < 10), 100.0, 0.0)
    monkeypatch.setattr(template_head, "average_head", lambda: (head.astype(np.float32), signed.astype(np.float32)))


def test_a_ring_keeps_its_distance_from_a_brain_of_another_shape(rings):
    brain = ball((110, 120, 100), (55, 60, 50), (28, 33, 24))
    out = fit_head(brain)
    far = ndimage.distance_transform_edt(~np.pad(brain, HEAD_MARGIN))[::HEAD_STEP, ::HEAD_STEP, ::HEAD_STEP]
    assert out.shape == far.shape
    assert (out[(far > 5.5) & (far < 8.5)] > 60).mean() > 0.97
    assert (out[(far > 0) & (far < 2.5)] < 40).mean() > 0.97
    assert (out[far > 12] < 40).mean() > 0.97


def test_the_head_is_seen_where_the_scan_is_seen(rings):
    brain = ball((110, 120, 100), (55, 60, 50), (28, 33, 24))
    image = torch.from_numpy(brain.astype(np.uint8) * 200)
    distance = ndimage.distance_transform_edt(~brain) / STEP_MM
    scan = LabelledScan(
        image,
        torch.from_numpy(brain.astype(np.uint8)),
        torch.from_numpy(distance.clip(0, 255).astype(np.uint8)),
        torch.from_numpy(fit_head(brain)),
    )
    rng = RandomSource(3)
    _, _, far, _, seen = draw_view(scan, (64, 64, 64), rng)
    points = [(p + room[0]) / HEAD_STEP for p, room in zip(seen.points, HEAD_MARGIN, strict=True)]
    value = sample_linear([scan.head], Pose(points, seen.mirrored))[0]
    ring = (far > 6) & (far < 8)
    assert ring.sum() > 100
    assert (value[ring] > 50).float().mean() > 0.9
    assert value[far < 1.5].float().mean() < 20
    out = add_average_head(torch.zeros(64, 64, 64), scan, far, seen, rng)
    assert out[ring].mean() > 4 * out[far < 1.5].mean()
