"""The U-Nets that AR2-UNet is made of: plain, with attention gates, with recurrent residual blocks.

Ronneberger et al. 2015, arXiv:1505.04597; gates on the skips by Oktay et al. 2018, arXiv:1804.03999; recurrent residual
blocks by Alom et al. 2018, arXiv:1802.06955. Gates, blocks and enlargements are those of AR2-UNet, so that nothing else
differs between the forms.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medapp.networks.ar2unet import AttentionGate, UpConvolution


def pair(before: int, after: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with batch norm and ReLU."""
    steps: list[nn.Module] = []
    for channels in (before, after):
        steps += [nn.Conv2d(channels, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*steps)


class UNet(nn.Module):
    """Logits: (B, in_channels, H, W) -> (B, 1, H, W), H and W multiples of 16.

    `width` is the number of channels at full resolution and doubles at each of the four levels below; `block` makes
    what stands at each level, from channels before to channels after; `gated` puts attention on the skips.
    """

    stride = 16

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 32,
        block: Callable[[int, int], nn.Module] = pair,
        gated: bool = False,
    ) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        upwards = widths[-2::-1]
        self.downs = nn.ModuleList(block(a, b) for a, b in zip((in_channels, *widths), widths, strict=False))
        self.enlarged = nn.ModuleList(UpConvolution(2 * w, w) for w in upwards)
        self.gates = nn.ModuleList(AttentionGate(w, w) for w in upwards) if gated else None
        self.ups = nn.ModuleList(block(2 * w, w) for w in upwards)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.downs[0](x)]
        for down in self.downs[1:]:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()  # (B, 16 width, H/16, W/16)
        for level, up in enumerate(self.ups):
            x, skip = self.enlarged[level](x), skips.pop()
            x = up(torch.cat([self.gates[level](skip, x) if self.gates else skip, x], 1))
        return self.head(x)
