"""X-Net, a U-Net of depthwise separable convolutions whose bottleneck compares every place with every other.

Qi et al., MICCAI 2019, arXiv:1907.07000. Widths and the form of each layer as in the authors' Keras release, so that
the parameters are as many. There the similarity of two places is the plain product of their features over the number
of places, without softmax; the sums may then be taken in another order, and the N×N matrix is never needed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3  # Keras' own
SQUEEZE = 8  # by which the bottleneck is narrowed to compare places


def conv(before: int, after: int, size: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    layer = nn.Conv2d(before, after, size, padding=size // 2)
    return nn.Sequential(layer, nn.BatchNorm2d(after, EPS), nn.ReLU())


def separable(before: int, after: int) -> nn.Sequential:
    """3×3 in each channel, then 1×1 among them, each with batch norm and ReLU."""
    depthwise = nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(before, EPS), nn.ReLU(), *conv(before, after, 1))


class XBlock(nn.Module):
    """(B, before, H, W) -> (B, after, H, W): three separable convolutions beside a 1×1 convolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.main = nn.Sequential(separable(before, after), separable(after, after), separable(after, after))
        self.residual = conv(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x) + self.residual(x)


class FeatureSimilarity(nn.Module):
    """(B, C, H, W) -> the same: to every place is added what the places like it hold."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // SQUEEZE, 2)
        self.enter = conv(channels, narrow, 3)
        self.theta, self.phi, self.g = (nn.Conv2d(narrow, narrow // 2, 1, bias=False) for _ in range(3))
        self.out = nn.Conv2d(narrow // 2, narrow, 1, bias=False)
        self.leave = conv(narrow, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.enter(x)
        theta, phi, g = (layer(y).flatten(2) for layer in (self.theta, self.phi, self.g))  # (B, C/16, N)
        mixed = (g @ phi.mT / phi.shape[2]) @ theta  # g (thetaᵀ phi)ᵀ / N
        return x + self.leave(y + self.out(mixed.unflatten(2, y.shape[2:])))


class XNet(nn.Module):
    """Logits of lesion: (B, in_channels, H, W) -> (B, 1, H, W), H and W multiples of 16.

    `width` is the number of channels at full resolution and doubles at each of the four levels below.
    """

    stride = 16

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.downs = nn.ModuleList(XBlock(a, b) for a, b in zip((in_channels, *widths), widths, strict=False))
        self.similarity = FeatureSimilarity(widths[-1])
        self.narrowings = nn.ModuleList(conv(2 * w, w, 3) for w in widths[-2::-1])
        self.ups = nn.ModuleList(XBlock(2 * w, w) for w in widths[-2::-1])
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        *skips, x = self.encoded(x)
        x = self.similarity(x)  # (B, 16 width, H/16, W/16)
        for narrowing, up in zip(self.narrowings, self.ups, strict=True):
            x = up(torch.cat([skips.pop(), narrowing(F.interpolate(x, scale_factor=2.0))], 1))
        return self.head(x)

    def encoded(self, x: Tensor) -> list[Tensor]:
        """The features of each level, the finest first."""
        features = [self.downs[0](x)]
        for down in self.downs[1:]:
            features.append(down(F.max_pool2d(features[-1], 2)))
        return features
