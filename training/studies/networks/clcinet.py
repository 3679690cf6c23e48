"""CLCI-Net, which hands the features of every finer level to every coarser one and reads its skips as a sequence.

Yang et al., MICCAI 2019, arXiv:1907.07008. Each level of the encoder gets the pooled level above it beside all levels
above, drawn down by strided convolutions (cross-level fusion); the bottleneck sees them too, beside dilated
convolutions (atrous pyramid); in the decoder a convolutional LSTM reads first what comes up, then the skip. Widths and
the form of each layer as in the authors' Keras release, so that the parameters are as many.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-3  # Keras' own
RATES = (2, 4, 6)  # of the dilated convolutions


def conv(before: int, after: int, size: int = 3, stride: int = 1, rate: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU; as in TensorFlow, an even filler goes to both ends, an odd one after the last."""
    more = max(rate * (size - 1) + 1 - stride, 0)
    filled = nn.ZeroPad2d((more // 2, more - more // 2) * 2)
    return nn.Sequential(
        filled, nn.Conv2d(before, after, size, stride, dilation=rate), nn.BatchNorm2d(after, EPS), nn.ReLU()
    )


def pair(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(conv(before, after), conv(after, after))


class Fusion(nn.Module):
    """Levels so far, the coarsest last and of w channels, to what the next one starts from: (B, 8w, H/2, W/2)."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        last, count = widths[-1], len(widths)
        self.drawn = nn.ModuleList(conv(w, last, stride=2 ** (count - level)) for level, w in enumerate(widths))
        self.fused = conv(last * (count + 1), 8 * last, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        upsampled = [layer(level) for layer, level in zip(self.drawn, levels, strict=True)]
        return self.fused(torch.cat([*upsampled, F.max_pool2d(levels[-1], 2)], 1))


class Pyramid(nn.Module):
    """All levels, the coarsest last, to (B, 2w, H, W) at its resolution; w are its channels."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        *finer, last = widths
        half = last // 2
        self.levels = nn.ModuleList(conv(w, half, stride=2 ** (len(finer) - at)) for at, w in enumerate(finer))
        self.rates = nn.ModuleList([conv(last, half, 1), *(conv(last, half, rate=rate) for rate in RATES)])
        self.whole = conv(last, half, 1)
        self.fused = conv(half * (len(finer) + len(RATES) + 2), 2 * last, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        *finer, last = levels
        upsampled = [layer(level) for layer, level in zip(self.levels, finer, strict=True)]
        features = [layer(last) for layer in self.rates]
        whole = self.whole(last.mean((2, 3), keepdim=True)).expand_as(features[0])
        return self.fused(torch.cat([*upsampled, *features, whole], 1))


class ConvLSTM(nn.Module):
    """Reads images (B, C, H, W) one after the other, to a state of that shape. Shi et al. 2015, without peepholes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.given = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.state = nn.Conv2d(channels, 4 * channels, 3, padding=1, bias=False)
        with torch.no_grad():
            self.given.bias.copy_(torch.tensor([0.0, 1, 0, 0]).repeat_interleave(channels))  # it remembers at first

    def forward(self, *images: Tensor) -> Tensor:
        state, memory = None, 0.0
        for image in images:
            gates = self.given(image) if state is None else self.given(image) + self.state(state)
            enter, keep, show, new = gates.chunk(4, 1)
            memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
            state = show.sigmoid() * memory.tanh()
        return state


class Up(nn.Module):
    """(B, before, H, W) and the skip (B, after, 2H, 2W) -> (B, after, 2H, 2W)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.narrowed, self.skip = conv(before, after, 2), conv(after, after, 1)
        self.context, self.main = ConvLSTM(after), pair(after, after)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.main(self.context(self.narrowed(F.interpolate(x, scale_factor=2.0)), self.skip(skip)))


class CLCINet(nn.Module):
    """Logits of lesion: (B, in_channels, H, W) -> (B, 1, H, W), H and W multiples of 16.

    `width` is the number of channels at full resolution and doubles at each of the four levels below. In training a
    batch has two images or more, for the norm of what is seen of the whole image.
    """

    stride = 16

    def __init__(self, in_channels: int = 1, width: int = 32, dropout: float = 0.5) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(5)]
        self.fusions = nn.ModuleList(Fusion(widths[:level]) for level in range(1, 5))
        self.stages = nn.ModuleList([pair(in_channels, width), *(pair(4 * w, w) for w in widths[1:])])
        self.pyramid = Pyramid(widths)
        self.dropout = nn.Dropout(dropout)
        before = (2 * widths[-1], *widths[-2:0:-1])
        self.ups = nn.ModuleList(Up(a, b) for a, b in zip(before, widths[-2::-1], strict=True))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.stages[0](x)]
        for fusion, stage in zip(self.fusions, self.stages[1:], strict=True):
            levels.append(stage(fusion(levels)))
        levels[-1] = self.dropout(levels[-1])
        x = self.dropout(self.pyramid(levels))  # (B, 32 width, H/16, W/16)
        for up, skip in zip(self.ups, levels[-2::-1], strict=True):
            x = up(x, skip)
        return self.head(x)
