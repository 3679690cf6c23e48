"""Microscopy with coarser optics: point spread, larger pixels, sensor noise, rounding.

Frame: pixel i of the coarse image is centred at (i + 0.5) * scale - 0.5 in pixels of the fine one, both axes, so that
bilinear upsampling with align_corners=False puts it back in place. Point spreads: a Gaussian, or the Airy pattern of a
round aperture (Goodman, Introduction to Fourier Optics, 2005, section 4.4).
"""

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

AIRY_WIDTH_RATIO = 0.5145 / 1.21967  # half width at half maximum over the radius of the first dark ring


@dataclass(frozen=True)
class Optics:
    """How a picture is degraded: the arguments of `degrade_picture` besides the picture and the scale."""

    blur: float = 0.4
    noise: float = 0.004
    spread: str = "gaussian"
    sampling: str = "area"
    jpeg: int | None = None

    @classmethod
    def random(cls, rng: np.random.Generator, noisy: bool = True) -> "Optics":
        """Draw optics as found in practice: sharp to soft, clean to noisy, sometimes compressed."""
        return cls(
            blur=float(rng.uniform(0.0, 0.8)),
            noise=float(rng.uniform(0.0, 0.015)) if noisy and rng.random() < 0.6 else 0.0,
            spread="airy" if rng.random() < 0.25 else "gaussian",
            sampling="point" if rng.random() < 0.3 else "area",
            jpeg=int(rng.integers(70, 98)) if noisy and rng.random() < 0.2 else None,
        )


def degrade_picture(
    rgb: np.ndarray,
    scale: int,
    blur: float = 0.4,
    noise: float = 0.004,
    seed: int = 0,
    jpeg: int | None = None,
    spread: str = "gaussian",
    sampling: str = "area",
    rounded: bool = True,
) -> np.ndarray:
    """Degrade a picture (H, W, 3) from 0 to 1 to pixels `scale` times larger: (H // scale, W // scale, 3) float32.

    `blur` is the sigma of the point spread in coarse pixels (for "airy": of the Gaussian of equal half width), applied
    before `sampling`: "area" averages over the coarse pixel, "point" takes the value at its centre. `noise` is the
    sensor's standard deviation at white, shot and read noise in equal parts of variance. `jpeg` is the quality of a
    compression, or None. With `rounded`, values are multiples of 1/255 as in stored pictures. Rows and columns beyond
    the last whole coarse pixel are left out. Raises ValueError for an unknown spread or sampling.
    """
    h, w = rgb.shape[0] // scale, rgb.shape[1] // scale
    fine = torch.from_numpy(np.ascontiguousarray(rgb[: h * scale, : w * scale], np.float32)).permute(2, 0, 1)[:, None]
    with torch.no_grad():
        coarse = (
            _sample_pixels(_apply_point_spread(fine, blur * scale, spread), scale, sampling)[:, 0]
            .permute(1, 2, 0)
            .numpy()
        )
    if noise:
        rng = np.random.default_rng(seed)
        strength = noise * np.sqrt(0.5 + 0.5 * coarse.clip(0, 1))
        coarse = coarse + strength * rng.standard_normal(coarse.shape, dtype=np.float32)
    coarse = coarse.clip(0, 1)
    if jpeg is not None:
        buffer = io.BytesIO()
        Image.fromarray((coarse * 255 + 0.5).astype(np.uint8)).save(buffer, "JPEG", quality=jpeg)
        return np.asarray(Image.open(buffer), np.float32) / 255
    return (np.round(coarse * 255) / 255 if rounded else coarse).astype(np.float32)


def _apply_point_spread(image: Tensor, sigma: float, kind: str) -> Tensor:
    """Convolve (N, 1, H, W) with the point spread, sigma in fine pixels, edges repeated."""
    if kind not in ("gaussian", "airy"):
        raise ValueError(f"spread {kind!r} is neither gaussian nor airy")
    if sigma < 0.05:
        return image
    reach = max(1, math.ceil((4 if kind == "gaussian" else 8) * sigma))
    x = torch.arange(-reach, reach + 1, dtype=torch.float64)
    padded = F.pad(image, (reach,) * 4, mode="replicate")
    if kind == "gaussian":
        tap = torch.exp(-0.5 * (x / sigma) ** 2)
        tap = (tap / tap.sum()).float()
        return F.conv2d(F.conv2d(padded, tap[None, None, None]), tap[None, None, :, None])
    dark = sigma * math.sqrt(2 * math.log(2)) / AIRY_WIDTH_RATIO  # radius of the first dark ring
    r = torch.hypot(x[:, None], x[None]) * (3.8317 / dark)
    pattern = torch.where(r > 0, 2 * torch.special.bessel_j1(r) / r.clamp(min=1e-9), 1.0) ** 2
    return F.conv2d(padded, (pattern / pattern.sum()).float()[None, None])


def _sample_pixels(image: Tensor, scale: int, how: str) -> Tensor:
    """(N, 1, H, W) on pixels `scale` times larger."""
    if how == "area":
        return F.avg_pool2d(image, scale)
    if how != "point":
        raise ValueError(f"sampling {how!r} is neither area nor point")
    middle = (scale - 1) // 2
    if scale % 2:
        return image[..., middle::scale, middle::scale]
    four = F.avg_pool2d(image, 2, stride=1)  # the centre lies between four fine pixels
    return four[..., middle::scale, middle::scale]
