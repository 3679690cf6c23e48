"""TextSCF: registration with text-generated filters, one for every anatomical region of the fixed image.

Chen et al. 2023, arXiv:2311.15607; parameter names and arithmetic as in the authors' release `brainTextSCFComplex`. The
backbone is LKU-Net (Jia et al. 2022, arXiv:2208.04939). Its last feature, at half resolution, is multiplied at every
voxel with three filters, one per component of the displacement, of the region in which the voxel lies; a small network
computes each filter from the embedding of the region's prompt.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 36  # background, then the 35 regions of the OASIS protocol
SQUARING_STEPS = 7  # squarings


class Flow(NamedTuple):
    """The network's output; displacements are in voxels of the full grid, warped(p) = moving(p + flow(p)).

    `flow` is (B, 3, D, H, W); `half` is the same field at half resolution; `raw` is the head's output, equal to `half`
    or, if diffeomorphic, twice the velocity; `feature` is (B, 2n, D/2, H/2, W/2).
    """

    flow: Tensor
    half: Tensor
    raw: Tensor
    feature: Tensor


def warp(image: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """Warp an image (B, C, D, H, W) by `flow` (B, 3, D, H, W), in voxels along D, H and W; zero outside.

    `mode` is "bilinear", which in three dimensions is trilinear, or "nearest" for labels.
    """
    size = flow.shape[2:]
    axes = [torch.arange(n, device=flow.device, dtype=flow.dtype) for n in size]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij")) + flow  # (B, 3, D, H, W)
    last = torch.tensor([max(n - 1, 1) for n in image.shape[2:]], device=flow.device, dtype=flow.dtype)
    place = (2 * (index.movedim(1, -1) / last - 0.5)).flip(-1)  # the last axis first, as grid_sample wants it
    return F.grid_sample(image, place, mode=mode, padding_mode="zeros", align_corners=True)


def integrate_velocity(velocity: Tensor, steps: int = SQUARING_STEPS) -> Tensor:
    """Integrate a stationary velocity (B, 3, D, H, W) over unit time by scaling and squaring; both in voxels."""
    flow = velocity / 2**steps
    for _ in range(steps):
        flow = flow + warp(flow, flow)
    return flow


def make_background_embedding(text: Tensor) -> Tensor:
    """Return the unit vector (d,) that stands for the background beside the regions' embeddings (35, d).

    It is orthogonal to all of them and follows them smoothly when a prompt changes. The authors' release means the same
    but takes, by mistake, the last column of V transposed.
    """
    frame = torch.linalg.qr(text.double().T)[0]  # (d, 35)
    start = torch.linspace(-1, 1, len(frame), dtype=frame.dtype, device=frame.device).sin()
    return F.normalize(start - frame @ (frame.T @ start), dim=0).float()


class Conv(nn.Module):
    """A 3×3×3 convolution, or a transposed one that doubles the size, and a PReLU."""

    def __init__(self, channels: int, out: int, stride: int = 1, up: bool = False) -> None:
        super().__init__()
        conv = nn.ConvTranspose3d(channels, out, 2, 2) if up else nn.Conv3d(channels, out, 3, stride, 1)
        self.layer = nn.Sequential(conv, nn.PReLU())

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, ...) -> (B, out, ...), at the size that the stride gives."""
        return self.layer(x)


class LargeKernel(nn.Module):
    """The sum of convolutions of 3, k and 1 voxels and the identity, computed as one convolution, and a PReLU."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.regular = nn.Conv3d(channels, channels, 3, padding=1)
        self.large = nn.Conv3d(channels, channels, size, padding=size // 2)
        self.one = nn.Conv3d(channels, channels, 1)
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, D, H, W) -> the same shape."""
        half = self.large.kernel_size[0] // 2
        point = self.one.weight + torch.eye(x.shape[1], device=x.device, dtype=x.dtype)[..., None, None, None]
        weight = self.large.weight + F.pad(self.regular.weight, [half - 1] * 6) + F.pad(point, [half] * 6)
        bias = self.large.bias + self.regular.bias + self.one.bias
        return self.prelu(F.conv3d(x, weight, bias, padding=half))


