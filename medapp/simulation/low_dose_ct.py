"""CT at a lower dose: noise is simulated in the sinogram, reconstructed, and added to the image.

A detector that expects P photons measures the line integral with variance 1/P + E/P² (E: electronic noise, in
photons²). Going from dose 1 to dose d adds (1/d - 1)/P + (1/d² - 1)E/P². That noise alone is drawn, back projected
with the kernel and added, so that dose 1 changes nothing and structures are not projected twice. After Yu et al., J.
Comput. Assist. Tomogr. 36 (2012) 477, and Zeng et al., IEEE Trans. Nucl. Sci. 62 (2015) 2226. P follows the patient:
Beer-Lambert on the image's own projections, a bow-tie filter and a tube current that follows the patient's width.

The unknown P without a patient, `photons`, is estimated from the image: the simulated full-dose noise is made equal to
the noise measured in its soft tissue. A quarter of the dose then doubles the noise, whatever the scanner was.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.simulation import projection
from medapp.simulation.projection import compute_apodisation, filter_views, reconstruct_fbp

WATER_ATTENUATION = 0.0193  # per mm, at the mean energy of a 120 kV beam, about 70 keV
ELECTRONIC_NOISE = 10.0  # photons²
VIEWS = 720
KERNELS = {"soft": 0.75, "medium": 1.1, "sharp": 1.7}  # cycles per mm, at which the Hann window reaches zero
CUTOFFS = (0.45, 0.55, 0.65, 0.75, 0.9, 1.1, 1.3, 1.7, 2.4)  # from which "auto" chooses
BOWTIE_MM = 140.0  # radius of the water cylinder for which the bow-tie compensates by half
MODULATION = 0.5  # share by which the tube current follows the attenuation of each view, 0 to 1
MIN_PHOTONS = 2.0  # rays with fewer are taken to be corrected by the scanner
MIN_NOISE_HU = 1.0  # of a full-dose image, at least
MIN_HU = -1024.0  # scanners store nothing lower


@dataclass(frozen=True)
class ScanModel:
    """An image's properties before noise is added, which hold for every dose and realisation.

    `attenuation` is the line integral less the gain of bow-tie and tube current, (VIEWS, D); `photons` the counts at
    full dose where that is 0; `cutoff` the kernel's, in cycles per mm; `noise` the measured noise in HU.
    """

    attenuation: Tensor
    photons: float
    cutoff: float
    noise: float
    shape: tuple[int, int]
    pixel_mm: float


def lower_dose(
    hu: np.ndarray,
    pixel_mm: float,
    dose: float = 0.25,
    kernel: str | float = "auto",
    seed: int = 0,
    photons: float | None = None,
    device: str = "cpu",
) -> np.ndarray:
    """Simulate a full-dose axial slice (H, W) in HU at `dose` (0 < dose <= 1) of its own; float32 (H, W).

    Outside the image is air. `kernel` is one of KERNELS, a cutoff in cycles per mm, or "auto", which takes the one
    whose noise has the grain of the image's own. `photons` at full dose are estimated from the image unless given.
    Raises ValueError for an unknown kernel or a dose outside its range.
    """
    scan = analyse_slice(hu, pixel_mm, kernel, photons, device)
    generator = torch.Generator(device).manual_seed(seed)
    noisy = hu.astype(np.float32) + simulate_noise(scan, [dose], [scan.cutoff], generator)[0].cpu().numpy()
    return noisy.clip(min(MIN_HU, float(hu.min())))


@torch.no_grad()
def analyse_slice(
    hu: np.ndarray,
    pixel_mm: float,
    kernel: str | float = "auto",
    photons: float | None = None,
    device: str = "cpu",
) -> ScanModel:
    """Analyse a slice (H, W) in HU before noise is added; arguments and errors are those of `lower_dose`."""
    image = torch.as_tensor(np.asarray(hu, np.float32), device=device)
    attenuation = _compute_attenuation(image, pixel_mm)
    # unit noise at a quarter of the views, with the widest kernel, shows its grain and strength
    few = attenuation[::4]
    drawn = torch.randn(few.shape, generator=torch.Generator(device).manual_seed(1), device=device)
    unit = torch.stack([drawn * (few / 2).exp(), drawn * few.exp()])
    shape = (image.shape[0], image.shape[1])
    angles = projection.make_angles(len(few), device)
    grain = reconstruct_fbp(unit, angles, shape, pixel_mm) * (1000 / WATER_ATTENUATION / math.sqrt(VIEWS / len(few)))
    flat = find_soft_tissue(image, pixel_mm)
    fitted = _fit_cutoff(image, grain[0], flat, pixel_mm) if kernel == "auto" else _read_cutoff(kernel)
    level = max(_compute_robust_std(_extract_detail(image, pixel_mm), flat), MIN_NOISE_HU)
    if photons is None:
        quantum, electronic = (
            _compute_robust_std(_extract_detail(_apodise(g, fitted, pixel_mm), pixel_mm), flat) ** 2 for g in grain
        )
        # level² = quantum / photons + ELECTRONIC_NOISE · electronic / photons²
        photons = (quantum + math.sqrt(quantum**2 + 4 * level**2 * ELECTRONIC_NOISE * electronic)) / (2 * level**2)
    return ScanModel(attenuation, float(photons), fitted, level, shape, pixel_mm)


@torch.no_grad()
def simulate_noise(scan: ScanModel, doses: list[float], cutoffs: list[float], generator: torch.Generator) -> Tensor:
    """Simulate the noise in HU to add, (N, H, W): one realisation per dose and kernel cutoff (cycles per mm)."""
    if not all(0 < d <= 1 for d in doses):
        raise ValueError("a dose must be above 0 and at most 1, the dose of the image itself")
    device = scan.attenuation.device
    full = (scan.photons * (-scan.attenuation).exp()).clamp(min=MIN_PHOTONS)  # photons at the detector
    nyquist = 1 / (2 * scan.pixel_mm)
    fine = []
    for dose, cutoff in zip(doses, cutoffs, strict=True):
        variance = (1 / dose - 1) / full + (1 / dose**2 - 1) * ELECTRONIC_NOISE / full**2
        drawn = torch.randn(full.shape, generator=generator, device=device) * variance.sqrt()
        fine.append(filter_views(drawn, "hann", cutoff / nyquist, scan.pixel_mm))
    angles = projection.make_angles(len(full), device)
    return projection.back_project(torch.stack(fine), angles, scan.shape) * (1000 / WATER_ATTENUATION)


def _compute_attenuation(image: Tensor, pixel_mm: float) -> Tensor:
    """Line integrals (VIEWS, D), less the gain of bow-tie and tube current. Smooth, so computed coarsely."""
    mu = ((image + 1000) * (WATER_ATTENUATION / 1000)).clamp(min=0)[None]
    h, w = image.shape
    wide = projection.count_detectors(h, w)
    coarse = F.avg_pool2d(F.pad(mu, (0, w % 2, 0, h % 2)), 2)
    angles = projection.make_angles(VIEWS // 4, image.device)
    lines = projection.project(coarse, angles, 2 * pixel_mm, count=wide // 2)
    lines = torch.cat([lines, lines[:, :1].flip(-1)], 1)  # the view at π is the first one mirrored
    lines = F.interpolate(lines[None], size=(len(angles) + 1, wide), mode="bilinear", align_corners=False)
    lines = F.interpolate(lines, size=(VIEWS + 1, wide), mode="bilinear", align_corners=True)[0, 0, :-1]
    t = (torch.arange(wide, device=image.device) - (wide - 1) / 2) * pixel_mm
    bowtie = WATER_ATTENUATION * (BOWTIE_MM - (BOWTIE_MM**2 - t**2).clamp(min=0).sqrt())  # half of what the chord lacks
    current = MODULATION * lines.amax(1, keepdim=True)
    return lines + bowtie - (current - current.mean())


def find_soft_tissue(image: Tensor, pixel_mm: float) -> Tensor:
    """Find soft tissue with little structure, in which noise can be measured, (H, W) bool; the whole image at worst."""
    smooth = _blur(image, 1.5)
    soft = (smooth > -150) & (smooth < 150)
    reach = 2 * max(1, round(2.5 / pixel_mm)) + 1  # away from air, lung and bone
    inside = -F.max_pool2d((~soft).float()[None, None], reach, 1, reach // 2)[0, 0] == 0
    broad = _blur(image, 3.0 / pixel_mm)
    slope = torch.hypot(*torch.gradient(broad))
    if int(inside.sum()) < 200:
        inside = image > -500
    if int(inside.sum()) < 200:
        inside = torch.ones_like(image, dtype=torch.bool)
    return inside & (slope <= slope[inside].median())


def _extract_detail(image: Tensor, pixel_mm: float) -> Tensor:
    """What is finer than about 2 mm in (H, W)."""
    return image - _blur(image, 2.0 / pixel_mm)


def _compute_robust_std(image: Tensor, mask: Tensor) -> float:
    """Standard deviation, from the median absolute deviation, of (H, W) in a mask."""
    values = image[mask]
    return float((values - values.median()).abs().median()) * 1.4826


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (H, W), sigma in pixels, edges repeated."""
    reach = math.ceil(3 * sigma)
    x = torch.arange(-reach, reach + 1, device=image.device, dtype=torch.float32)
    tap = torch.exp(-0.5 * (x / sigma) ** 2)
    tap /= tap.sum()
    padded = F.pad(image[None, None], (reach, reach, reach, reach), mode="replicate")
    return F.conv2d(F.conv2d(padded, tap[None, None, None]), tap[None, None, :, None])[0, 0]


