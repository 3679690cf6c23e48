"""Augmentation of slices with gliomas: other poses, scanners, sequences, skulls and lesions that are hard to see."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.imaging.intensity import STANDARD_RANGE

CROP = 144  # pixels a side of a training patch
BARE_SHARE = 0.3  # of the slices lose their skull
KNOTS = (-4.0, -2.5, -1.5, -0.75, 0.0, 0.75, 1.5, 3.0, 6.0)  # of the tone curve, in standardised values
REPEATED = 0.01  # mean difference from FLAIR up to which a sequence is FLAIR once more
FLUID = -0.8  # standardised value of FLAIR in the brain from which it is fluid


class Draws:
    """Random numbers for a batch of slices, from one generator."""

    def __init__(self, batch: int, random: torch.Generator, device: torch.device) -> None:
        self.batch, self.random, self.device = batch, random, device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """(B, *shape) from `low` to `high`."""
        drawn = torch.rand(self.batch, *shape, generator=self.random, device=self.device)
        return drawn * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal."""
        return torch.randn(self.batch, *shape, generator=self.random, device=self.device)

    def chance(self, p: float) -> Tensor:
        """(B, 1, 1, 1) bool, true with the probability `p`."""
        return self.uniform(0, 1, 1, 1, 1) < p

    def field(self, coarse: int, size: int) -> Tensor:
        """(B, 1, size, size) smooth noise from a grid of `coarse` points a side."""
        return F.interpolate(self.normal(1, coarse, coarse), (size, size), mode="bicubic", align_corners=True)

    def number(self, low: float, high: float) -> float:
        """One number for the whole batch."""
        return float(torch.rand((), generator=self.random, device=self.device)) * (high - low) + low


def augment_slices(
    image: Tensor, brain: Tensor, target: Tensor, bare_scale: Tensor, random: torch.Generator, crop: int = CROP
) -> tuple[Tensor, Tensor]:
    """Return random views, `crop` pixels a side, of a batch (B, 3, SIDE, SIDE) and of its masks (B, 1, SIDE, SIDE).

    `brain` (B, 1, SIDE, SIDE) and `bare_scale` (B, 3, 3) are those of the patients. A slice is moved, some lose their
    skull, sequences are missing or change places, lesions fade, and contrast, shading, resolution and noise change.
    """
    draws = Draws(len(image), random, image.device)
    image, brain, target = move_slices(image, brain, target, draws, crop)
    image, brain, target = strip_skulls(image, brain, target, bare_scale, draws)
    image = fade_lesions(image, target, draws)
    repeated = find_repeated(image)
    image = change_contrast(image, brain, draws)
    image = degrade(image, draws)
    return mix_sequences(image, repeated, draws).clamp(*STANDARD_RANGE), target


