"""A bright ellipsoid for a brain, on grids of all kinds, and what finds it in the place of the networks."""

import numpy as np
import torch

from medapp.algorithms.brain_extraction import NETWORK_STRIDES
from medapp.imaging.volume import Volume

CENTRE = np.array([3.0, -4, 5])  # mm, of every head
GRIDS = {
    "RAS": ((90, 110, 96), np.diag([1, 1, 1])),
    "LPI": ((90, 110, 96), np.diag([-1, -1, -1])),
    "sagittal": ((80, 70, 66), np.array([[0, 0, 1.3], [1.2, 0, 0], [0, -1.25, 0]])),
    "oblique": ((84, 96, 88), np.array([[-1.0, 0.3, 0.1], [0.3, 1.0, -0.2], [-0.1, 0.2, 1.05]])),
    "flat": ((90, 110, 1), np.diag([1, 1, 1])),
    "thick": ((120, 140, 16), np.array([[-0.8, 0, 0.6], [0, -0.8, 0], [0.1, 0, 5.9]])),
}


class Bright:
    """Stands in for both networks: what is bright is brain. Remembers what it saw."""

    def __init__(self):
        self.seen = {}

    def get_submodule(self, part: str):
        def answer(x: torch.Tensor) -> torch.Tensor:
            assert not any(n % NETWORK_STRIDES[part] for n in x.shape[2:])
            self.seen[part] = x[0]
            level = -1.5 if part == "fine" else (x.min() + x.max()) / 2
            return 4 * (x[:, :1] - level)

        return answer


class Nothing(Bright):
    """Finds no brain in anything."""

    def get_submodule(self, part: str):
        return lambda x: torch.full_like(x[:, :1], -5.0)


def draw_head(name: str, hole: float = 0.0) -> tuple[Volume, np.ndarray]:
    """An ellipsoid of 56 × 72 × 60 mm on one of GRIDS, see `draw_ellipsoid`."""
    shape, turn = GRIDS[name]
    return draw_ellipsoid(shape, turn, (28, 36, 30), hole)


def draw_ellipsoid(
    shape: tuple[int, int, int], turn: np.ndarray, half: tuple[float, float, float], hole: float = 0.0
) -> tuple[Volume, np.ndarray]:
    """A brain of those half axes in mm about CENTRE, the middle of the grid with that matrix; and its mask.

    With a `hole` of that radius in it, and a bright ball of half of it above it.
    """
    affine = np.eye(4)
    affine[:3, :3] = turn
    affine[:3, 3] = CENTRE - turn @ (np.array(shape) - 1) / 2
    mm = np.moveaxis(np.indices(shape), 0, -1) @ turn.T + affine[:3, 3] - CENTRE
    brain = ((mm / half) ** 2).sum(-1) < 1
    bright = brain & (np.linalg.norm(mm, axis=-1) >= hole)
    if hole:
        bright |= np.linalg.norm(mm - (0, 0, half[2] + hole / 2 + 4), axis=-1) < hole / 2
    noise = np.random.default_rng(0).normal(0, 2, shape)
    return Volume((20 + 100 * bright + noise).astype(np.float32), affine), brain
