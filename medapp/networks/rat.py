"""RAT, the Region Attention Transformer for medical image restoration.

Yang et al., MICCAI 2024, arXiv:2407.09268; parameter names and arithmetic as in the authors' release, so that their
state dict loads. A U-shaped network of NAFNet blocks (Chen et al. 2022, arXiv:2204.04676) whose bottleneck alternates
attention among the pixels of one region with attention inside 4×4 windows. The release applies regions as an N×N bias;
here the tokens of a region are gathered and attend to each other, which gives the same result for a time that is the
sum of the squared sizes of the regions, and little memory.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medapp.networks.region_tokens import Plan, plan_attention

HEADS = 8
WINDOW = 4
SCALE = HEADS**-0.5  # as released: by the number of heads, not by their size
EPS = 1e-6


def apply_linear(x: Tensor, layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Apply a 1×1 convolution or a linear layer to (..., C)."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)


class LayerNorm2d(nn.Module):
    """Layer norm over the channels, which are the last axis."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, EPS)


class NAFBlock(nn.Module):
    """Nonlinear-activation-free block of NAFNet."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.conv1 = nn.Conv2d(channels, wide, 1)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, groups=wide)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv4 = nn.Conv2d(channels, wide, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1 = LayerNorm2d(channels)
        self.norm2 = LayerNorm2d(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        y = multiply_halves(apply_conv(apply_linear(self.norm1(x), self.conv1), self.conv2))
        y = y * apply_linear(y.mean((1, 2), keepdim=True), self.sca[1])
        x = x + apply_linear(y, self.conv3) * self.beta.flatten()
        y = apply_linear(multiply_halves(apply_linear(self.norm2(x), self.conv4)), self.conv5)
        return x + y * self.gamma.flatten()


def multiply_halves(x: Tensor) -> Tensor:
    """Multiply the two halves of the channels, NAFNet's gate: (..., 2C) -> (..., C)."""
    left, right = x.chunk(2, -1)
    return left * right


def apply_conv(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Apply a convolution to (B, H, W, C); the channels stay last in memory."""
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MLP(nn.Module):
    """Two 1×1 convolutions with a GELU between them, twice as wide inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, 2 * channels, 1)
        self.fc2 = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> the same shape."""
        return apply_linear(F.gelu(apply_linear(x, self.fc1)), self.fc2)


class RegionAttention(nn.Module):
    """Attention among the tokens of each region."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.project_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, regions: Plan) -> Tensor:
        """(B, H, W, C) and the plan of its regions -> the same shape."""
        tokens = apply_linear(x, self.qkv).flatten(0, 2)  # (B * H * W, 3C)
        outputs = []
        for index, mask in regions.bundles:
            q, k, v = tokens[index].unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # each (R, heads, L, d)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=SCALE)
            outputs.append(y.transpose(1, 2).flatten(0, 1).flatten(1))  # (R * L, C)
        return apply_linear(torch.cat(outputs)[regions.inverse], self.project_out).view_as(x)


class WindowAttention(nn.Module):
    """Attention inside windows of 4×4 tokens that do not overlap."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C), H and W multiples of 4 -> the same shape."""
        batch, height, width, channels = x.shape
        rows, columns = height // WINDOW, width // WINDOW
        y = self.qkv(x).view(batch, rows, WINDOW, columns, WINDOW, 3, HEADS, -1)
        q, k, v = y.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, -1, HEADS, WINDOW**2, channels // HEADS)
        y = F.scaled_dot_product_attention(q, k, v, scale=SCALE)
        y = y.view(batch, rows, columns, HEADS, WINDOW, WINDOW, -1).permute(0, 1, 4, 2, 5, 3, 6)
        return self.proj_out(y.reshape(x.shape))


