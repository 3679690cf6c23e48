"""Filling of fields and images where nothing is known of them, from around; and fields on other grids."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_WEIGHT = 1e-3  # by which a sum is divided at least


def fill_field(flow: Tensor, hole: Tensor) -> Tensor:
    """Return the field (C, D, H, W) with the vectors in the hole (D, H, W) bool interpolated from around, coarse to
    fine.
    """
    kept = (~hole).float()
    return flow if not hole.any() else _fill(flow * kept, kept)


def pool_kept(image: Tensor, kept: Tensor | None, factor: int) -> Tensor:
    """Return the means (d, h, w) of blocks of (D, H, W); of the share of each voxel that is `kept`, where given."""
    if kept is None:
        return F.avg_pool3d(image[None], factor)[0]
    weighted, share = F.avg_pool3d(torch.stack([image * kept, kept]), factor)
    return weighted / share.clamp(min=MIN_WEIGHT)


def _fill(weighted: Tensor, weight: Tensor) -> Tensor:
    """Return (C, D, H, W) / (D, H, W), with values of a coarser grid where the weight is less than 1."""
    if min(weight.shape) < 2 or weight.min() >= 1:
        return weighted / weight.clamp(min=MIN_WEIGHT)
    coarse = _fill(F.avg_pool3d(weighted, 2, ceil_mode=True), F.avg_pool3d(weight[None], 2, ceil_mode=True)[0])
    return weighted + (1 - weight) * resize_field(coarse, weight.shape)


def resize_field(flow: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate a field (C, D, H, W) to `size`; its values are not scaled."""
    if tuple(flow.shape[1:]) == tuple(size):
        return flow
    return F.interpolate(flow[None], size=tuple(size), mode="trilinear", align_corners=False)[0]
