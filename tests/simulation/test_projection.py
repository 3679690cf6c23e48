"""Projections of discs are chords, and filtered back projection brings the discs back."""

import math

import pytest
import torch

from medapp.simulation import projection

PIXEL = 1.5
DISCS = ((10.0, -20.0, 70.0, 0.02), (30.0, 10.0, 15.0, 0.01))  # x, y, radius in mm, value per mm


def axes(h, w):
    x = (torch.arange(w) - (w - 1) / 2) * PIXEL
    y = (torch.arange(h) - (h - 1) / 2) * PIXEL
    return x[None], y[:, None]


def drawn(h, w):
    x, y = axes(h, w)
    return sum(v * ((r - torch.hypot(x - a, y - b)) / PIXEL + 0.5).clamp(0, 1) for a, b, r, v in DISCS)


@pytest.fixture(scope="module")
def phantom():
    image = drawn(130, 161)
    angles = projection.make_angles(360)
    return image, angles, projection.project(image[None], angles, PIXEL)


def test_line_integrals_are_chords(phantom):
    _, angles, sinogram = phantom
    t = (torch.arange(sinogram.shape[-1]) - (sinogram.shape[-1] - 1) / 2) * PIXEL
    for k in (0, 37, 90, 200, 359):
        c, s = math.cos(angles[k]), math.sin(angles[k])
        chords = sum(2 * v * (r**2 - (t - a * c - b * s) ** 2).clamp(min=0).sqrt() for a, b, r, v in DISCS)
        error = (sinogram[0, k] - chords).abs()
        assert error.mean() < 0.006 and error.max() < 0.35  # of 3.4: at the tangents a pixel counts


def test_every_view_holds_all_that_is_there(phantom):
    image, _, sinogram = phantom
    torch.testing.assert_close(sinogram.sum(-1)[0] * PIXEL, (image.sum() * PIXEL**2).expand(360), rtol=2e-3, atol=0)


@pytest.mark.parametrize("window", projection.FILTER_WINDOWS)
def test_fbp_recovers_the_discs(phantom, window):
    image, angles, sinogram = phantom
    reconstruction = projection.reconstruct_fbp(sinogram, angles, image.shape, PIXEL, window)[0]
    x, y = axes(*image.shape)
    small, ring = torch.hypot(x - 30, y - 10) < 11, torch.hypot(x - 10, y + 20)
    assert reconstruction[small].mean() == pytest.approx(0.03, rel=0.01)
    assert reconstruction[(ring < 64) & (torch.hypot(x - 30, y - 10) > 20)].mean() == pytest.approx(0.02, rel=0.01)
    assert reconstruction[ring > 78].abs().mean() < 0.0004


def test_batches_are_independent(phantom):
    image, angles, sinogram = phantom
    pair = projection.project(torch.stack([image, 2 * image]), angles[::40], PIXEL)
    torch.testing.assert_close(pair[0], sinogram[0, ::40])
    torch.testing.assert_close(pair[1], 2 * sinogram[0, ::40])


def test_a_lower_cutoff_blurs_and_a_wrong_window_says_so(phantom):
    image, angles, sinogram = phantom
    noise = torch.randn(sinogram.shape, generator=torch.Generator().manual_seed(0))
    sharp, soft = (projection.reconstruct_fbp(noise, angles, image.shape, PIXEL, "hann", c).std() for c in (1.0, 0.5))
    assert soft < 0.5 * sharp
    with pytest.raises(ValueError, match="hamming"):
        projection.reconstruct_fbp(sinogram, angles, image.shape, window="hamming")
