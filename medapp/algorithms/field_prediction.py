"""Field: the network's displacement of a prepared pair, and the way from voxels to millimetres."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.hardware import choose_half_precision
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid
from medapp.networks.textscf import Flow, TextSCF, integrate_velocity


def predict_flow(net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor, filters: Tensor) -> Flow:
    """What `net.forward` does, the backbone alone in 16 bits: the squaring of a velocity needs more."""
    place = fixed.device.type
    kind = choose_half_precision(place)
    with torch.autocast(place, kind, enabled=kind is not None):
        feature = net.backbone(moving, fixed)
    raw = net.flow(feature.float(), regions[:, ::2, ::2, ::2].long(), filters)
    coarse = 2 * integrate_velocity(raw / 2)
    return Flow(F.interpolate(coarse, fixed.shape[2:], mode="trilinear", align_corners=False), coarse, raw, feature)


@torch.inference_mode()
def predict_network_field(
    net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor, filters: Tensor | None = None
) -> Tensor:
    """The field (3, D, H, W) of a pair (D, H, W) of 1 mm, in voxels; the network sees it at 2 mm.

    `regions` (D, H, W) are those of the fixed image, `filters` those of other prompts than the network's own.
    """
    source, target = (F.avg_pool3d(image[None, None], 2) for image in (moving, fixed))
    filters = net.filters() if filters is None else filters
    flow = predict_flow(net, source, target, regions[None, ::2, ::2, ::2], filters).flow
    return 2 * F.interpolate(flow, fixed.shape, mode="trilinear", align_corners=False)[0]


def to_deformation(flow: Tensor, grid: Grid) -> Deformation:
    """From (3, D, H, W) in voxels of `grid` to a deformation in RAS+ millimetres."""
    turn = torch.from_numpy(grid.affine[:3, :3].astype(np.float32))
    return Deformation(torch.tensordot(turn, flow.float().cpu(), 1).numpy(), grid.affine)
