"""Line integrals of small images as sparse matrices with their exact adjoint, for iterative reconstruction.

Geometry and frames are those of `projection`; the weights are Joseph's.
"""

import warnings
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.simulation import projection

SUBSETS = 12


class SystemMatrix:
    """The matrices of an image of h × w pixels, one for each subset of the views.

    Views v, v + SUBSETS, v + 2 SUBSETS ... are subset v. Lengths are in pixels. Takes about 32 bytes × pixels × views.
    """

    def __init__(self, h: int, w: int, device: str) -> None:
        count = SUBSETS * max(8, min(20, round(np.hypot(h, w) / 10)))
        self.shape, self.detectors = (h, w), projection.count_detectors(h, w)
        angles = projection.make_angles(count).tolist()
        rows, columns, values = zip(*(_compute_view(a, h, w, self.detectors) for a in angles), strict=True)
        self.matrices, self.adjoints = [], []
        for k in range(SUBSETS):
            lines = range(k, count, SUBSETS)
            row = torch.cat([rows[v] + i * self.detectors for i, v in enumerate(lines)])
            column, value = torch.cat([columns[v] for v in lines]), torch.cat([values[v] for v in lines])
            size = (len(lines) * self.detectors, h * w)
            self.matrices.append(_make_sparse(row, column, value, size, device))
            self.adjoints.append(_make_sparse(column, row, value, size[::-1], device))

    def project(self, images: Tensor, subset: int | None = None) -> Tensor:
        """Project images (B, H, W) to line integrals (B, V, D), of all views or of one subset."""
        flat = images.flatten(1).t().contiguous()
        if subset is not None:
            return (self.matrices[subset] @ flat).t().reshape(len(images), -1, self.detectors)
        each = torch.stack([self.project(images, k) for k in range(SUBSETS)], 2)  # (B, V / SUBSETS, SUBSETS, D)
        return each.flatten(1, 2)

    def back_project(self, lines: Tensor, subset: int) -> Tensor:
        """Apply the adjoint to lines (B, V / SUBSETS, D) of one subset: (B, H, W)."""
        flat = lines.flatten(1).t().contiguous()
        return (self.adjoints[subset] @ flat).t().reshape(len(lines), *self.shape)


@lru_cache(maxsize=5)
def build_system_matrix(h: int, w: int, device: str) -> SystemMatrix:
    """Build the matrices for a size; those of the last few sizes are cached."""
    return SystemMatrix(h, w, device)


def _make_sparse(row: Tensor, column: Tensor, value: Tensor, size: tuple[int, int], device: str) -> Tensor:
    order = torch.argsort(row * size[1] + column)  # no pair occurs twice
    ends = F.pad(torch.bincount(row, minlength=size[0]).cumsum(0), (1, 0))
    with warnings.catch_warnings():  # torch warns that its sparse matrices are in beta
        warnings.filterwarnings("ignore", message="Sparse ", category=UserWarning)
        return torch.sparse_csr_tensor(ends.int(), column[order].int(), value[order], size, device=device)


def _compute_view(angle: float, h: int, w: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Joseph's weights of one view: detector, pixel and length in pixels, each (n,)."""
    c, s = np.cos(angle), np.sin(angle)
    upright = abs(c) >= abs(s)
    divisor, slope, steps, size = (c, s, h, w) if upright else (s, c, w, h)
    t = np.arange(count) - (count - 1) / 2
    y = np.arange(steps) - (steps - 1) / 2
    x = (t[:, None] - y[None] * slope) / divisor + (size - 1) / 2
    low = np.floor(x).astype(np.int64)
    entries = []
    for tap, weight in ((low, 1 - (x - low)), (low + 1, x - low)):
        d, step = np.nonzero((tap >= 0) & (tap < size) & (weight > 1e-6))
        across = tap[d, step]
        pixel = step * w + across if upright else across * w + step
        entries.append((d, pixel, weight[d, step] / abs(divisor)))
    detector, pixel, value = (torch.from_numpy(np.concatenate(part)) for part in zip(*entries, strict=True))
    return detector, pixel, value.float()
