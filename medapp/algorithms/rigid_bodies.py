"""Rigid bodies: parts of the fixed image that a field may shift and rotate, but not bend.

The rigid transform nearest to the field is fitted to each body (Procrustes analysis: Kabsch 1976,
doi:10.1107/S0567739476001873) and takes its place there; around the body one passes smoothly into the other. Parts that
touch, or nearly so, are one body.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

CORE = 3  # voxels around a body that move with it, so that the field is rigid wherever it is interpolated
REACH = 14  # voxels beyond them over which the field becomes itself again
MIN_GAP = 6  # voxels between the cores of two bodies; nearer ones are one
MIN_JACOBIAN = 0.02  # below which the field around a body is smoothed
MAX_SMOOTHINGS = 30
MIN_VOXELS = 30  # of a body; smaller pieces stay as they are


class RigidBody(NamedTuple):
    """A box of the grid, and in it the flat indices (N,) of the body's voxels, those (d * h * w,) of the voxels of its
    core nearest to each voxel, and its weight (d, h, w), 1 in the core.
    """

    box: tuple[slice, slice, slice]
    index: Tensor
    nearest: Tensor
    weight: Tensor


class RigidBodies:
    """Bodies that `hold` keeps rigid in a field.

    Their voxels are the `mask` (D, H, W) bool. `after` (4, 4) maps voxel indices and follows the field: what is rigid
    is the way through both.
    """

    def __init__(self, mask: np.ndarray, after: np.ndarray, device: torch.device) -> None:
        self.matrix, self.shift = (
            torch.tensor(part, dtype=torch.float32, device=device) for part in (after[:3, :3], after[:3, 3:])
        )
        self.bodies = _make_bodies(mask, device)

    def hold(self, flow: Tensor) -> Tensor:
        """Return the field (3, D, H, W), in voxels, with every body rigid."""
        held = flow.clone()
        for body in self.bodies:
            box = (slice(None), *body.box)
            place = list_places(flow, body.box)
            moved = self.matrix @ (place + flow[box]).flatten(1) + self.shift
            fitted = _fit_rigid(place.flatten(1), moved, body.index)
            away = torch.linalg.solve(self.matrix, fitted - self.shift).view_as(place) - place
            change = (away - flow[box]).flatten(1)[:, body.nearest].view_as(place)  # beyond the core that of its border
            core = body.weight >= 1
            held[box] += body.weight * torch.where(core, change, _smooth(change))
            held[box] = _unfold(held[box], (body.weight > 0) & ~core)
        return held


def _make_bodies(mask: np.ndarray, device: torch.device) -> list[RigidBody]:
    pieces, _ = ndimage.label(ndimage.binary_dilation(mask, iterations=CORE + MIN_GAP // 2))
    sizes = np.bincount(pieces[mask], minlength=1)
    cores = np.where(ndimage.binary_dilation(mask, iterations=CORE), pieces, 0)
    total = np.zeros(mask.shape, np.float32)
    parts = []
    for number, found in enumerate(ndimage.find_objects(pieces), 1):
        if number >= len(sizes) or sizes[number] < MIN_VOXELS:
            continue
        x, y, z = (slice(max(s.start - REACH, 0), s.stop + REACH) for s in found)
        box = x, y, z
        own, other = cores[box] == number, (cores[box] > 0) & (cores[box] != number)
        near, nearest = ndimage.distance_transform_edt(~own, return_indices=True)
        reach = np.minimum(REACH, near + ndimage.distance_transform_edt(~other)) if other.any() else REACH
        weight = 0.5 + 0.5 * np.cos(np.pi * np.clip(near / reach, 0, 1))
        total[box] += weight
        nearest = np.ravel_multi_index(nearest.reshape(3, -1), own.shape)
        parts.append((box, np.flatnonzero(own & mask[box]), nearest, weight))
    total = np.maximum(total, 1)
    return [
        RigidBody(
            box,
            torch.tensor(index, device=device),
            torch.tensor(nearest, device=device),
            torch.tensor((weight / total[box]).astype(np.float32), device=device),
        )
        for box, index, nearest, weight in parts
    ]


def _smooth(field: Tensor) -> Tensor:
    """Return the means (3, d, h, w) of a field within two voxels."""
    return F.avg_pool3d(field[None], 5, 1, 2, count_include_pad=False)[0]


def _unfold(field: Tensor, around: Tensor) -> Tensor:
    """Return a field (3, d, h, w) smoothed where it folds, or nearly so, `around` a body."""
    for _ in range(MAX_SMOOTHINGS):
        tight = (_jacobian_determinant(field) < MIN_JACOBIAN) & around
        if not tight.any():
            break
        where = (F.max_pool3d(tight[None].float(), 5, 1, 2)[0] > 0) & around
        field = torch.where(where, _smooth(field), field)
    return field


def _jacobian_determinant(field: Tensor) -> Tensor:
    """Return the change of volume (d, h, w) by a displacement (3, d, h, w) in voxels."""
    a, b, c = ([d + (n == axis) for n, d in enumerate(torch.gradient(part))] for axis, part in enumerate(field))
    determinant = a[0] * (b[1] * c[2] - b[2] * c[1])
    determinant -= a[1] * (b[0] * c[2] - b[2] * c[0])
    return determinant.add_(a[2] * (b[0] * c[1] - b[1] * c[0]))


def list_places(flow: Tensor, box: tuple[slice, slice, slice] = (slice(None),) * 3) -> Tensor:
    """Return the voxel indices (3, d, h, w) of a field (3, D, H, W), or in a box of it."""
    axes = [torch.arange(n, dtype=flow.dtype, device=flow.device)[s] for s, n in zip(box, flow.shape[1:], strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _fit_rigid(place: Tensor, moved: Tensor, index: Tensor) -> Tensor:
    """Return the points (3, N) moved by the rigid transform that takes those at `index` nearest to `moved` (3, N)."""
    a, b = place[:, index].double(), moved[:, index].double()
    centres = a.mean(1, keepdim=True), b.mean(1, keepdim=True)
    left, _, right = torch.linalg.svd((b - centres[1]) @ (a - centres[0]).T)
    left[:, 2] *= torch.linalg.det(left @ right).sign()  # no mirroring
    return (left @ right @ (place.double() - centres[0]) + centres[1]).to(place.dtype)
