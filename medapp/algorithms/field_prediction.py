"""Field prediction: the network's displacement of a prepared pair, and its conversion from voxels to mm."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.hardware import choose_half_precision
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid
from medapp.networks.textscf import Flow, TextSCF, integrate_velocity


def predict_flow(net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor, filters: Tensor) -> Flow:
    """Run `net.forward` with the backbone alone in 16 bits, since squaring a velocity needs more."""
    device = fixed.device.type
    dtype = choose_half_precision(device)
    with torch.autocast(device, dtype, enabled=dtype is not None):
        feature = net.extract_features(moving, fixed)
    raw = net.flow(feature.float(), regions[:, ::2, ::2, ::2].long(), filters)
    coarse = 2 * integrate_velocity(raw / 2)
    return Flow(F.interpolate(coarse, fixed.shape[2:], mode="trilinear", align_corners=False), coarse, raw, feature)


@torch.inference_mode()
def predict_network_field(
    net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor, filters: Tensor | None = None
) -> Tensor:
    """Return the displacement (3, D, H, W) in voxels of a pair (D, H, W) of 1 mm; the network sees it at 2 mm.

    `regions` (D, H, W) are those of the fixed image; `filters` replace those of the network's own prompts.
    """
    source, target = (F.avg_pool3d(image[None, None], 2) for image in (moving, fixed))
    filters = net.make_filters() if filters is None else filters
    flow = predict_flow(net, source, target, regions[None, ::2, ::2, ::2], filters).flow
    return 2 * F.interpolate(flow, fixed.shape, mode="trilinear", align_corners=False)[0]


def to_deformation(flow: Tensor, grid: Grid) -> Deformation:
    """Convert a displacement (3, D, H, W) in voxels of `grid` to a deformation in RAS+ mm."""
    matrix = torch.from_numpy(grid.affine[:3, :3].astype(np.float32))
    return Deformation(torch.tensordot(matrix, flow.float().cpu(), 1).numpy(), grid.affine)
