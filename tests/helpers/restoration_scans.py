"""Scans, pictures and a stand-in network for the tests of the restoration methods."""

import numpy as np
import torch
from scipy import ndimage

from medapp.imaging.volume import Volume

AFFINES = {
    "RAS": np.array([[0.8, 0, 0, -20], [0, 0.8, 0, -30], [0, 0, 3.0, -50], [0, 0, 0, 1]]),
    "LPI": np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 30], [0, 0, -3.0, 50], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, 3.0, -9], [-0.9, 0, 0, 30], [0, -0.7, 0, 30], [0, 0, 0, 1]]),
    "oblique": np.array([[-0.78, 0.1, 0.4, 20], [-0.1, -0.75, 0.5, 30], [0.05, 0.15, 2.9, -60], [0, 0, 0, 1]]),
}


class PassThrough:
    """Stands in for a network: returns its input, or `change` of it, and records inputs and labels."""

    def __init__(self, change=lambda x: x):
        self.inputs, self.labels, self.change = [], [], change

    def __call__(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float32 and labels.shape == (1, *x.shape[2:]) and labels.min() >= 1
        self.inputs.append(x)
        self.labels.append(labels)
        return self.change(x)


def check_progress(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


def run(module, net, image, region_map=None, *, progress=check_progress, **options):
    """The result of a restoration module with superpixels as regions, unless `options` say otherwise."""
    settings = module.CARD.parse_settings({"regions": "superpixels"} | options)
    with torch.inference_mode():
        return module.CARD.run(net, image, region_map, progress=progress, get_network=None, **settings)


def body(affine=AFFINES["oblique"], shape=(48, 40, 4), unit="HU", noise=20.0) -> Volume:
    """Soft tissue in air with a bright ball at the patient's right and front."""
    mm = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    middle = mm.reshape(-1, 3).mean(0)
    size = np.abs(affine[:3, :3]) @ np.array(shape)
    inside = (((mm - middle) / (0.45 * size)) ** 2).sum(-1) < 1
    ball = np.linalg.norm((mm - middle - (6, 7, 0)) / (3, 3, 30), axis=-1) < 1
    hu = np.where(inside, 40.0, -1000.0) + 260 * ball + np.random.default_rng(0).normal(0, noise, shape)
    array = np.rint(hu).astype(np.int16) if unit == "HU" else np.maximum(hu + 1000, 0).astype(np.float32)
    return Volume(array, affine, unit=unit, name="scan")


def stain(shape=(40, 30, 1), affine=None) -> Volume:
    """Purple spots on pink."""
    random = np.random.default_rng(0)
    spots = ndimage.gaussian_filter(random.normal(size=shape), (2, 2, 0))
    array = np.where((spots > 0.1)[..., None], (90, 50, 140), (230, 160, 200)) + random.integers(0, 10, (*shape, 3))
    return Volume(array.astype(np.uint8), np.diag([-1.0, -1, 1, 1]) if affine is None else affine, name="H&E")
