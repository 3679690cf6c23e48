"""Inversion of a displacement field."""

import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.field_filling import resize_field

MIN_SIZE = 32  # voxels: smaller fields are not halved
MAX_STEPS = 20  # on each grid
TOLERANCE = 0.01  # voxels of inverse-consistency error


@torch.no_grad()
def invert_field(flow: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the inverse displacement (3, D, H, W) of `flow` (3, D, H, W), both in voxels, and its error.

    The error (D, H, W), in voxels, is by how much a point misses itself after the inverse and then the field. Outside
    `where` (D, H, W) bool, by default everywhere, the inverse is only approximate and the error 0. Beyond the edge the
    field is replicated. The fixed-point iteration v <- -u(x + v) (Chen et al., Med Phys 2008) runs coarse to fine over
    the points that still miss, with half the step where it overshoots.
    """
    size = flow.shape[1:]
    if min(size) >= 2 * MIN_SIZE:
        half = [n // 2 for n in size]
        coarse = F.interpolate(flow[None], half, mode="trilinear", align_corners=False)[0] / 2
        inverse = resize_field(invert_field(coarse)[0], size) * 2
    else:
        inverse = -flow
    flat = inverse.reshape(3, -1).clone()
    error = flow.new_zeros(flat.shape[1])
    active = torch.arange(flat.shape[1], device=flow.device) if where is None else where.flatten().nonzero()[:, 0]
    index = torch.stack(torch.unravel_index(active, size)).float()
    now, step = flat[:, active], flow.new_ones(len(active))
    last = flow.new_full((len(active),), float("inf"))
    for _ in range(MAX_STEPS):
        miss = now + _sample_field(flow, index + now)
        length = miss.square().sum(0).sqrt_()
        better = length < last
        flat[:, active[better]], error[active[better]] = now[:, better], length[better]
        step = torch.where(better, step, step / 2)
        wrong = length > TOLERANCE
        if not wrong.any():
            break
        active, index, step, miss = active[wrong], index[:, wrong], step[wrong], miss[:, wrong]
        last = torch.minimum(length, last)[wrong]
        now = now[:, wrong] - step * miss
    return flat.view_as(flow), error.view(size)


def _sample_field(flow: Tensor, index: Tensor) -> Tensor:
    """Return the vectors (3, N) of `flow` (3, D, H, W) at the voxel indices (3, N)."""
    last = torch.tensor(flow.shape[1:], device=flow.device)[:, None] - 1
    places = (2 * index / last - 1).flip(0).T[None, None, None]
    return F.grid_sample(flow[None], places, padding_mode="border", align_corners=True)[0, :, 0, 0]