def _apodise(image: Tensor, cutoff: float, pixel_mm: float) -> Tensor:
    """A ramp-filtered image (H, W) apodised by a kernel: filters along the views are radial in the plane."""
    h, w = image.shape
    fy = torch.fft.fftfreq(h, pixel_mm, device=image.device)[:, None]
    fx = torch.fft.rfftfreq(w, pixel_mm, device=image.device)[None]
    return torch.fft.irfft2(torch.fft.rfft2(image) * compute_apodisation(torch.hypot(fx, fy), "hann", cutoff), s=(h, w))


def _fit_cutoff(image: Tensor, grain: Tensor, mask: Tensor, pixel_mm: float) -> float:
    """The cutoff of CUTOFFS at which the noise has as fine a grain as the image."""

    def fineness(a: Tensor) -> float:
        band = _extract_detail(a, pixel_mm)
        return _compute_robust_std(a - _blur(a, 0.7), mask) / max(_compute_robust_std(band, mask), 1e-6)

    own = fineness(image)
    return min(CUTOFFS, key=lambda c: abs(fineness(_apodise(grain, c, pixel_mm)) - own))


def _read_cutoff(kernel: str | float) -> float:
    """The cutoff in cycles per mm of a kernel given by name or by cutoff."""
    if isinstance(kernel, str):
        if kernel not in KERNELS:
            raise ValueError(f"kernel {kernel!r} is none of auto, {', '.join(KERNELS)}")
        return KERNELS[kernel]
    return float(kernel)
