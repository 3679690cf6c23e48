"""Histograms and power spectra tell what is known of made-up noise."""

import numpy as np
import pytest
from scipy import ndimage

from medapp.imaging.volume import Volume
from medapp.rendering import quality_charts

AFFINE = np.diag([-0.8, -0.8, 3.0, 1.0])


def noise(sigma: float, smooth: float = 0, shape=(128, 140, 3)) -> Volume:
    array = np.random.default_rng(0).normal(0, sigma, shape)
    return Volume(ndimage.gaussian_filter(array, (smooth, smooth, 0)).astype(np.float32), AFFINE, unit="HU")


def test_the_power_of_white_noise_is_its_variance_times_the_area_of_a_pixel():
    frequency, power = quality_charts.compute_spectrum(noise(10))
    np.testing.assert_allclose(power, 100 * 0.64, rtol=0.3)
    assert np.mean(power) == pytest.approx(64, rel=0.05)
    assert frequency[-1] == pytest.approx(1 / 1.6, rel=0.02), "up to half the sampling frequency"


def test_smoothing_takes_the_fine_and_leaves_the_coarse():
    (_, before), (_, after) = (
        quality_charts.compute_spectrum(noise(10)),
        quality_charts.compute_spectrum(noise(10, 1.5)),
    )
    assert after[-1] < 1e-3 * before[-1] and after[0] > 0.5 * before[0]


def test_the_figures_have_a_line_for_every_image():
    volumes = {"before": noise(10), "restored": noise(10, 1)}
    coloured = Volume(np.zeros((64, 64, 1, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None, None, None], AFFINE)
    for given in (volumes, {"before": coloured, "restored": coloured}):
        for draw in (quality_charts.plot_histograms, quality_charts.plot_noise_power):
            figure = draw(given)
            assert [line.name for line in figure.data] == ["before", "restored"]
            assert all(np.isfinite(line.y).all() for line in figure.data)
    assert "HU" in quality_charts.plot_noise_power(volumes).layout.yaxis.title.text


def test_what_has_no_figure_says_why():
    flat = Volume(np.zeros((4, 4, 1), np.float32), AFFINE)
    assert quality_charts.plot_histograms({"before": flat}).layout.annotations[0].text
    assert quality_charts.plot_noise_power({"before": flat}).layout.annotations[0].text
