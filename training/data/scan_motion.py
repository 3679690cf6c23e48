"""A head that moved while it was scanned."""

import numpy as np
import torch
from torch import Tensor

from training.core.random_source import RandomSource

STILL_SHARE = 0.12  # of the lines, about the middle of k-space, that are scanned before the head moves
MOST_MOVES = 6


def move_head(image: Tensor, mm: float, rng: RandomSource) -> Tensor:
    """Return (X, Y, Z), voxels of 1 mm, as if the head had moved to and fro by about `mm` along a phase direction.

    Lines of k-space are scanned one after the other, and a shift turns the phase of those scanned after it: edges are
    doubled, and ghosts and blur appear along that direction.
    """
    axis = rng.randint(2)
    count = image.shape[axis]
    lines = np.fft.rfftfreq(count)
    borders = sorted(rng.uniform(STILL_SHARE, 1) for _ in range(1 + rng.randint(MOST_MOVES)))
    shifts = torch.cat([torch.zeros(1), rng.normal(len(borders), scale=mm)])
    shift = shifts[torch.from_numpy(np.searchsorted(borders, lines / lines[-1]))]
    turn = torch.exp(-2j * torch.pi * torch.from_numpy(lines).float() * shift)
    turn = turn.view([-1 if a == axis else 1 for a in range(3)])
    return torch.fft.irfft(torch.fft.rfft(image, dim=axis) * turn, n=count, dim=axis).abs()
