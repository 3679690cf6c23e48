"""AR2-UNet: a U-Net of recurrent residual blocks whose skips pass an attention gate.

Architecture: the authors' release on GitHub,
Mausoleoo/Attention-Recurrent-Residual-UNet-for-Brain-MR-Image-Segmentation, after Katsamenis et al. 2023,
arXiv:2303.01582; recurrent residual blocks of Alom et al. 2018, attention gates of Oktay et al. 2018.
Attribute names are the authors' parameter names, so that their state dict loads strictly.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Gate = Literal["decoder", "encoder"]


class RecurrentBlock(nn.Module):
    """A 3×3 convolution, batch norm and ReLU, applied `steps` + 1 times to its own output plus the input."""

    def __init__(self, channels: int, steps: int = 2):
        super().__init__()
        self.steps = steps
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) -> the same shape."""
        state = self.conv(x)
        for _ in range(self.steps):
            state = self.conv(x + state)
        return state


class RecurrentResidual(nn.Module):
    """A 1×1 convolution to the new width, then two recurrent blocks with a residual around them."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.Conv_1x1 = nn.Conv2d(in_channels, out_channels, 1)
        self.RCNN = nn.Sequential(RecurrentBlock(out_channels), RecurrentBlock(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        x = torch.relu(self.Conv_1x1(x))
        return x + self.RCNN(x)


class UpConvolution(nn.Module):
    """Nearest-neighbour upsampling by 2, then a 3×3 convolution, batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.Deconv = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, 2H, 2W)."""
        return self.Deconv(x)


class AttentionGate(nn.Module):
    """Scales every pixel of a feature by a weight from 0 to 1, computed from it and a gating signal."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.W_g = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden))
        self.W_x = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden))
        self.psi = nn.Sequential(nn.Conv2d(hidden, 1, 1), nn.BatchNorm2d(1))

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """Feature `x` and gating signal `g`, both (B, channels, H, W) -> `x` weighted, the same shape."""
        alpha = torch.sigmoid(self.psi(torch.relu(self.W_g(g) + self.W_x(x))))  # (B, 1, H, W)
        return x * alpha


class AR2UNet(nn.Module):
    """AR2-UNet, with logits of `classes` structures at every pixel.

    `width` is the number of channels at full resolution and doubles at each of the four levels below; the paper's is
    64. `gate` names the feature that the attention scales and passes on: "decoder" as in the released code (the encoder
    only steers the gate), "encoder" as in the skip connections of the cited attention U-Nets. Both have the same
    parameters.
    """

    def __init__(self, in_channels: int = 3, classes: int = 1, width: int = 64, gate: Gate = "decoder"):
        super().__init__()
        self.gate = gate
        c1, c2, c3, c4, c5 = (width * 2**level for level in range(5))
        self.pool = nn.MaxPool2d(2)
        self.Encoder1 = RecurrentResidual(in_channels, c1)
        self.Encoder2 = RecurrentResidual(c1, c2)
        self.Encoder3 = RecurrentResidual(c2, c3)
        self.Encoder4 = RecurrentResidual(c3, c4)
        self.Encoder5 = RecurrentResidual(c4, c5)
        self.Attention4 = AttentionGate(c4, c4)
        self.Attention3 = AttentionGate(c3, c3)
        self.Attention2 = AttentionGate(c2, c2)
        self.Attention1 = AttentionGate(c1, c1)
        self.Decoder5 = UpConvolution(c5, c4)
        self.Decoder4 = UpConvolution(c4, c3)
        self.Decoder3 = UpConvolution(c3, c2)
        self.Decoder2 = UpConvolution(c2, c1)
        self.Decoder1 = UpConvolution(c1, in_channels)  # unused, as in the release: it is part of the state dict
        self.UPRecurrent4 = RecurrentResidual(c5, c4)
        self.UPRecurrent3 = RecurrentResidual(c4, c3)
        self.UPRecurrent2 = RecurrentResidual(c3, c2)
        self.UPRecurrent1 = RecurrentResidual(c2, c1)
        self.Conv_1x1 = nn.Conv2d(c1, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W), H and W multiples of 16 -> logits (B, classes, H, W)."""
        e1 = self.Encoder1(x)  # (B, w, H, W)
        e2 = self.Encoder2(self.pool(e1))  # (B, 2w, H/2, W/2)
        e3 = self.Encoder3(self.pool(e2))
        e4 = self.Encoder4(self.pool(e3))
        h = self.Encoder5(self.pool(e4))  # (B, 16w, H/16, W/16)
        h = self.UPRecurrent4(self._skip(self.Attention4, self.Decoder5(h), e4))
        h = self.UPRecurrent3(self._skip(self.Attention3, self.Decoder4(h), e3))
        h = self.UPRecurrent2(self._skip(self.Attention2, self.Decoder3(h), e2))
        h = self.UPRecurrent1(self._skip(self.Attention1, self.Decoder2(h), e1))
        return self.Conv_1x1(h)

    def _skip(self, attention: AttentionGate, up: Tensor, encoded: Tensor) -> Tensor:
        gated = attention(up, encoded) if self.gate == "decoder" else attention(encoded, up)
        return torch.cat([gated, up], dim=1)
