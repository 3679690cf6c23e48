"""Slices of painted heads along one axis: drawn so that every size of lesion is seen, and varied."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.imaging.intensity import CLIP
from training.segment_anatomy_unet import Luck
from training.stroke_heads import Head

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis across the slices
CROP = {"axial": (144, 160), "coronal": (144, 144), "sagittal": (160, 144)}  # pixels of a training patch
FAINT = 40  # of 255: a slice in which nothing stands out more holds noise alone
BINS = (1, 200, 500, 1000, 2000, 3000)  # pixels of lesion in a slice, from which a bin begins; the last has no end


class Slices:
    """The slices of one plane of many heads, and in which of them how much lesion lies."""

    def __init__(self, plane: str) -> None:
        self.axis = PLANES[plane]
        self.images: list[np.ndarray] = []  # (N, H, W) uint8 each
        self.masks: list[np.ndarray] = []  # (N, H, W / 8) packed
        self.width = 0
        self.bins: list[list[tuple[int, int]]] = [[] for _ in BINS]
        self.empty: list[tuple[int, int]] = []

    def add(self, new: Head) -> None:
        image = np.ascontiguousarray(np.moveaxis(new.image, self.axis, 0))
        mask = np.moveaxis(new.mask, self.axis, 0)
        self.width = image.shape[2]
        for at, (pixels, contrast) in enumerate(zip(mask.sum((1, 2)), np.ptp(image, (1, 2)), strict=True)):
            if pixels:
                self.bins[int(np.digitize(pixels, BINS)) - 1].append((len(self.images), at))
            elif contrast > FAINT:
                self.empty.append((len(self.images), at))
        self.images.append(image)
        self.masks.append(np.packbits(mask, axis=2))

    def draw(self, size: int, luck: Luck) -> tuple[Tensor, Tensor]:
        """Standardised slices (size, 1, H, W) and masks: five of eight with lesion, of every size of it.

        A bin is drawn by the root of what it holds, so that the rare sizes are seen oftener than they occur.
        """
        share = np.cumsum(np.sqrt([len(kept) for kept in self.bins]))
        chosen = []
        for at in range(size):
            kept = self.bins[int(np.searchsorted(share, luck.uniform(0, share[-1] * 0.999999), "right"))]
            kept = kept if at < size * 5 / 8 else self.empty
            chosen.append(kept[luck.below(len(kept))])
        images = np.stack([self.images[which][at] for which, at in chosen])[:, None]
        masks = np.unpackbits(np.stack([self.masks[w][at] for w, at in chosen]), axis=2, count=self.width)[:, None]
        return standard(torch.from_numpy(images)), torch.from_numpy(masks).float()


def standard(image: Tensor) -> Tensor:
    """From uint8 over CLIP to standardised intensities."""
    return image.float() * ((CLIP[1] - CLIP[0]) / 255) + CLIP[0]


def augment(image: Tensor, target: Tensor, crop: tuple[int, int], mirror: bool, luck: Luck) -> tuple[Tensor, Tensor]:
    """A random view of slices (B, 1, H, W) and masks -> (B, 1, *crop), three of four with what lesion there is in it.

    Turned, scaled, perhaps mirrored along the first axis; then contrast, shading, blur and noise.
    """
    batch, size = len(image), torch.tensor(image.shape[2:])

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=luck.generator) * (high - low) + low

    def chance(p: float) -> Tensor:
        return uniform(0, 1) < p

    centre = uniform(-1, 1, 2) * (1 - torch.tensor(crop) / size + 0.1)  # of the patch, from -1 to 1
    for at in range(batch):
        places = target[at, 0].nonzero()
        if len(places) and luck.chance(0.75):
            around = places[luck.below(len(places))] + luck.normal(2) * 16
            most = (1 - torch.tensor(crop) / size + 0.1).clamp(min=0)
            centre[at] = torch.minimum(torch.maximum(2 * around / (size - 1) - 1, -most), most)
    angle, scale = uniform(-0.12, 0.12), torch.exp(uniform(-0.1, 0.1))
    side = torch.where(chance(0.5), -1.0, 1.0) if mirror else torch.ones(batch)
    high, wide = (torch.tensor(crop) / size).tolist()
    aspect = float(size[0] / size[1])
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = wide * scale * angle.cos(), -high * scale * angle.sin() * aspect
    theta[:, 1, 0], theta[:, 1, 1] = wide * scale * angle.sin() / aspect * side, high * scale * angle.cos() * side
    theta[:, :, 2] = centre.flip(1)
    grid = F.affine_grid(theta, [batch, 1, *crop], align_corners=False)
    air = image.amin((2, 3), keepdim=True)
    image = F.grid_sample(image - air, grid, align_corners=False) + air
    target = (F.grid_sample(target, grid, align_corners=False) > 0.5).float()

    position = ((image - CLIP[0]) / (CLIP[1] - CLIP[0])).clamp(0, 1)
    image = position ** torch.exp(uniform(-0.15, 0.15, 1, 1, 1)) * (CLIP[1] - CLIP[0]) + CLIP[0]
    image = image * torch.exp(uniform(-0.15, 0.15, 1, 1, 1)) + uniform(-0.15, 0.15, 1, 1, 1)
    knots = luck.normal(batch, 1, 3, 3) * uniform(0, 0.12, 1, 1, 1)
    shade = F.interpolate(knots, crop, mode="bilinear", align_corners=True)
    image = image + shade * (image - CLIP[0]) * 0.5
    if luck.chance(0.15):
        image = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    level = uniform(0, 0.2, 1, 1, 1) * chance(0.4)[:, None, None, None]
    return (image + level * luck.normal(*image.shape)).clamp(*CLIP), target
