"""Random numbers of a training, all from one generator."""

import torch
import torch.nn.functional as F
from torch import Tensor


class RandomSource:
    """Random numbers from one torch generator on the CPU, whose state a checkpoint keeps."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """Return a number between `low` and `high`."""
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        """Return a tensor of normal numbers with standard deviation `scale`."""
        return torch.randn(shape, generator=self.generator) * scale

    def gauss(self, scale: float) -> float:
        """Return a normal number with standard deviation `scale`."""
        return float(self.normal(scale=scale))

    def bernoulli(self, p: float) -> bool:
        """Return True with probability `p`."""
        return self.uniform(0, 1) < p

    def randint(self, n: int) -> int:
        """Return a whole number from 0 to n - 1."""
        return int(torch.randint(n, (), generator=self.generator))

    def smooth_field(self, shape: tuple[int, ...], spacing: float, channels: int = 1) -> Tensor:
        """Return smooth noise (channels, *shape) of standard deviation about 1, with a knot every `spacing` voxels."""
        knots = self.normal(1, channels, *(max(2, round(n / spacing) + 1) for n in shape))
        return F.interpolate(knots, tuple(shape), mode="trilinear", align_corners=True)[0] * 1.4
