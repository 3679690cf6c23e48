"""A 3-D U-Net for whole heads that works at half the resolution and predicts at the full one.

After Ronneberger et al. 2015, arXiv:1505.04597. Every 2×2×2 block of voxels enters as eight channels and leaves as
eight predictions (sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158), so that the whole head fits
one pass and no features exist at full resolution.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv(nn.Module):
    """A 3×3×3 convolution, batch norm and leaky ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(out_channels, momentum=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, X, Y, Z) -> (B, out_channels, X, Y, Z)."""
        return F.leaky_relu(self.norm(self.conv(x)), 0.01)


class UNet3D(nn.Module):
    """A U-Net with logits of `classes` at every voxel.

    `width` is the number of channels at half resolution, `growth` the factors by which it is multiplied there and at
    each coarser level. Sides must be multiples of `stride`, which is 16 by default.
    """

    traceable = False  # of whole heads only the labels are computed

    def __init__(
        self, classes: int = 36, width: int = 32, channels: int = 1, growth: Sequence[int] = (1, 2, 4, 6)
    ) -> None:
        super().__init__()
        self.classes = classes
        self.stride = 2 ** len(growth)
        widths = [width * g for g in growth]
        self.enter = Conv(8 * channels, width)
        self.encoders = nn.ModuleList(Conv(w, w) for w in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 2, 2) for a, b in pairwise(widths))
        self.bottom = nn.Sequential(*(Conv(widths[-1], widths[-1]) for _ in range(3)))
        self.ups = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in pairwise(widths))
        self.decoders = nn.ModuleList(nn.Sequential(Conv(w, w), Conv(w, w)) for w in widths[:-1])
        self.leave = nn.Linear(width, 8 * classes)

    def extract_features(self, x: Tensor) -> Tensor:
        """(B, channels, X, Y, Z) -> (B, X/2, Y/2, Z/2, width); ValueError unless sides divide by `stride`."""
        if any(n % self.stride for n in x.shape[2:]):
            raise ValueError(f"sides must be multiples of {self.stride}, not {tuple(x.shape[2:])}")
        y = self.enter(split_blocks(x).contiguous(memory_format=torch.channels_last_3d))
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = y + encoder(y)
            skips.append(y)
            y = down(y)
        for layer in self.bottom:
            y = y + layer(y)
        for up, decoder in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            y = decoder(skips.pop() + F.interpolate(up(y), scale_factor=2.0, mode="nearest"))
        return y.permute(0, 2, 3, 4, 1)

    def predict_logits(self, features: Tensor) -> Tensor:
        """Features (..., width) of any blocks -> logits (..., 8, classes) of their voxels in C order."""
        return self.leave(features).unflatten(-1, (8, self.classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, X, Y, Z) -> logits (B, classes, X, Y, Z)."""
        y = self.predict_logits(self.extract_features(x))  # (B, X/2, Y/2, Z/2, 8, classes)
        return merge_blocks(y.unflatten(4, (2, 2, 2)).permute(0, 7, 1, 2, 3, 4, 5, 6))

    def predict_labels(self, x: Tensor) -> Tensor:
        """(B, channels, X, Y, Z) -> the likeliest class (B, X, Y, Z) uint8, without holding all logits at once."""
        y = self.extract_features(x)
        best = [self.predict_logits(slab).argmax(-1).byte() for slab in y.split(8, dim=1)]
        return merge_blocks(torch.cat(best, 1).unflatten(4, (2, 2, 2)))


def split_blocks(x: Tensor) -> Tensor:
    """Turn blocks of 2×2×2 voxels into channels, in C order: (B, C, X, Y, Z) -> (B, 8C, X/2, Y/2, Z/2)."""
    b, c, i, j, k = x.shape
    x = x.reshape(b, c, i // 2, 2, j // 2, 2, k // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, 8 * c, i // 2, j // 2, k // 2)


def merge_blocks(x: Tensor) -> Tensor:
    """Merge blocks of voxels into one grid: (..., I, J, K, 2, 2, 2) -> (..., 2I, 2J, 2K)."""
    *rest, i, j, k, _, _, _ = x.shape
    n = len(rest)
    x = x.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2, n + 5)
    return x.reshape(*rest, 2 * i, 2 * j, 2 * k)