class Filter(nn.Module):
    """A perceptron that turns the embedding of each region into a filter."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, out)
        )

    def forward(self, text: Tensor) -> Tensor:
        """Embeddings (36, d) -> filters (36, 2n)."""
        return self.mlp(text)


class Head(nn.Module):
    """The displacement from a feature: the filters of each voxel's region plus a convolution."""

    def __init__(self, channels: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.generate_flow_x = Filter(dim, hidden, channels)
        self.generate_flow_y = Filter(dim, hidden, channels)
        self.generate_flow_z = Filter(dim, hidden, channels)
        self.flow = nn.Conv3d(channels, 3, 3, padding=1)
        nn.init.normal_(self.flow.weight, 0, 1e-5)
        nn.init.zeros_(self.flow.bias)

    def make_filters(self, text: Tensor) -> Tensor:
        """Embeddings (36, d) -> filters (3, 36, 2n), one a component of the displacement."""
        return torch.stack([f(text) for f in (self.generate_flow_x, self.generate_flow_y, self.generate_flow_z)])

    def forward(self, feature: Tensor, labels: Tensor, filters: Tensor) -> Tensor:
        """Feature (B, 2n, D, H, W), labels (B, D, H, W) and filters (3, 36, 2n) -> displacement (B, 3, D, H, W)."""
        last = feature.movedim(1, -1)  # (B, D, H, W, 2n)
        # equals f[labels], whose gradient depends on the order of threads
        covariant = torch.stack([(F.embedding(labels, f) * last).sum(-1) for f in filters], 1)
        return covariant + self.flow(feature)


class TextSCF(nn.Module):
    """Registers a moving image to a fixed one.

    `width` is the paper's N_s, `dim` the length of the text's embedding (768 for CLIP ViT-L/14, 1024 for RN50x64),
    `hidden` the release's scp_dim. The defaults are the authors' model (163.7 million parameters). With
    `diffeomorphic` the head's field is a velocity, integrated at half resolution.

    The embeddings that the weights were trained on are stored with them in the buffer `text` (36, d), background first.
    `make_filters(text)` is computed once for a set of prompts and passed to `forward`, which then needs no text.
    `up4` belongs to the release's state dict and is unused, there and here.
    """

    def __init__(
        self, width: int = 64, dim: int = 768, hidden: int = 2048, kernel: int = 5, diffeomorphic: bool = False
    ) -> None:
        super().__init__()
        self.diffeomorphic = diffeomorphic
        n = width
        self.register_buffer("text", torch.zeros(CLASSES, dim))
        self.eninput, self.ec1 = Conv(2, n), Conv(n, n)
        self.ec2, self.ec3 = Conv(n, 2 * n, 2), LargeKernel(2 * n, kernel)
        self.ec4, self.ec5 = Conv(2 * n, 4 * n, 2), LargeKernel(4 * n, kernel)
        self.ec6, self.ec7 = Conv(4 * n, 8 * n, 2), LargeKernel(8 * n, kernel)
        self.ec8, self.ec9 = Conv(8 * n, 8 * n, 2), LargeKernel(8 * n, kernel)
        self.up1, self.dc1, self.dc2 = Conv(8 * n, 8 * n, up=True), Conv(16 * n, 8 * n), Conv(8 * n, 4 * n)
        self.up2, self.dc3, self.dc4 = Conv(4 * n, 4 * n, up=True), Conv(8 * n, 4 * n), Conv(4 * n, 2 * n)
        self.up3, self.dc5, self.dc6 = Conv(2 * n, 2 * n, up=True), Conv(4 * n, 4 * n), Conv(4 * n, 2 * n)
        self.up4 = Conv(2 * n, 2 * n, up=True)
        self.flow = Head(2 * n, dim, hidden)

    def make_filters(self, text: Tensor | None = None) -> Tensor:
        """Return filters (3, 36, 2n), one a component and region, of embeddings (36, d), by default `self.text`."""
        return self.flow.make_filters(self.text if text is None else text)

    def extract_features(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the feature (B, 2n, D/2, H/2, W/2) from which the head computes the displacement."""
        half = self.ec3(self.ec2(self.ec1(self.eninput(torch.cat((moving, fixed), 1)))))
        quarter = self.ec5(self.ec4(half))
        eighth = self.ec7(self.ec6(quarter))
        x = self.up1(self.ec9(self.ec8(eighth)))
        x = self.dc2(self.dc1(torch.cat((x, eighth), 1)))
        x = self.dc4(self.dc3(torch.cat((self.up2(x), quarter), 1)))
        return self.dc6(self.dc5(torch.cat((self.up3(x), half), 1)))

    def forward(self, moving: Tensor, fixed: Tensor, labels: Tensor, filters: Tensor | None = None) -> Flow:
        """Register `moving` to `fixed`, both (B, 1, D, H, W) in [0, 1], sizes divisible by 16.

        `labels` (B, D, H, W) of the fixed image are integers from 0 to 35, read at every second voxel. Raises
        ValueError for sizes that are not divisible by 16 or do not match.
        """
        size = fixed.shape[2:]
        if any(n % 16 for n in size) or moving.shape != fixed.shape or labels.shape != (len(fixed), *size):
            shapes = tuple(moving.shape), tuple(fixed.shape), tuple(labels.shape)
            raise ValueError(f"moving and fixed are (B, 1, D, H, W) by sixteens, labels (B, D, H, W), not {shapes}")
        feature = self.extract_features(moving, fixed)
        filters = self.make_filters() if filters is None else filters
        half = raw = self.flow(feature, labels[:, ::2, ::2, ::2].long(), filters)
        if self.diffeomorphic:
            half = 2 * integrate_velocity(raw / 2)  # the velocity counts in voxels of the half grid
        return Flow(F.interpolate(half, size=tuple(size), mode="trilinear", align_corners=False), half, raw, feature)
