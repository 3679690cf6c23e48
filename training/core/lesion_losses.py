"""Losses for lesions of logits and targets of any one shape, summed over the whole batch as RAX-Net's authors do."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

ALPHA, GAMMA = 0.8, 2.0  # of the focal loss: weight of lesion, power of the error
SOFT = 20.0  # pixels that keep the Dice of a slice from jumping
FALSE_POSITIVE, FALSE_NEGATIVE = 0.3, 0.7  # of Tversky


def dice(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.sigmoid()
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)


def tversky(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.sigmoid()
    hit = (p * target).sum()
    wrong = FALSE_POSITIVE * (p * (1 - target)).sum() + FALSE_NEGATIVE * ((1 - p) * target).sum()
    return 1 - (hit + 1) / (hit + wrong + 1)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    p = logits.sigmoid()
    error = (p - target).abs() ** GAMMA * (target * ALPHA + (1 - target) * (1 - ALPHA))
    return (error * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def focal_tversky(logits: Tensor, target: Tensor) -> Tensor:
    """The authors' own: not the power of Tversky that goes by this name elsewhere."""
    return tversky(logits, target) + focal(logits, target)


def dice_entropy(logits: Tensor, target: Tensor) -> Tensor:
    return dice(logits, target) + F.binary_cross_entropy_with_logits(logits, target)


def each_dice(logits: Tensor, target: Tensor) -> Tensor:
    """Dice slice by slice, so that small lesions and false ones in empty slices count as much as large lesions."""
    p, target = logits.sigmoid().flatten(1), target.flatten(1)
    shared = 2 * (p * target).sum(1) + SOFT
    return 1 - (shared / (p.sum(1) + target.sum(1) + SOFT)).mean()


def balanced(logits: Tensor, target: Tensor) -> Tensor:
    return (each_dice(logits, target) + dice(logits, target)) / 2 + F.binary_cross_entropy_with_logits(logits, target)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "balanced": balanced,
    "dice_entropy": dice_entropy,
    "dice": dice,
    "focal": focal,
    "tversky": tversky,
    "focal_tversky": focal_tversky,
}