def move_slices(image: Tensor, brain: Tensor, target: Tensor, draws: Draws, crop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Turn slices by any quarter and mirror them (uploads come in every orientation), rotate, scale, shift and bend."""
    batch, device = len(image), image.device
    quarter = draws.uniform(0, 4).floor() * 90 * (draws.uniform(0, 1) < 0.35)
    angle = (quarter + draws.uniform(-15, 15)) * math.pi / 180
    scale = torch.where(draws.uniform(0, 1) < 0.7, torch.exp(draws.uniform(-0.28, 0.28)), 1.0) * crop / image.shape[-1]
    mirror = torch.where(draws.uniform(0, 1) < 0.5, -1.0, 1.0)
    stretch = torch.exp(draws.uniform(-0.12, 0.12))
    theta = torch.zeros(batch, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * scale * angle.cos() * stretch, -scale * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * scale * angle.sin() * stretch, scale * angle.cos()
    theta[:, :, 2] = draws.uniform(-0.22, 0.22, 2)
    grid = F.affine_grid(theta, [batch, 3, crop, crop], align_corners=False)
    bend = draws.normal(2, 6, 6) * 0.02 * draws.chance(0.4)
    grid = grid + F.interpolate(bend, (crop, crop), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    air = image.amin((2, 3), keepdim=True)
    image = F.grid_sample(image - air, grid, align_corners=False) + air
    both = F.grid_sample(torch.cat([brain, target], 1), grid, align_corners=False)
    return image, both[:, :1], (both[:, 1:] > 0.5).float()


def strip_skulls(
    image: Tensor, brain: Tensor, target: Tensor, bare_scale: Tensor, draws: Draws
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the skull off some slices, often badly: a rim of it stays, or cortex is lost, here more and there less.

    What is cut off is no lesion any more.
    """
    reach = round(draws.number(1, 5))
    border = (0.5 + draws.uniform(-0.42, 0.42, 1, 1, 1) + 0.2 * draws.field(4, image.shape[-1])).clamp(0.02, 0.98)
    kept = (F.avg_pool2d(brain, 2 * reach + 1, 1, reach) > border).float()
    factor, offset, air = bare_scale.unbind(2)
    bare = image * factor[:, :, None, None] + offset[:, :, None, None]
    bare = torch.where(kept > 0, bare, air[:, :, None, None])
    is_bare = draws.chance(BARE_SHARE)
    image, brain = torch.where(is_bare, bare, image), torch.where(is_bare, kept, brain)
    return image, brain, torch.where(is_bare, target * kept, target)


def fade_lesions(image: Tensor, target: Tensor, draws: Draws) -> Tensor:
    """Bring some lesions nearer to the median of the head, which is 0, with a soft border."""
    soft = F.avg_pool2d(target, 5, 1, 2)
    return image * (1 - soft * draws.uniform(0.1, 0.75, 1, 1, 1) * draws.chance(0.3))


def find_repeated(image: Tensor) -> Tensor:
    """Tell where a sequence is FLAIR once more, as in the data set where one is missing: (B, 3, 1, 1) bool."""
    return (image - image[:, 1:2]).abs().mean((2, 3), keepdim=True) < REPEATED


def mix_sequences(image: Tensor, repeated: Tensor, draws: Draws) -> Tensor:
    """Put FLAIR in place of both T1, of one, or of those that are FLAIR once more; or swap the two."""
    pre, flair, post = image.split(1, 1)
    alone, swapped = draws.chance(0.45), draws.chance(0.08)
    pre, post = torch.where(swapped, post, pre), torch.where(swapped, pre, post)
    pre = torch.where(alone | repeated[:, :1] | draws.chance(0.08), flair, pre)
    post = torch.where(alone | repeated[:, 2:] | draws.chance(0.08), flair, post)
    return torch.cat([pre, flair, post], 1)


def change_contrast(image: Tensor, brain: Tensor, draws: Draws) -> Tensor:
    """Raise the fluid in some FLAIR, apply a rising tone curve to each sequence, or one to all, and shade."""
    pre, flair, post = image.split(1, 1)
    fluid = torch.where((brain > 0.5) & (flair < FLUID), FLUID - flair, 0.0)
    flair = flair + fluid * draws.uniform(0.2, 1.3, 1, 1, 1) * draws.chance(0.15)
    image = torch.cat([pre, flair, post], 1)
    same = draws.chance(0.3)

    def for_sequences(values: Tensor) -> Tensor:
        """(B, 3, 1, 1, ...) -> the same, with that of FLAIR for all where they are alike."""
        return torch.where(same.view(-1, *[1] * (values.dim() - 1)), values[:, 1:2], values)

    curved = apply_curve(image, for_sequences(torch.exp(draws.normal(3, len(KNOTS) - 1) * 0.45)))
    image = torch.where(draws.chance(0.7), curved, image)
    gain, level = for_sequences(draws.uniform(-0.3, 0.3, 3, 1, 1)), for_sequences(draws.uniform(-0.3, 0.3, 3, 1, 1))
    image = image * torch.exp(gain) + level
    shade = draws.field(4, image.shape[-1]) * draws.uniform(0.03, 0.2, 1, 1, 1) * draws.chance(0.5)
    return image + shade * (image - STANDARD_RANGE[0]) / -STANDARD_RANGE[0]


def apply_curve(image: Tensor, slopes: Tensor) -> Tensor:
    """Apply the piecewise linear curve of `slopes` (B, 3, len(KNOTS) - 1) to (B, 3, H, W).

    It leaves 0 where it is, and two values about 0 as far apart as they were, as standardising a scan would.
    """
    middle = KNOTS.index(0.0)
    slopes = slopes / slopes[:, :, middle - 1 : middle + 1].mean(2, keepdim=True)
    out = torch.zeros_like(image)
    for k, slope in enumerate(slopes.unbind(2)):
        low, high = KNOTS[k], KNOTS[k + 1]
        part = image.clamp(low, high) - (low if k >= middle else high)
        out += slope[:, :, None, None] * part
    return out + (image - image.clamp(KNOTS[0], KNOTS[-1]))


def degrade(image: Tensor, draws: Draws) -> Tensor:
    """Lower the resolution of some batches, along one direction or both, and add noise to some slices."""
    size = image.shape[-1]
    if draws.number(0, 1) < 0.3:
        factors = (draws.number(1, 3), draws.number(1, 3) if draws.number(0, 1) < 0.5 else 1.0)
        small = [round(size / factor) for factor in (factors if draws.number(0, 1) < 0.5 else factors[::-1])]
        image = F.interpolate(image, small, mode="bilinear", antialias=True)
        image = F.interpolate(image, (size, size), mode="bilinear")
    return image + draws.uniform(0, 0.3, 1, 1, 1) * draws.chance(0.35) * draws.normal(3, size, size)
