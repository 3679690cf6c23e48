"""PET with fewer counts: Poisson counts in the sinogram, reconstructed by ordered subsets or filtered back projection.

The scanner is 2-D and parallel, one slice at a time. A line's expected counts are  s · a · (A x) + b:  A x the line
integrals of the activity, a the attenuation of a water-filled outline (511 keV), b a uniform background of randoms and
scatter, s the scale that gives a slice its stated number of true counts. Counts are thinned as a shorter scan loses
events: each one stays with probability `fraction`. Ordered subsets: Hudson and Larkin, IEEE Trans. Med. Imaging 13
(1994) 601; expectation maximisation with a known background: Shepp and Vardi, IEEE Trans. Med. Imaging 1 (1982) 113.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.simulation import projection
from medapp.simulation.system_matrix import SUBSETS, build_system_matrix

WATER_ATTENUATION = 0.0096  # attenuation per mm at 511 keV
OUTLINE_SHARE = 0.03  # of the 99.5th percentile, above which activity lies inside the body
BACKGROUND_SHARE = 0.3  # randoms and scatter, as a fraction of the true counts
MAX_PIXELS = 224  # pixels a side; on finer grids than scanners resolve, noise is simulated at half the size


@dataclass(frozen=True)
class Reconstruction:
    """How counts are reconstructed: `method` "osem" or "fbp"; `fwhm_mm` of the Gaussian filter after it."""

    method: str = "osem"
    iterations: int = 3
    fwhm_mm: float = 4.0
    window: str = "hann"  # fbp only
    cutoff: float = 1.0  # fbp only, as a fraction of Nyquist


@dataclass(frozen=True)
class Acquisition:
    """A simulated scan, each (B, V, D) in counts: the expected `mean`, and the known `gain` = s·a and `background`."""

    mean: Tensor
    gain: Tensor
    background: Tensor
    shape: tuple[int, int]
    pixel_mm: float


def lower_counts(
    activity: np.ndarray,
    pixel_mm: float,
    fraction: float = 0.1,
    counts: float = 1e6,
    recipe: Reconstruction | None = None,
    seed: int = 0,
    device: str = "cpu",
    batch: int = 16,
) -> np.ndarray:
    """Simulate a PET image (H, W) or (D, H, W) at `fraction` (0 < fraction <= 1) of its counts; float32.

    `counts` are the true counts in the mean slice of the full scan; slices share them by their activity. The result is
    image + √(1 - fraction) · (noisy - noiseless reconstruction), in the image's unit. A plain second reconstruction
    would also blur the image again, and a network would then learn to sharpen; so the image keeps its resolution and
    its own noise, the added noise is that of the missing counts, and fraction 1 changes nothing. With ordered subsets
    an image without negative values stays so. Raises ValueError for a fraction outside its range.
    """
    if not 0 < fraction <= 1:
        raise ValueError("the fraction of counts must be above 0 and at most 1")
    volume = np.asarray(activity, np.float32).reshape(-1, *activity.shape[-2:])
    generator = torch.Generator(device).manual_seed(seed)
    sums = volume.clip(0).sum((1, 2), dtype=np.float64)
    result = volume.copy()
    if fraction == 1 or not sums.any():
        return result.reshape(activity.shape)
    share = counts * sums / sums.mean()
    recipe = recipe or Reconstruction()
    for start in range(0, len(volume), batch):
        part = torch.as_tensor(volume[start : start + batch], device=device).clamp(min=0)
        mm = pixel_mm
        while max(part.shape[1:]) > MAX_PIXELS:
            part, mm = F.avg_pool2d(part, 2, ceil_mode=True), 2 * mm
        true = torch.as_tensor(share[start : start + batch], device=device, dtype=torch.float32)
        scan = simulate_acquisition(part, mm, true * fraction)
        noisy, noiseless = [
            reconstruct_slices(scan, counted, recipe) for counted in (torch.poisson(scan.mean, generator), scan.mean)
        ]
        noise = F.interpolate((noisy - noiseless)[None], size=volume.shape[1:], mode="bilinear")[0]
        result[start : start + batch] += noise.cpu().numpy() * (1 - fraction) ** 0.5
    if volume.min() >= 0 and recipe.method == "osem":
        result.clip(0, out=result)
    return result.reshape(activity.shape)


@torch.no_grad()
def simulate_acquisition(
    activity: Tensor, pixel_mm: float, counts: Tensor, background: float = BACKGROUND_SHARE
) -> Acquisition:
    """Simulate the expected sinogram of slices (B, H, W) >= 0 with `counts` (B,) true counts each, 0 in empty ones."""
    h, w = activity.shape[1:]
    system = build_system_matrix(h, w, str(activity.device))
    lines = system.project(activity) * pixel_mm
    bright = torch.quantile(activity.flatten(1), 0.995, dim=1).amax()
    outline = F.max_pool2d((activity > OUTLINE_SHARE * bright).float()[:, None], 3, 1, 1)[:, 0]
    attenuation = (-WATER_ATTENUATION * pixel_mm * system.project(outline)).exp()
    trues = lines * attenuation
    scale = counts / trues.sum((1, 2)).clamp(min=1e-12)
    gain = attenuation * scale[:, None, None]
    uniform = (counts * background / (trues.shape[1] * trues.shape[2]))[:, None, None].expand_as(trues)
    return Acquisition(gain * lines + uniform, gain, uniform, (h, w), pixel_mm)


def thin_counts(counted: Tensor, fraction: float | Tensor, generator: torch.Generator) -> Tensor:
    """Thin whole counts (B, V, D) to those of a shorter scan: binomial with `fraction`, a number or (B, 1, 1)."""
    each = torch.as_tensor(fraction, device=counted.device).expand_as(counted).contiguous()
    return torch.binomial(counted, each, generator)


def shorten_acquisition(scan: Acquisition, fraction: Tensor) -> Acquisition:
    """Return the same scan shortened to `fraction` (B, 1, 1) of its time."""
    return Acquisition(
        scan.mean * fraction, scan.gain * fraction, scan.background * fraction, scan.shape, scan.pixel_mm
    )


@torch.no_grad()
def reconstruct_slices(scan: Acquisition, counted: Tensor, recipe: Reconstruction) -> Tensor:
    """Reconstruct counts (B, V, D) to slices (B, H, W) in the unit of the activity; ValueError for another method."""
    h, w = scan.shape
    if recipe.method == "fbp":
        lines = (counted - scan.background) / scan.gain.clamp(min=1e-12)
        angles = projection.make_angles(counted.shape[1], counted.device)
        image = projection.reconstruct_fbp(lines, angles, (h, w), scan.pixel_mm, recipe.window, recipe.cutoff)
    elif recipe.method == "osem":
        image = _reconstruct_osem(scan, counted, recipe.iterations)
    else:
        raise ValueError(f"method {recipe.method!r} is neither osem nor fbp")
    return smooth_slices(image, recipe.fwhm_mm, scan.pixel_mm)


def _reconstruct_osem(scan: Acquisition, counted: Tensor, iterations: int) -> Tensor:
    """Ordered-subsets expectation maximisation with a known background: counts (B, V, D) -> (B, H, W)."""
    h, w = scan.shape
    system = build_system_matrix(h, w, str(counted.device))
    gain = scan.gain * scan.pixel_mm
    sensitivity = [system.back_project(gain[:, k::SUBSETS], k) for k in range(SUBSETS)]
    start = (counted - scan.background).sum((1, 2)).clamp(min=0) / gain.sum((1, 2)).clamp(min=1e-12)
    image = (start / max(h, w)).clamp(min=1e-9)[:, None, None].expand(-1, h, w).contiguous()
    for _ in range(iterations):
        for k in range(SUBSETS):
            expected = gain[:, k::SUBSETS] * system.project(image, k) + scan.background[:, k::SUBSETS]
            ratio = counted[:, k::SUBSETS] / expected.clamp(min=1e-9)
            image = image * system.back_project(gain[:, k::SUBSETS] * ratio, k) / sensitivity[k].clamp(min=1e-12)
    return image


def smooth_slices(image: Tensor, fwhm_mm: float, pixel_mm: float) -> Tensor:
    """Smooth slices (B, H, W) by a Gaussian sampled on the pixels; its sum is 1, outside the image is 0."""
    sigma = fwhm_mm / 2.3548 / pixel_mm
    if sigma < 0.1:
        return image
    reach = max(1, int(4 * sigma + 0.5))
    x = torch.arange(-reach, reach + 1, device=image.device, dtype=torch.float32)
    tap = torch.exp(-0.5 * (x / sigma) ** 2)
    tap /= tap.sum()
    rows = F.conv2d(image[:, None], tap[None, None, None], padding=(0, reach))
    return F.conv2d(rows, tap[None, None, :, None], padding=(reach, 0))[:, 0]
