"""Batch norm statistics: when they follow each batch, and when they stand still."""

from torch import nn

from medapp.networks.unet3d import UNet3D

FREEZE_NORMS_AFTER = 0.3  # share of the steps after which the norms no longer follow each patch


def freeze_batch_norms(net: UNet3D, is_frozen: bool) -> None:
    """Put 3-D batch norms into evaluation if `is_frozen`, else into training.

    Norms that follow each patch learn fast; frozen ones see a whole head as they saw its patches.
    """
    for part in net.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.train(not is_frozen)
