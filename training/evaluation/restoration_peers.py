"""What a user would pick instead, for `training.evaluation.evaluate --peers`: each at the strength that suits the case
best.

The noise level is handed to them from the reference, and the strength is chosen by the reference too, which is more
than a user has and so flatters them.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

Denoiser = Callable[[np.ndarray, float], np.ndarray]


def _bm3d(image: np.ndarray, sigma: float) -> np.ndarray:
    from bm3d import bm3d  # free for non-commercial use only, so nothing of ours depends on it

    return bm3d(image, sigma)


def _nlm(image: np.ndarray, sigma: float) -> np.ndarray:
    return denoise_nl_means(image, 5, 6 if image.ndim == 2 else 3, h=0.8 * sigma, sigma=sigma, fast_mode=True)


def _tv(image: np.ndarray, sigma: float) -> np.ndarray:
    return denoise_tv_chambolle(image, sigma)


def _gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, sigma)


DENOISERS: dict[str, tuple[Denoiser, tuple[float, ...]]] = {  # with factors on the noise level, to choose from
    "BM3D": (_bm3d, (1.0, 1.4)),
    "non-local means": (_nlm, (0.7, 1.0, 1.4)),
    "total variation": (_tv, (0.5, 1.0, 1.5, 2.2)),
}
GAUSSIANS = (0.5, 0.7, 0.9, 1.2, 1.6, 2.2)  # pixels


def best_denoised(image: np.ndarray, reference: np.ndarray, span: float, slow: bool = True) -> dict[str, np.ndarray]:
    """Return each peer's best answer for (H, W) or (H, W, K), which it sees divided by `span`; BM3D only if `slow`."""
    x, y = image / span, reference / span
    sigma = float(np.sqrt(np.mean((x - y) ** 2)))

    def best(candidates: list[np.ndarray]) -> np.ndarray:
        return span * min(candidates, key=lambda c: float(np.mean((c - y) ** 2)))

    denoised = {"Gaussian": best([_gaussian(x, s) for s in GAUSSIANS])}
    for name, (denoise, factors) in DENOISERS.items():
        if slow or name != "BM3D":
            denoised[name] = best([denoise(x, f * sigma) for f in factors])
    return denoised


def enlarge_by_filters(small: np.ndarray, scale: int) -> dict[str, np.ndarray]:
    """Enlarge (h, w, 3) uint8 by the filters of common picture viewers."""
    size = (small.shape[1] * scale, small.shape[0] * scale)
    kinds = {
        "bilinear": Image.Resampling.BILINEAR,
        "bicubic": Image.Resampling.BICUBIC,
        "Lanczos": Image.Resampling.LANCZOS,
    }
    return {name: np.asarray(Image.fromarray(small).resize(size, kind)) for name, kind in kinds.items()}
