"""Losses for lesions: logits and targets of one shape, summed over the whole batch as RAX-Net's authors do."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

FOCAL_ALPHA, FOCAL_GAMMA = 0.8, 2.0  # of the focal loss: weight of lesion, power of the error
DICE_SMOOTHING = 20.0  # pixels that keep the Dice of a slice from jumping
FALSE_POSITIVE_WEIGHT, FALSE_NEGATIVE_WEIGHT = 0.3, 0.7  # of Tversky


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return one minus soft Dice over the whole batch."""
    p = logits.sigmoid()
    return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)


def tversky_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return one minus the Tversky index over the whole batch, missed lesion weighted above false lesion."""
    p = logits.sigmoid()
    hit = (p * target).sum()
    wrong = FALSE_POSITIVE_WEIGHT * (p * (1 - target)).sum() + FALSE_NEGATIVE_WEIGHT * ((1 - p) * target).sum()
    return 1 - (hit + 1) / (hit + wrong + 1)


def focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss, with the absolute error in place of one minus the probability."""
    p = logits.sigmoid()
    error = (p - target).abs() ** FOCAL_GAMMA * (target * FOCAL_ALPHA + (1 - target) * (1 - FOCAL_ALPHA))
    return (error * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean()


def focal_tversky_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return Tversky plus focal loss, as RAX-Net's authors have it; elsewhere the name means a power of Tversky."""
    return tversky_loss(logits, target) + focal_loss(logits, target)


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return soft Dice loss plus cross entropy."""
    return dice_loss(logits, target) + F.binary_cross_entropy_with_logits(logits, target)


def slicewise_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean Dice loss of the slices: small lesions, and false ones in empty slices, count as much as large
    ones.
    """
    p, target = logits.sigmoid().flatten(1), target.flatten(1)
    shared = 2 * (p * target).sum(1) + DICE_SMOOTHING
    return 1 - (shared / (p.sum(1) + target.sum(1) + DICE_SMOOTHING)).mean()


def balanced_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean of slice-wise and batch Dice loss, plus cross entropy."""
    return (slicewise_dice_loss(logits, target) + dice_loss(logits, target)) / 2 + F.binary_cross_entropy_with_logits(
        logits, target
    )


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "balanced": balanced_loss,
    "dice_entropy": dice_cross_entropy,
    "dice": dice_loss,
    "focal": focal_loss,
    "tversky": tversky_loss,
    "focal_tversky": focal_tversky_loss,
}
