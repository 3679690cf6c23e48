"""RSANet: a 3-D U-Net whose bottleneck lets every slice attend to all others, along each axis in turn.

Recurrent slice-wise attention, Zhang et al., MICCAI 2019, arXiv:2002.12470; parameter names, order of the axes and
treatment of odd sizes as in the authors' release, so that their state dict loads. `RecurrentSliceAttention` serves in
any 3-D network:

    self.attention = RecurrentSliceAttention(channels)  # initialised to change nothing
    ...
    x = self.attention(x)  # (B, channels, D, H, W), any size
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medapp.networks.unet3d import merge_blocks, split_blocks

ATTENTION_AXES = (3, 4, 2)  # of (B, C, D, H, W), in the order of the release: coronal, sagittal, axial


def compute_slice_weights(query: Tensor, key: Tensor, axis: int) -> Tensor:
    """Attention of each slice along `axis` to every other: query and key (B, C, D, H, W) -> (B, L, L), rows sum to 1.

    Not scaled by the size of a slice, as released; always in float32, since such sums do not fit 16 bits.
    """
    with torch.autocast(query.device.type, enabled=False):
        q, k = (each.float().movedim(axis, 1).flatten(2) for each in (query, key))  # (B, L, C · the other sides)
        return torch.softmax(q @ k.transpose(1, 2), -1)


def mix_slices(weights: Tensor, value: Tensor, axis: int) -> Tensor:
    """Mix the slices of `value` (B, C, D, H, W) along `axis` by `weights` (B, L, L)."""
    slices = value.movedim(axis, 1)
    return (weights.to(value.dtype) @ slices.flatten(2)).view(slices.shape).movedim(1, axis)


class RecurrentSliceAttention(nn.Module):
    """Attention among coronal, then sagittal, then axial slices, with shared weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta_conv = nn.Conv3d(channels, channels, 1)
        self.phi_conv = nn.Conv3d(channels, channels, 1)
        self.g_conv = nn.Conv3d(channels, channels, 1)
        self.betas = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in ATTENTION_AXES)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        return self.attend(x)[0]

    def attend(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the output and the weights (B, L, L) of the coronal (L = H), sagittal (W) and axial (D) slices."""
        all_weights = []
        for beta, axis in zip(self.betas, ATTENTION_AXES, strict=True):
            weights = compute_slice_weights(self.theta_conv(x), self.phi_conv(x), axis)
            x = x + beta * mix_slices(weights, self.g_conv(x), axis)
            all_weights.append(weights)
        return x, all_weights


class Layer(nn.Module):
    """A 3×3×3 convolution, norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, groups: int | None) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, out_channels) if groups else nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) -> (B, out_channels, D, H, W)."""
        return F.relu(self.norm(self.conv(x)))


class Stage(nn.Module):
    """Two layers, one after the other."""

    def __init__(self, in_channels: int, out_channels: int, groups: int | None) -> None:
        super().__init__()
        self.layer = nn.Module()
        self.layer.layer = nn.Sequential(
            Layer(in_channels, out_channels, groups), Layer(out_channels, out_channels, groups)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) -> (B, out_channels, D, H, W)."""
        return self.layer.layer(x)


class Down(nn.Module):
    """A convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv3d(channels, channels, 3, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C, D/2, H/2, W/2), rounded up."""
        return self.down(x)


class Up(nn.Module):
    """Upsampling by 2 with half the channels, concatenation with the encoder's features, and a stage."""

    def __init__(self, channels: int, groups: int | None) -> None:
        super().__init__()
        self.up = nn.Module()
        self.up.up = nn.Sequential(nn.Conv3d(2 * channels, channels, 1, bias=False), nn.Upsample(scale_factor=2))
        self.conv = Stage(2 * channels, channels, groups)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """Encoder features (B, C, D, H, W) and the coarser level (B, 2C, D/2, H/2, W/2) -> (B, C, D, H, W)."""
        x = self.up.up(x)
        more = [a - b for a, b in zip(skip.shape[2:], x.shape[2:], strict=True)]  # 0, or -1 where the side is odd
        if any(more):
            x = F.pad(x, (more[2], 0, more[1], 0, more[0], 0))  # as released: the first slice goes
        return self.conv(torch.cat([skip, x], 1))


