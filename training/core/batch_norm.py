"""Batch norms: freezing them, recalibrating their statistics, and the scale of the convolutions before them."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor, nn

from medapp.networks.unet3d import UNet3D
from training.core.precision import autocast

Convolution: TypeAlias = nn.Conv2d | nn.Conv3d
BatchNorm: TypeAlias = nn.BatchNorm2d | nn.BatchNorm3d
FREEZE_NORMS_AFTER = 0.3  # share of the steps after which the norms no longer follow each patch


def freeze_batch_norms(net: UNet3D, is_frozen: bool) -> None:
    """Put 3-D batch norms into evaluation if `is_frozen`, else into training.

    Norms that follow each patch learn fast; frozen ones see a whole head as they saw its patches.
    """
    for part in net.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.train(not is_frozen)


@torch.no_grad()
def recalibrate_batch_norms(net: nn.Module, norms: list[nn.BatchNorm2d], batches: Iterable[Tensor]) -> None:
    """Give the batch norms the mean statistics over many batches instead of those of the last ten."""
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative mean
    for x in batches:
        with autocast(x.device):
            net(x)
    for layer in norms:
        layer.momentum = 0.1


def list_normalized_convolutions(net: nn.Module) -> Iterator[tuple[Convolution, BatchNorm]]:
    """Yield every convolution with its batch norm: called `conv` and `norm`, or one after the other in a sequence."""
    for part in net.modules():
        neighbours = pairwise(part) if isinstance(part, nn.Sequential) else ()
        for conv, norm in (*neighbours, (getattr(part, "conv", None), getattr(part, "norm", None))):
            if isinstance(conv, Convolution) and isinstance(norm, BatchNorm):
                yield conv, norm


@torch.no_grad()
def scale_convolution(conv: Convolution, norm: BatchNorm, scale: Tensor) -> None:
    """Multiply what a convolution gives by `scale` (C,); its batch norm, in evaluation, takes that back."""
    conv.weight *= scale.view(-1, *(1 for _ in conv.weight.shape[1:]))
    if conv.bias is not None:
        conv.bias *= scale
    norm.running_mean *= scale
    norm.running_var.add_(norm.eps).mul_(scale.square()).sub_(norm.eps)


@torch.no_grad()
def restore_weight_scale(net: nn.Module) -> None:
    """Give convolutions before a batch norm weights as large as fresh ones; in evaluation the network stays the same.

    Served weights may be thousands of times smaller (`half_precision_weights`), and the first steps of Adam, whose
    length does not depend on them, would destroy them. The spread is that of He et al. 2015, arXiv:1502.01852.
    """
    for conv, norm in list_normalized_convolutions(net):
        spread = math.sqrt(2 / conv.weight[0].numel())
        scale = spread / conv.weight.std().clamp(min=1e-12)
        scale_convolution(conv, norm, scale.expand(len(conv.weight)))
