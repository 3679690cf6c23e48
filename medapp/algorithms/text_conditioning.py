"""Steering: from the visitor's words to the network's filters, and what two sets of words make of the same pair."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medapp.algorithms.brain_pair import Pair
from medapp.algorithms.deformable_refinement import refine
from medapp.algorithms.field_prediction import in_millimetres, start
from medapp.algorithms.region_prompts import TEMPLATE, edited, prompts
from medapp.algorithms.text_encoder import build_bridge, clip, encoder, features
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.result import Metric, Result, Table

OWN = "medapp's own"
TOWERS = {"CLIP ViT-L/14@336px": "vit", "CLIP RN50x64": "res"}
COLUMNS = ("region", "network, A to B (mm)", "result, A to B (mm)")
ABOUT = "How far the displacements under the prompts A and B part, on average over each region of the fixed image."


@dataclass(frozen=True)
class Steered:
    """What one set of prompts gives, on the prepared grid, in voxels of 1 mm."""

    raw: Tensor  # (3, D, H, W) the network's displacement
    flow: Tensor  # (3, D, H, W) the same after refinement, if there is any


def filters(net: TextSCF, aid: Callable, by: str, names: str, template: str) -> tuple[Tensor, tuple[str, ...]]:
    """The filters (3, 36, 2n) that the words make, and what is to be said of them. Raises InputError."""
    changed = edited(names)
    if by == OWN and not changed and template == TEMPLATE:
        return net.filters(), ()
    ours = encoder(aid("text"))
    said = prompts(changed, template)
    if by == OWN:
        text, notes = features(ours, said), list[str]()
    else:
        theirs = clip(TOWERS[by])
        bridge = build_bridge(theirs, ours)
        text = features(theirs, said, bridge)
        notes = [
            f"{by} reads the words; a linear bridge takes them to the space that the network knows, with an error of "
            f"{bridge.residual:.0%} on sentences kept aside, {bridge.nearest:.0%} of them nearest to their own region."
        ]
    if changed:
        notes.append("Words changed for: " + ", ".join(CLASS_NAMES[label] for label in sorted(changed)) + ".")
    return net.filters(text.to(net.text.device)), tuple(notes)


def bent(net: TextSCF, pair: Pair, filters: Tensor, refined: bool, progress: Callable[[float, str], None]) -> Steered:
    """What the network makes of a pair with these filters, and what refinement makes of that."""
    moving, fixed, gone, there = (
        torch.tensor(np.array(volume.array), device=filters.device)
        for volume in (pair.moving, pair.fixed, pair.moving_regions, pair.fixed_regions)
    )
    raw = start(net, moving, fixed, there, filters)
    if not refined:
        return Steered(raw, raw)
    flow = refine(moving, fixed, raw, progress=lambda share: progress(share, "Refining"), regions=(gone, there))
    return Steered(raw, flow)


def compared(result: Result, pair: Pair, first: Steered, second: Steered, moving: Volume) -> Result:
    """The result with what the other prompts would have made of the pair: their image and how far the fields part."""
    if result.deformation is None:
        raise ValueError("a registration without a deformation")
    fixed = result.volumes["fixed"]
    regions = pair.fixed_regions.array
    apart = [
        torch.linalg.vector_norm(b - a, dim=0).cpu().numpy()
        for a, b in ((first.raw, second.raw), (first.flow, second.flow))
    ]
    count = np.maximum(np.bincount(regions.ravel(), minlength=len(CLASS_NAMES)), 1)
    means = [np.bincount(regions.ravel(), each.ravel(), len(CLASS_NAMES)) / count for each in apart]
    rows = tuple(
        (CLASS_NAMES[n], *(round(float(mean[n]), 3) for mean in means))
        for n in range(1, len(CLASS_NAMES))
        if (regions == n).any()
    )
    table = Table(COLUMNS, rows, ABOUT)
    native = in_millimetres(second.flow, pair.grid).resample(fixed.grid)
    between = np.sqrt(np.square(native.vectors - result.deformation.vectors).sum(0))
    volumes = {
        "warped_against": replace(native.warp(moving, pair.affine), name="warped, prompts B", headers=()),
        "between": Volume(between, fixed.affine, name="A to B", unit="mm"),
    }
    inside = pair.fixed.array > 0
    metrics = {
        "prompts_network": Metric(round(float(apart[0][inside].mean()), 3), "mm"),
        "prompts": Metric(round(float(apart[1][inside].mean()), 3), "mm"),
    }
    return replace(
        result,
        volumes={**result.volumes, **volumes},
        metrics={**result.metrics, **metrics},
        tables={**result.tables, "prompts": table},
    )
