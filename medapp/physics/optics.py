"""What a weaker objective makes of a pathology picture: blur, fewer pixels, sensor noise."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

REDUCTIONS = ("area", "bicubic", "lanczos")
_FILTERS = {
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def degrade(
    rgb: np.ndarray,
    scale: int,
    *,
    blur: float = 0.3,
    noise: float = 0.0,
    reduction: str = "area",
    jpeg: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """(H, W, 3) float32 in 0..1 -> (H // scale, W // scale, 3) float32 in 0..1, rounded to 8 bit.

    `blur` is the standard deviation of a Gaussian point spread function in pixels of the small picture, `noise` that of
    the sensor in 0..1, `jpeg` a quality to store it at. The small pixel i lies at (i + 0.5) * scale - 0.5 of the large
    picture, as bilinear enlargement (align_corners=False) assumes.
    """
    height, width = (n // scale * scale for n in rgb.shape[:2])
    sharp = np.asarray(rgb[:height, :width], np.float32)
    if blur:
        sharp = ndimage.gaussian_filter(sharp, (blur * scale, blur * scale, 0), mode="nearest")
    size = (width // scale, height // scale)
    channels = [
        Image.fromarray(np.ascontiguousarray(sharp[..., c])).resize(size, _FILTERS[reduction]) for c in range(3)
    ]
    small = np.stack([np.asarray(channel) for channel in channels], -1)
    if noise:
        small = small + np.random.default_rng(seed).normal(0, noise, small.shape).astype(np.float32)
    small = np.round(small.clip(0, 1) * 255).astype(np.uint8)
    if jpeg:
        packed = io.BytesIO()
        Image.fromarray(small).save(packed, "JPEG", quality=jpeg, subsampling=0)
        small = np.asarray(Image.open(packed))
    return small.astype(np.float32) / 255
