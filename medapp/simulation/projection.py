"""Parallel-beam projection and filtered back projection of 2-D images.

Frames: an image is (H, W), row then column, its centre is the axis of rotation. x grows with the column, y with the
row. The ray of view θ and detector position t is x cos θ + y sin θ = t; detector d of D stands at (d - (D - 1) / 2)
pitches, and the pitch is the pixel. Lines are integrated as in Joseph, IEEE Trans. Med. Imaging 1 (1982) 192; filters
and back projection follow Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), chapter 3.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

OVERSAMPLING = 8  # samples of a filtered view per detector, so that the nearest one is accurate enough
FILTER_WINDOWS = ("ramp", "shepp-logan", "cosine", "hann")


def make_angles(count: int, device: torch.device | str = "cpu") -> Tensor:
    """Return `count` angles in radians, evenly spaced over [0, π)."""
    return torch.arange(count, device=device, dtype=torch.float32) * (math.pi / count)


def count_detectors(height: int, width: int) -> int:
    """Count the detectors, an even number, each one pixel wide, that cover the whole image at every angle."""
    return 2 * math.ceil(math.hypot(height, width) / 2) + 2


@torch.no_grad()
def project(images: Tensor, angles: Tensor, pixel_mm: float = 1.0, count: int | None = None) -> Tensor:
    """Project images (B, H, W) float32 at angles (A,) in radians to line integrals (B, A, D), value times mm."""
    b, h, w = images.shape
    d = count or count_detectors(h, w)
    sinogram = images.new_empty(b, len(angles), d)
    t = torch.arange(d, device=images.device, dtype=torch.float32) - (d - 1) / 2
    along = _pad_rows(images), _pad_rows(images.transpose(1, 2))
    for k, angle in enumerate(angles.tolist()):
        c, s = math.cos(angle), math.sin(angle)
        upright = abs(c) >= abs(s)  # step along the axis that the ray crosses most steeply: rows, else columns
        pixels, step, rows = along[0 if upright else 1]
        divisor, slope = (c, s) if upright else (s, c)
        steps, size = rows
        y = torch.arange(steps, device=images.device, dtype=torch.float32) - (steps - 1) / 2
        x = (t / divisor + ((size - 1) / 2 + 1))[None] - (y * (slope / divisor))[:, None]  # in padded columns
        x.clamp_(0, size + 1)
        low = x.to(torch.int32)
        x -= low
        low += (torch.arange(steps, device=images.device, dtype=torch.int32) * (size + 3))[:, None]
        low = low.view(-1)
        for i in range(b):
            value = pixels[i].index_select(0, low).view(steps, d)
            value += step[i].index_select(0, low).view(steps, d).mul_(x)
            torch.sum(value, 0, out=sinogram[i, k])
        sinogram[:, k] *= pixel_mm / abs(divisor)
    return sinogram


def _pad_rows(images: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Images with zeros around each row, flattened; the step from each pixel to the next; (rows, columns)."""
    padded = F.pad(images, (1, 2))
    step = F.pad(padded[..., 1:] - padded[..., :-1], (0, 1))
    return padded.flatten(1).contiguous(), step.flatten(1).contiguous(), (images.shape[1], images.shape[2])


def compute_apodisation(frequency: Tensor, window: str = "ramp", cutoff: float = 1.0) -> Tensor:
    """Compute the apodisation, 1 at frequency 0, 0 beyond `cutoff` in the same unit; ValueError for another window."""
    f = (frequency.abs() / cutoff).clamp(max=1.0)
    if window == "ramp":
        shape = torch.ones_like(f)
    elif window == "shepp-logan":
        shape = torch.sinc(f / 2)
    elif window == "cosine":
        shape = torch.cos(f * (math.pi / 2))
    elif window == "hann":
        shape = 0.5 + 0.5 * torch.cos(f * math.pi)
    else:
        raise ValueError(f"window {window!r} is none of {', '.join(FILTER_WINDOWS)}")
    return torch.where(frequency.abs() > cutoff, 0.0, shape)


@torch.no_grad()
def filter_views(
    sinograms: Tensor, window: str = "ramp", cutoff: float = 1.0, pixel_mm: float = 1.0, finer: int = OVERSAMPLING
) -> Tensor:
    """Ramp-filter views (..., D) to (..., D * finer); `cutoff` is a fraction of the detectors' Nyquist frequency.

    The ramp is the transform of its band-limited samples, which keeps the mean right. Sample j lies at detector
    position (j + 0.5) / finer - 0.5.
    """
    d = sinograms.shape[-1]
    size = 2 ** math.ceil(math.log2(2 * d))
    n = torch.arange(size, device=sinograms.device)
    n = torch.minimum(n, size - n).float()
    kernel = torch.where(n % 2 == 1, -1 / (math.pi * n.clamp(min=1)) ** 2, torch.zeros_like(n))
    kernel[0] = 0.25
    ramp = torch.fft.rfft(kernel).real / pixel_mm
    frequency = torch.linspace(0, 1, size // 2 + 1, device=sinograms.device)
    spectrum = torch.fft.rfft(sinograms, n=size) * (ramp * compute_apodisation(frequency, window, cutoff))
    spectrum[..., -1] *= 0.5  # the Nyquist term is shared by both halves of the finer spectrum
    shift = (0.5 / finer - 0.5) * math.pi * frequency
    spectrum = spectrum * torch.polar(torch.ones_like(shift), shift)
    return torch.fft.irfft(spectrum, n=size * finer)[..., : d * finer] * finer


@torch.no_grad()
def back_project(fine: Tensor, angles: Tensor, shape: tuple[int, int], finer: int = OVERSAMPLING) -> Tensor:
    """Back project filtered views (B, A, D * finer) to (B, *shape): the nearest samples summed, times π / A."""
    b, a, length = fine.shape
    h, w = shape
    fine = fine.contiguous()
    x = torch.arange(w, device=fine.device, dtype=torch.float32) - (w - 1) / 2
    y = torch.arange(h, device=fine.device, dtype=torch.float32) - (h - 1) / 2
    image = fine.new_zeros(b, h * w)
    for k, angle in enumerate(angles.tolist()):
        column = x * (finer * math.cos(angle)) + length / 2  # centre of sample j is j + 0.5, so truncation is nearest
        place = (column[None] + (y * (finer * math.sin(angle)))[:, None]).to(torch.int32).view(-1)
        if h * h + w * w > (length / finer - 2) ** 2:
            place.clamp_(0, length - 1)
        for i in range(b):
            image[i] += fine[i, k].index_select(0, place)
    return image.view(b, h, w) * (math.pi / a)


def reconstruct_fbp(
    sinograms: Tensor,
    angles: Tensor,
    shape: tuple[int, int],
    pixel_mm: float = 1.0,
    window: str = "ramp",
    cutoff: float = 1.0,
) -> Tensor:
    """Reconstruct line integrals (B, A, D) over [0, π) by filtered back projection to (B, *shape), values per mm."""
    return back_project(filter_views(sinograms, window, cutoff, pixel_mm), angles, shape)