class RSANet(nn.Module):
    """RSANet, with logits of `classes` at every voxel; the defaults are the release (24.6 million parameters).

    `widths` are the channels of each level, doubling from one to the next; `groups` those of the group norm, None for
    batch norm. `form` tells where slices attend to each other: "010" at the bottleneck as released, "111" also one
    level above it in encoder and decoder, "000" nowhere, which is a plain U-Net. With `block` 2 every 2×2×2 block of
    voxels enters as channels and leaves as predictions, so that all levels have half the resolution, for an eighth of
    the work; the last voxel of an odd side is repeated and cropped again. Raises ValueError for widths that do not
    double.
    """

    traceable = False  # every head has another size, and attention is returned with the logits

    def __init__(
        self,
        classes: int = 2,
        in_channels: int = 3,
        groups: int | None = 8,
        widths: Sequence[int] = (32, 64, 128, 256, 512),
        form: Literal["010", "111", "000"] = "010",
        block: Literal[1, 2] = 1,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if any(2 * a != b for a, b in pairwise(widths)):
            raise ValueError(f"widths must double from level to level, not {tuple(widths)}")
        self.form, self.block, self.levels = form, block, range(1, len(widths))
        first = widths[0]
        self.init_conv = nn.Conv3d(in_channels * block**3, first, 3, padding=1, bias=False)
        self.dropout = nn.Dropout3d(dropout)
        for level, above, width in zip(self.levels, (first, *widths), widths, strict=False):
            self.add_module(f"conv{level}", Stage(above, width, groups))
            self.add_module(f"down{level}", Down(width))
            self.add_module(f"up_concat{level}", Up(width, groups))
        self.center = Stage(widths[-2], widths[-1], groups)
        self.final = nn.Sequential(
            nn.Conv3d(first, first, 3, padding=1, bias=False), nn.Conv3d(first, classes * block**3, 1, bias=False)
        )
        if form != "000":
            self.rsa_block = RecurrentSliceAttention(widths[-1])
        if form == "111":
            self.rsa_encoder, self.rsa_decoder = (RecurrentSliceAttention(widths[-2]) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, D, H, W) of any size -> logits (B, classes, D, H, W)."""
        return self.forward_with_attention(x)[0]

    def forward_with_attention(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits and the attention at the bottleneck, (B, L, L) for the axes H, W and D of `x`."""
        size = x.shape[2:]
        attention: list[Tensor] = []
        x, skips = self.encode(x)
        if self.form != "000":
            x, attention = self.rsa_block.attend(x)
        for level in reversed(self.levels):
            x = getattr(self, f"up_concat{level}")(skips[level - 1], x)
            if level == self.levels[-1] and self.form == "111":
                x = self.rsa_decoder(x)
        x = self.final(x)
        if self.block > 1:
            x = merge_blocks(x.unflatten(1, (-1, 2, 2, 2)).permute(0, 1, 5, 6, 7, 2, 3, 4))
        return x[..., : size[0], : size[1], : size[2]], attention

    def encode(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features at the bottleneck before attention, and those of each level above, finest first."""
        if self.block > 1:
            odd = [n % 2 for n in x.shape[2:]]
            if any(odd):
                x = F.pad(x, (0, odd[2], 0, odd[1], 0, odd[0]), mode="replicate")
            x = split_blocks(x).contiguous(memory_format=torch.channels_last_3d)
        x = self.dropout(self.init_conv(x))
        skips = []
        for level in self.levels:
            x = getattr(self, f"conv{level}")(x)
            if level == self.levels[-1] and self.form == "111":
                x = self.rsa_encoder(x)
            skips.append(x)
            x = getattr(self, f"down{level}")(x)
        return self.center(x), skips
