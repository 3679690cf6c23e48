"""Random source: every number that a training draws by chance, from one generator."""

import torch
import torch.nn.functional as F
from torch import Tensor


class RandomSource:
    """Random numbers from one generator, so that a run goes on exactly."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(shape, generator=self.generator) * scale

    def gauss(self, scale: float) -> float:
        return float(self.normal(scale=scale))

    def bernoulli(self, p: float) -> bool:
        return self.uniform(0, 1) < p

    def randint(self, n: int) -> int:
        return int(torch.randint(n, (), generator=self.generator))

    def smooth_field(self, shape: tuple[int, ...], spacing: float, channels: int = 1) -> Tensor:
        """Smooth noise (channels, *shape), standard deviation about 1, one knot every `spacing` voxels."""
        knots = self.normal(1, channels, *(max(2, round(n / spacing) + 1) for n in shape))
        return F.interpolate(knots, tuple(shape), mode="trilinear", align_corners=True)[0] * 1.4
