"""Thick slices and clinical FLAIR: what fills a slice shows, what is redrawn lies where it lay."""

import numpy as np
import pytest
import torch
from nibabel.affines import from_matvec

from medapp.imaging.volume import Volume
from training.core.random_source import RandomSource
from training.data.clinical_flair import redraw_clinically
from training.data.ms_acquisition import simulate_clinic
from training.data.thick_slices import draw_slices, make_slices, show_lesions


@pytest.mark.parametrize("axis", range(3))
def test_what_is_even_stays_even_in_slices_and_between_them(axis):
    shape = (20, 24, 28)
    stack = draw_slices(shape[axis], 6.5, RandomSource(axis), axis)
    slices = stack.acquire(torch.full(shape, 3.0))
    assert slices.shape[axis] == len(stack.centres) < shape[axis] / 5
    torch.testing.assert_close(stack.spread(slices), torch.full(shape, 3.0))


def test_a_lesion_shows_by_its_share_of_the_slice():
    lesion = torch.zeros(4, 4, 40)
    lesion[:2, :, 16:19], lesion[2:, :, 16:17] = 1, 1
    stack = make_slices(40, 6.0, 6.0, 5.0)  # the third slice lies about 17
    share = stack.acquire(lesion)[:, 0]
    assert share[0, 2] == pytest.approx(0.5, abs=0.05) and share[3, 2] == pytest.approx(1 / 6, abs=0.05)
    shown = show_lesions(share)
    assert shown[0, 2] > 0.7 and not shown[3].any() and not shown[:, :2].any()


def test_a_redrawn_scan_has_a_head_thick_slices_and_its_lesions_in_their_place():
    index = np.indices((90, 90, 80)) - np.array([44.5, 44.5, 39.5])[:, None, None, None]
    brain = np.sqrt((index**2).sum(0)) < 32
    lesion = (np.abs(index - np.array([8, -9, 6])[:, None, None, None]) < 7).all(0)
    flair = np.where(lesion, 150, 100) * brain
    affine = from_matvec(np.diag([-1.0, 1, 1]), (40, -60, -30))  # from right to left
    truth = Volume(lesion.astype(np.uint8), affine, labels={1: "lesion"})
    scan = redraw_clinically(Volume(flair.astype(np.float32), affine), truth, 6.5, seed=0)
    np.testing.assert_allclose(scan.flair.spacing, (1, 1, 6.5), atol=1e-4)
    found = scan.truth.array > 0
    assert found.sum() * scan.truth.grid.voxel_ml == pytest.approx(lesion.sum() / 1000, rel=0.3)
    middle, before = (v.grid.to_mm(np.argwhere(v.array > 0)).mean(0) for v in (scan.truth, truth))
    np.testing.assert_allclose(middle, before, atol=2)
    mm = scan.flair.grid.to_mm(np.argwhere(np.ones(scan.flair.shape, bool)))
    away = np.linalg.norm(mm - truth.grid.to_mm(np.array([44.5, 44.5, 39.5])), axis=1).reshape(scan.flair.shape)
    inside, outside = scan.flair.array[(away < 22) & ~found], scan.flair.array[(away > 40) & (away < 44)]
    assert scan.flair.array[found].mean() > 1.3 * np.median(inside)
    assert (outside > 0.3 * np.median(inside)).mean() > 0.2, "there is a scalp"


@pytest.mark.parametrize("done", [False, True])
def test_a_clinic_shows_the_brain_alone_and_draws_what_it_shows(done):
    shape = (32, 32, 48)
    ramp = torch.arange(32.0).view(-1, 1, 1).expand(shape) - 26  # the brain ends at 26
    target = torch.zeros(shape)
    target[8:12, 8:12, 20:22] = 1
    images = {"flair": torch.where(ramp < 0, 0.5, 0.0) + 0.4 * target, "t1": torch.where(ramp < 0, 1.0, 0.0)}
    below = torch.zeros(shape)
    kept = []
    for seed in range(8):
        out, shown, thick = simulate_clinic(images, target, ramp.clamp(min=0), below, RandomSource(seed), done)
        assert out["flair"].isfinite().all() and out["flair"][:26].mean() > 0.5 and not out["flair"][31].any()
        assert not (done and (thick or set(out) != {"flair"}))
        kept.append(float(shown.sum() / target.sum()))
    assert kept == [1] * 8 if done else min(kept) < 0.5, "in slices of three times its height it hardly shows"
