"""D-UNet, a 2-D U-Net into whose encoder a short 3-D one is fused.

Zhou et al., IEEE/ACM TCBB 2019, arXiv:1908.05104. Where a level of the 3-D encoder meets the 2-D one, its channels
become one, its depth becomes channels, and both are weighted by squeeze and excitation (Hu et al. 2018) and added.
Widths and the form of each layer as in the authors' Keras release, so that the parameters are as many.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3  # Keras' own
SQUEEZE = 16


def pair(before: int, after: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with batch norm and ReLU."""
    steps: list[nn.Module] = []
    for channels in (before, after):
        steps += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after, EPS), nn.ReLU()]
    return nn.Sequential(*steps)


def pair3d(before: int, after: int) -> nn.Sequential:
    steps: list[nn.Module] = []
    for channels in (before, after):
        steps += [nn.Conv3d(channels, after, 3, padding=1), nn.BatchNorm3d(after, EPS), nn.ReLU()]
    return nn.Sequential(*steps)


class Excite(nn.Module):
    """(B, C, H, W) -> the same, every channel weighted by what all of them are on average."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // SQUEEZE, 1)
        self.weigh = nn.Sequential(
            nn.Linear(channels, narrow, bias=False), nn.ReLU(), nn.Linear(narrow, channels, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x.mean((2, 3)))[..., None, None]


class Fusion(nn.Module):
    """Features (B, C, D, H, W) of the 3-D encoder and (B, C, H, W) of the 2-D one -> (B, C, H, W)."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.flat = nn.Conv3d(channels, 1, 1)
        self.spread = nn.Sequential(nn.Conv2d(depth, channels, 3, padding=1), nn.ReLU(), Excite(channels))
        self.excite = Excite(channels)

    def forward(self, deep: Tensor, x: Tensor) -> Tensor:
        return self.spread(self.flat(deep)[:, 0]) + self.excite(x)


class Up(nn.Module):
    """(B, 2C, H, W) and the skip (B, C, 2H, 2W) -> (B, C, 2H, 2W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrowed = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(2 * channels, channels, 2), nn.ReLU())
        self.main = pair(2 * channels, channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.main(torch.cat([skip, self.narrowed(F.interpolate(x, scale_factor=2.0))], 1))


class DUNet(nn.Module):
    """Logits of lesion: (B, in_channels, H, W) -> (B, 1, H, W), H and W multiples of 16.

    The channels are also the depth of the 3-D encoder, four slices as published; `order` says how they lie there, as
    they come unless said. `width` is the number of channels at full resolution and doubles at each level below.
    """

    stride = 16

    def __init__(
        self, in_channels: int = 4, width: int = 32, order: Sequence[int] | None = None, dropout: float = 0.3
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.order = list(range(in_channels) if order is None else order)
        self.downs = nn.ModuleList(pair(a, b) for a, b in zip((in_channels, *widths), widths, strict=False))
        self.deeps = nn.ModuleList(pair3d(a, b) for a, b in zip((1, *widths), widths[:3], strict=False))
        depths = (-(-in_channels // 2), -(-in_channels // 4))
        self.fusions = nn.ModuleList(Fusion(w, depth) for w, depth in zip(widths[1:3], depths, strict=True))
        self.dropout = nn.Dropout(dropout)
        self.ups = nn.ModuleList(Up(w) for w in widths[-2::-1])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        *skips, x = self.encoded(x)
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(x)

    def encoded(self, x: Tensor) -> list[Tensor]:
        """The features of each level, the finest first."""
        deep = self.deeps[0](x[:, None, self.order])  # (B, width, depth, H, W)
        features = [self.downs[0](x)]
        for level in range(1, 5):
            x = self.downs[level](F.max_pool2d(features[-1], 2))
            if level < len(self.deeps):
                deep = self.deeps[level](F.max_pool3d(deep, 2, ceil_mode=True))
                x = self.fusions[level - 1](deep, x)
            features.append(x if level < 3 else self.dropout(x))
        return features
