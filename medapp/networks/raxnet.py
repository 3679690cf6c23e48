"""RAX-Net, a residual U-shaped network for stroke lesions in slices of a T1 scan.

Mousavi, medRxiv 2025, doi:10.1101/2025.09.26.25336733; arithmetic as in the authors' Keras release, so that their
weights can be converted (`training/release/convert_raxnet_keras.py`). The name promises attention; the release has
none. Its transposed convolutions have stride 1 and are written here as the convolutions that they are. A 1×1
convolution stands before a nearest-neighbour upsampling instead of after it, which gives the same at a quarter of the
cost.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3  # Keras' own
FIRST_DEEP_STAGE = 2  # from this stage on every step is done twice


def make_batchnorm(channels: int) -> nn.BatchNorm2d:
    """Make a batch norm with Keras's epsilon."""
    return nn.BatchNorm2d(channels, EPS)


class Down(nn.Module):
    """A downsampling stage: separable convolutions and max pooling, with a strided residual."""

    def __init__(self, before: int, after: int, times: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for channels in (before, after)[:times]:
            steps += [nn.ReLU(), nn.Conv2d(channels, after, 3, padding=1), make_batchnorm(after), nn.ReLU()]
            steps += [nn.Conv2d(after, after, 3, padding=1, groups=after, bias=False), nn.Conv2d(after, after, 1)]
            steps += [make_batchnorm(after)]
        self.main = nn.Sequential(*steps, nn.MaxPool2d(3, 2, ceil_mode=True))
        self.residual = nn.Conv2d(before, after, 1)  # of every other pixel, see `subsample`

    def forward(self, x: Tensor) -> Tensor:
        """(B, before, H, W) -> (B, after, H/2, W/2)."""
        return self.main(x) + self.residual(subsample(x))


class Up(nn.Module):
    """An upsampling stage: convolutions and nearest-neighbour upsampling, with a residual that takes the skip."""

    def __init__(self, before: int, after: int, skip: int, times: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for channels in (before, *[after] * (2 * times - 1)):
            steps += [nn.ReLU(), nn.Conv2d(channels, after, 3, padding=1), make_batchnorm(after)]
        self.main = nn.Sequential(*steps)
        self.before = nn.Conv2d(before, after, 1)
        self.skip = nn.Conv2d(skip, after, 1)
        self.residual = nn.Sequential(nn.ReLU(), nn.Conv2d(after, after, 1), make_batchnorm(after))

    def forward(self, x: Tensor, across: Tensor) -> Tensor:
        """(B, before, H, W) and the skip connection (B, skip, 2H, 2W) -> (B, after, 2H, 2W)."""
        return upsample(self.main(x)) + self.residual(upsample(self.before(x)) + self.skip(across))


def subsample(x: Tensor) -> Tensor:
    """Take every other pixel, which before a 1×1 convolution equals its stride of 2, but is safe.

    On CPUs the gradient of the weights of a strided 1×1 convolution with fewer than 16 channels, channels last, writes
    outside its memory, in float32 as in bfloat16: jit_1x1 and jit_bf16_1x1, `backward_weights`, of oneDNN 3.12 in
    torch 2.13. A stride can be used again when the expected failure in `tests/networks/test_memory.py` passes.
    """
    return x[..., ::2, ::2]


def upsample(x: Tensor) -> Tensor:
    """Upsample by 2 to the nearest pixel: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2.0)


class RAXNet(nn.Module):
    """RAX-Net, with logits of lesion at every pixel.

    The defaults are the paper's, 4.8 million parameters; there the one channel is a slice with values from 0 to 255.
    """

    stride = 16

    def __init__(self, classes: int = 1, widths: Sequence[int] = (32, 64, 128, 256), channels: int = 1) -> None:
        super().__init__()
        first, deepest = widths[0], widths[-1]
        times = [1 if at < FIRST_DEEP_STAGE else 2 for at in range(len(widths))]
        self.stem = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, first, 3, 2), make_batchnorm(first), nn.ReLU()
        )
        self.downs = nn.ModuleList(Down(a, b, n) for (a, b), n in zip(pairwise(widths), times[1:], strict=True))
        shapes = zip((deepest, *widths[:0:-1]), widths[::-1], (*widths[-2::-1], channels), times[::-1], strict=True)
        self.ups = nn.ModuleList(Up(*shape) for shape in shapes)
        self.head = nn.Conv2d(first, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W), H and W multiples of 16 -> logits (B, classes, H, W)."""
        skips = [x]
        x = self.stem(x)  # (B, 32, H/2, W/2)
        for down in self.downs:
            skips.append(x)
            x = down(x)  # at last (B, 256, H/16, W/16)
        for up in self.ups:
            x = up(x, skips.pop())
        return self.head(x)
