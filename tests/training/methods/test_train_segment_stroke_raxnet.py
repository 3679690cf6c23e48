"""The training of RAX-Net: the authors' losses, slices of every size in every plane, views that keep image and mask."""

from pathlib import Path

import numpy as np
import pytest
import torch

from training.core.lesion_losses import LOSSES, dice_loss, focal_loss, focal_tversky_loss, tversky_loss
from training.core.random_source import RandomSource
from training.data import stroke_slices
from training.data.stroke_heads import StrokeHead
from training.data.stroke_slices import PLANES, SliceSampler, augment_slices

FIXTURE = Path(__file__).parents[2] / "parity" / "rax_losses.npz"
NAMES = {
    "FocalTverskyLoss": focal_tversky_loss,
    "FocalLoss": focal_loss,
    "TverskyLoss": tversky_loss,
    "DiceCoefLoss": dice_loss,
}


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_the_authors(name):
    fixture = np.load(FIXTURE)
    logits = torch.from_numpy(fixture["pred"]).double().clamp(1e-7, 1 - 1e-7).logit()
    assert float(NAMES[name](logits, torch.from_numpy(fixture["gt"]).double())) == pytest.approx(
        fixture[name], abs=1e-5
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses_fall_towards_the_truth(name):
    target = (torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    right, wrong = (LOSSES[name]((target - 0.5) * size, target) for size in (16, -16))
    assert right < 0.02 < wrong


@pytest.fixture
def painted(monkeypatch):
    """A head that is brighter inside its lesion, and an empty template."""
    mask = np.zeros((40, 48, 32), bool)
    mask[10:20, 12:30, 8:20] = True
    image = np.full(mask.shape, 60, np.uint8)
    image[5:35, 5:43, 4:28] = 120
    image[mask] = 200
    monkeypatch.setattr(stroke_slices, "standardize_template", lambda: np.zeros(mask.shape, np.float32))
    return StrokeHead(image, mask, "nobody", ("none",))


@pytest.mark.parametrize("plane", PLANES)
def test_slices_with_and_without_lesion_are_told_apart_in_their_own_plane(plane, painted):
    slices = SliceSampler(plane)
    slices.add(painted)
    inside = painted.mask.any(tuple(a for a in range(3) if a != PLANES[plane]))
    assert sorted(at for kept in slices.bins for _, at in kept) == np.flatnonzero(inside).tolist()
    assert not {at for _, at in slices.empty} & set(np.flatnonzero(inside))
    image, target = slices.draw(8, RandomSource(0))
    assert image.shape == (8, 5, *target.shape[2:]) and not image[:, -1].any()
    assert target.flatten(1).any(1).tolist() == [True] * 5 + [False] * 3
    own = image[:, :1]
    assert (own[target > 0] > own[target == 0].max()).all()


@pytest.mark.parametrize("mirror", [False, True])
def test_a_view_moves_image_and_mask_alike(mirror, painted):
    slices = SliceSampler("axial")
    slices.add(painted)
    image, target = augment_slices(*slices.draw(16, RandomSource(0)), (32, 48), mirror, RandomSource(1))
    assert image.shape == (16, 5, 32, 48) and target.shape == (16, 1, 32, 48) and not image[:, -1].any()
    clear = [i for i in range(16) if target[i].sum() > 60]
    assert len(clear) > 4
    for i in clear:
        assert image[i, :1][target[i] > 0].mean() > image[i, :1][target[i] == 0].mean() + 1
