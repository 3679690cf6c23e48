"""Coarser optics: pixels stay in place, blur is as wide as it says, noise as strong."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medapp.simulation.microscopy import Optics, degrade_picture


def ramps(h=48, w=64):
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    return np.stack([x / 80, y / 80, (x + y) / 160], -1).astype(np.float32) + 0.1


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("sampling", ["area", "point"])
def test_bilinear_upsampling_puts_it_back_in_place(scale, sampling):
    picture = ramps()
    low = degrade_picture(picture, scale, blur=0.4, noise=0, sampling=sampling, rounded=False)
    assert low.shape == (48 // scale, 64 // scale, 3) and low.dtype == np.float32
    up = F.interpolate(torch.from_numpy(low).permute(2, 0, 1)[None], scale_factor=scale, mode="bilinear")[0]
    h, w = up.shape[1:]
    inner = slice(4 * scale, -4 * scale)
    np.testing.assert_allclose(up.permute(1, 2, 0).numpy()[inner, inner], picture[:h, :w][inner, inner], atol=1e-5)


@pytest.mark.parametrize("spread", ["gaussian", "airy"])
def test_a_point_spreads_as_wide_as_stated(spread):
    picture = np.zeros((129, 129, 3), np.float32)
    picture[64, 64] = 1
    blurred = degrade_picture(picture, 1, blur=4.0, noise=0, spread=spread, rounded=False)[..., 0]
    assert blurred.sum() == pytest.approx(1, abs=1e-3)
    profile = blurred[64] / blurred[64, 64]
    assert np.interp(4.0 * np.sqrt(2 * np.log(2)), np.arange(65), profile[64:]) == pytest.approx(0.5, abs=0.02)


def test_noise_rounding_and_seed():
    grey = np.full((200, 200, 3), 0.5, np.float32)
    noisy = degrade_picture(grey, 2, noise=0.02, seed=1, rounded=False)
    assert noisy.std() == pytest.approx(0.02 * 0.75**0.5, rel=0.05)
    assert noisy.mean() == pytest.approx(0.5, abs=1e-3)
    stored = degrade_picture(grey, 2, noise=0.02, seed=1)
    np.testing.assert_allclose(stored * 255, np.round(stored * 255), atol=1e-4)
    np.testing.assert_array_equal(stored, degrade_picture(grey, 2, noise=0.02, seed=1))
    packed = degrade_picture(ramps(), 2, noise=0.01, jpeg=80)
    assert 0 < np.abs(packed - degrade_picture(ramps(), 2, noise=0.01)).mean() < 0.02


def test_random_lenses_work_and_wrong_words_say_so():
    rng = np.random.default_rng(0)
    for _ in range(12):
        lens = Optics.random(rng)
        low = degrade_picture(ramps(), 2, **vars(lens))
        assert low.shape == (24, 32, 3) and low.min() >= 0 and low.max() <= 1
    with pytest.raises(ValueError, match="sampling"):
        degrade_picture(ramps(), 2, sampling="sinc")
    with pytest.raises(ValueError, match="spread"):
        degrade_picture(ramps(), 2, spread="box")
