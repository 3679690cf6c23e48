"""Non-local attention in 3-D, in which every voxel draws on every other: what RSANet's attention by slices replaces.

Wang et al., CVPR 2018, arXiv:1711.07971, with the softmax of transformers (scaled by the root of the channels). As
RSANet's own block it has one convolution each for query, key and value and learns from zero.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NonLocalAttention(nn.Module):
    """(B, C, D, H, W) -> the same, any size; can stand where `RecurrentSliceAttention` does."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv3d(channels, channels, 1) for _ in range(3))
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).flatten(2).mT.unsqueeze(1) for layer in (self.theta, self.phi, self.g))  # (B, 1, N, C)
        y = F.scaled_dot_product_attention(q, k, v)  # no N×N matrix is kept
        return x + self.beta * y[:, 0].mT.reshape(x.shape)

    def attend(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output; there are no weights of slices to show."""
        return self(x), []