class BasicLayer(nn.Module):
    """Attention by region, then by window, each followed by an MLP."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lambda_ra = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.lambda_wa = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.norm_ra = LayerNorm2d(channels)
        self.ra = RegionAttention(channels)
        self.norm_ra_mlp = LayerNorm2d(channels)
        self.mlp_ra = MLP(channels)
        self.norm_wa = LayerNorm2d(channels)
        self.wa = WindowAttention(channels)
        self.norm_wa_mlp = LayerNorm2d(channels)
        self.mlp_wa = MLP(channels)

    def forward(self, x: Tensor, regions: Plan) -> Tensor:
        """(B, H, W, C) and the plan of its regions -> the same shape."""
        x = x + self.lambda_ra.flatten() * self.ra(self.norm_ra(x), regions)
        x = x + self.mlp_ra(self.norm_ra_mlp(x))
        x = x + self.lambda_wa.flatten() * self.wa(self.norm_wa(x))
        return x + self.mlp_wa(self.norm_wa_mlp(x))


class Block(nn.Module):
    """Basic layers and a 3×3 convolution, with a residual around them."""

    def __init__(self, channels: int, depth: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(BasicLayer(channels) for _ in range(depth))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, regions: Plan) -> Tensor:
        """(B, H, W, C) and the plan of its regions -> the same shape."""
        y = x
        for layer in self.layers:
            y = layer(y, regions)
        return x + apply_conv(y, self.conv)


class RAT(nn.Module):
    """The Region Attention Transformer; the defaults are the paper's size (15.9 million parameters).

    `scale` is the factor of upsampling. `limit` is the largest number of tokens (4×4 pixels each) that attend to each
    other: larger regions are divided into squares; None, as published, sets no limit.
    """

    traceable = False  # which tokens meet depends on the regions of the image
    tolerance = 0.01  # of the answer in 16 bits, relative: an error of 3 % would be many HU

    def __init__(
        self,
        scale: int = 1,
        img_channel: int = 1,
        width: int = 64,
        middle_blk_num: int = 12,
        enc_blk_nums: Sequence[int] = (2, 2),
        dec_blk_nums: Sequence[int] = (2, 2),
        limit: int | None = None,
    ) -> None:
        super().__init__()
        self.scale, self.limit = scale, limit
        self.stride = 2 ** len(enc_blk_nums)
        self.intro = nn.Conv2d(img_channel, width, 3, padding=1)
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.ups, self.decoders = nn.ModuleList(), nn.ModuleList()
        for number in enc_blk_nums:
            self.encoders.append(nn.Sequential(*(NAFBlock(width) for _ in range(number))))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, 2))
            width *= 2
        self.middle_blks = nn.ModuleList(Block(width) for _ in range(middle_blk_num // 3))
        for number in dec_blk_nums:
            self.ups.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(nn.Sequential(*(NAFBlock(width) for _ in range(number))))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images (B, C, H, W) and region labels (B, s·H, s·W) -> restored images (B, C, s·H, s·W), s the scale.

        Any height and width: the edge is repeated to a multiple of 16 and cropped afterwards. Labels are integers of
        any type, read at every fourth pixel. Raises ValueError for labels of another size.
        """
        if self.scale > 1:
            x = F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)
        if labels.shape != (x.shape[0], *x.shape[2:]):
            raise ValueError(f"labels must be {(x.shape[0], *x.shape[2:])}, not {tuple(labels.shape)}")
        height, width = x.shape[2:]
        more = [-width % (self.stride * WINDOW), -height % (self.stride * WINDOW)]
        if any(more):
            border = (0, more[0], 0, more[1])
            x = F.pad(x, border, mode="replicate")
            labels = F.pad(labels[:, None].float(), border, mode="replicate")[:, 0]
        regions = plan_attention(labels[:, :: self.stride, :: self.stride], self.limit)

        y = apply_conv(x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1), self.intro)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            y = encoder(y)
            skips.append(y)
            y = apply_conv(y, down)
        bottom = y
        for block in self.middle_blks:
            y = block(y, regions)
        y = y + bottom
        for (widen, shuffle), decoder in zip(self.ups, self.decoders, strict=True):
            up = shuffle(apply_linear(y, widen).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            y = decoder(up.contiguous() + skips.pop())
        return (apply_conv(y, self.ending).permute(0, 3, 1, 2) + x)[..., :height, :width]
