"""Batch norms: freezing them, and recalibrating their statistics."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from medapp.networks.unet3d import UNet3D
from training.core.precision import autocast

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
