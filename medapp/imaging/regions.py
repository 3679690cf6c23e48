"""Index maps: int32 (H, W), values 1 to n without gaps, every pixel in one region."""

import numpy as np
from skimage.segmentation import slic


def superpixels(picture: np.ndarray, count: int = 200) -> np.ndarray:
    """About `count` compact regions of like colour in (H, W) or (H, W, 3) of any range.

    Achanta et al. 2012, doi:10.1109/TPAMI.2012.120, as scikit-image has it.
    """
    picture = np.asarray(picture, np.float32)
    low, high = np.percentile(picture, (1, 99.5))
    picture = ((picture - low) / max(high - low, 1e-6)).clip(0, 1)
    return compact(
        slic(
            picture, count, compactness=0.1, sigma=1, channel_axis=-1 if picture.ndim == 3 else None, convert2lab=False
        )
    )


def compact(labels: np.ndarray) -> np.ndarray:
    """The same regions numbered 1 to n in the order of their old numbers."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32) + 1
