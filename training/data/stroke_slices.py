"""Slices of painted heads along one axis, sampled by size of lesion and augmented."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.imaging.intensity import STANDARD_RANGE
from medapp.pipelines.segment_stroke_raxnet import stack_slices, standardize_template
from training.core.random_source import RandomSource
from training.data.stroke_heads import StrokeHead

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis across the slices
CROP = {"axial": (144, 160), "coronal": (144, 144), "sagittal": (160, 144)}  # pixels of a training patch
BEND = 0.05  # of half a slice, by which a view is bent at most, as a standard deviation
FAINT_CONTRAST = 40  # of 255: a slice in which nothing stands out more holds noise alone
BINS = (1, 200, 500, 1000, 2000, 3000)  # pixels of lesion in a slice, from which a bin begins; the last has no end


class SliceSampler:
    """The slices of one plane of many heads, binned by the size of their lesion."""

    def __init__(self, plane: str) -> None:
        self.plane, self.axis = plane, PLANES[plane]
        self.heads: list[StrokeHead] = []
        self.bins: list[list[tuple[int, int]]] = [[] for _ in BINS]
        self.empty: list[tuple[int, int]] = []

    def add(self, new: StrokeHead) -> None:
        rest = tuple(axis for axis in range(3) if axis != self.axis)
        for at, (pixels, contrast) in enumerate(zip(new.mask.sum(rest), np.ptp(new.image, rest), strict=True)):
            if pixels:
                self.bins[int(np.digitize(pixels, BINS)) - 1].append((len(self.heads), at))
            elif contrast > FAINT_CONTRAST:
                self.empty.append((len(self.heads), at))
        self.heads.append(new)

    def draw(self, size: int, rng: RandomSource) -> tuple[Tensor, Tensor]:
        """Draw slices (size, 5, H, W), standardised, and masks (size, 1, H, W): five of eight with lesion.

        A bin is drawn by the square root of its count, so that rare sizes are seen more often than they occur.
        """
        share = np.cumsum(np.sqrt([len(kept) for kept in self.bins]))
        images, masks, templates = [], [], []
        for number in range(size):
            kept = self.bins[int(np.searchsorted(share, rng.uniform(0, share[-1] * 0.999999), "right"))]
            kept = kept if number < size * 5 / 8 else self.empty
            which, at = kept[rng.randint(len(kept))]
            images.append(stack_slices(self.heads[which].image, np.array([at]), self.axis))
            masks.append(self.heads[which].mask.take(at, self.axis))
            templates.append(standardize_template().take(at, self.axis))
        channels = [
            to_standardized(torch.from_numpy(np.concatenate(images))),
            torch.from_numpy(np.stack(templates))[:, None],
        ]
        return torch.cat(channels, 1), torch.from_numpy(np.stack(masks))[:, None].float()


def to_standardized(image: Tensor) -> Tensor:
    """Return standardised intensities from uint8 over CLIP."""
    return image.float() * ((STANDARD_RANGE[1] - STANDARD_RANGE[0]) / 255) + STANDARD_RANGE[0]


def augment_slices(
    image: Tensor, target: Tensor, crop: tuple[int, int], mirror: bool, rng: RandomSource
) -> tuple[Tensor, Tensor]:
    """A random view of slices (B, C, H, W) and masks (B, 1, H, W), cut to `crop`, mostly where there is lesion.

    Turned, scaled, bent, perhaps mirrored along the first axis; then, but for the last channel, the template: contrast,
    shading, blur and noise.
    """
    batch, size = len(image), torch.tensor(image.shape[2:])

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=rng.generator) * (high - low) + low

    def chance(p: float) -> Tensor:
        return uniform(0, 1) < p

    centre = uniform(-1, 1, 2) * (1 - torch.tensor(crop) / size + 0.1)  # of the patch, from -1 to 1
    for at in range(batch):
        places = target[at, 0].nonzero()
        if len(places) and rng.bernoulli(0.75):
            around = places[rng.randint(len(places))] + rng.normal(2) * 16
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
    bends = rng.normal(batch, 2, 5, 5) * uniform(0, BEND, 1, 1, 1)
    bent = F.interpolate(bends, crop, mode="bicubic", align_corners=True).movedim(1, 3)
    grid = F.affine_grid(theta, [batch, 1, *crop], align_corners=False) + bent
    air = image.amin((2, 3), keepdim=True)
    image = F.grid_sample(image - air, grid, align_corners=False) + air
    target = (F.grid_sample(target, grid, align_corners=False) > 0.5).float()

    image, template = image[:, :-1], image[:, -1:]
    position = ((image - STANDARD_RANGE[0]) / (STANDARD_RANGE[1] - STANDARD_RANGE[0])).clamp(0, 1)
    image = (
        position ** torch.exp(uniform(-0.3, 0.3, 1, 1, 1)) * (STANDARD_RANGE[1] - STANDARD_RANGE[0]) + STANDARD_RANGE[0]
    )
    image = image * torch.exp(uniform(-0.15, 0.15, 1, 1, 1)) + uniform(-0.15, 0.15, 1, 1, 1)
    knots = rng.normal(batch, 1, 3, 3) * uniform(0, 0.12, 1, 1, 1)
    shade = F.interpolate(knots, crop, mode="bilinear", align_corners=True)
    image = image + shade * (image - STANDARD_RANGE[0]) * 0.5
    if rng.bernoulli(0.15):
        image = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    level = uniform(0, 0.2, 1, 1, 1) * chance(0.4)[:, None, None, None]
    image = (image + level * rng.normal(*image.shape)).clamp(*STANDARD_RANGE)
    return torch.cat([image, template], 1), target
