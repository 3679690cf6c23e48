"""Fewer counts mean more noise and the same mean."""

import numpy as np
import pytest
import torch

from medapp.simulation import low_count_pet, projection
from medapp.simulation.system_matrix import build_system_matrix

PIXEL = 3.0


def phantom(side=64):
    y, x = np.meshgrid(*[(np.arange(side) - (side - 1) / 2) * PIXEL] * 2, indexing="ij")
    image = np.where((x / 80) ** 2 + (y / 60) ** 2 < 1, 1000.0, 0.0)
    image[np.hypot(x - 25, y) < 14] = 4000
    return low_count_pet.smooth_slices(torch.from_numpy(image).float()[None], 6.0, PIXEL)[0].numpy(), (x / 70) ** 2 + (
        y / 50
    ) ** 2 < 1


@pytest.mark.parametrize("recipe", [low_count_pet.Reconstruction(), low_count_pet.Reconstruction("fbp", fwhm_mm=5.0)])
def test_regional_mean_is_kept_and_noise_grows(recipe):
    image, inside = phantom()
    volume = np.repeat(image[None], 40, 0)
    spread = []
    for fraction in (0.5, 0.1, 0.05):
        low = low_count_pet.lower_counts(volume, PIXEL, fraction, 1e6, recipe)
        assert low.shape == volume.shape and low.dtype == np.float32
        hot = image > 3000
        assert low[:, inside].mean() == pytest.approx(image[inside].mean(), rel=0.01)
        assert low[:, hot].mean() == pytest.approx(image[hot].mean(), rel=0.01)
        spread.append((low - volume)[:, inside].std())
    # √(1 - f) of noise that goes as 1 / √f: 1, 3, 4.36
    assert spread[1] / spread[0] == pytest.approx(3.0, rel=0.15)
    assert spread[2] / spread[0] == pytest.approx(4.36, rel=0.2)


def test_all_counts_change_nothing_and_a_slice_is_a_volume_of_one():
    image, _ = phantom()
    np.testing.assert_array_equal(low_count_pet.lower_counts(image, PIXEL, 1.0), image)
    one = low_count_pet.lower_counts(image, PIXEL, 0.1, seed=4)
    np.testing.assert_array_equal(one, low_count_pet.lower_counts(image[None], PIXEL, 0.1, seed=4)[0])
    assert np.abs(one - low_count_pet.lower_counts(image, PIXEL, 0.1, seed=5)).max() > 0
    assert one.min() >= 0
    empty = np.zeros((2, 40, 40), np.float32)
    np.testing.assert_array_equal(low_count_pet.lower_counts(empty, PIXEL, 0.1), empty)
    with pytest.raises(ValueError, match="fraction"):
        low_count_pet.lower_counts(image, PIXEL, 0.0)


def test_slices_share_counts_by_their_activity():
    image, inside = phantom()
    low = low_count_pet.lower_counts(np.stack([image, image / 10]), PIXEL, 0.1, 1e6)
    faint, bright = (low[1] * 10 - image)[inside].std(), (low[0] - image)[inside].std()
    assert faint > 2 * bright


def test_reconstruction_without_noise_returns_the_activity():
    image, inside = phantom()
    scan = low_count_pet.simulate_acquisition(torch.from_numpy(image)[None], PIXEL, torch.tensor([1e6]))
    assert float(scan.mean.sum()) == pytest.approx(1.3e6, rel=1e-3)  # trues, and 30 % of background
    for recipe in (
        low_count_pet.Reconstruction(iterations=6, fwhm_mm=0),
        low_count_pet.Reconstruction("fbp", fwhm_mm=0, window="ramp"),
    ):
        reconstruction = low_count_pet.reconstruct_slices(scan, scan.mean, recipe)[0].numpy()
        assert reconstruction[inside].mean() == pytest.approx(image[inside].mean(), rel=0.005)
        assert np.abs(reconstruction - image)[inside].mean() < 0.03 * image[inside].mean()


def test_the_matrices_are_adjoint_and_agree_with_the_rays():
    system = build_system_matrix(40, 50, "cpu")
    random = torch.Generator().manual_seed(0)
    image = torch.rand(1, 40, 50, generator=random)
    lines = system.project(image)
    expected = projection.project(image, projection.make_angles(lines.shape[1]))
    torch.testing.assert_close(lines, expected, rtol=1e-3, atol=2e-3)
    other = torch.rand(system.project(image, 3).shape, generator=random)
    torch.testing.assert_close((system.project(image, 3) * other).sum(), (image * system.back_project(other, 3)).sum())


def test_large_pictures_are_made_coarser_inside():
    image, inside = phantom()
    large = image.repeat(4, 0).repeat(4, 1)
    low = low_count_pet.lower_counts(large, PIXEL / 4, 0.1)
    assert low.shape == large.shape
    assert low[inside.repeat(4, 0).repeat(4, 1)].mean() == pytest.approx(image[inside].mean(), rel=0.02)


def test_thinning_keeps_whole_counts_within_what_was_there():
    counted = torch.poisson(torch.full((2, 30, 40), 20.0), torch.Generator().manual_seed(0))
    kept = torch.tensor([0.5, 0.1])[:, None, None]
    low = low_count_pet.thin_counts(counted, kept, torch.Generator().manual_seed(1))
    assert bool((low <= counted).all()) and bool((low == low.round()).all())
    torch.testing.assert_close(low.mean((1, 2)), torch.tensor([10.0, 2.0]), rtol=0.05, atol=0)
