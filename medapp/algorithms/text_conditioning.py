"""Steering: from the visitor's words to the network's filters, and what two sets of words make of the same pair."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from medapp.algorithms.brain_pair import Pair
from medapp.algorithms.deformable_refinement import refine_field
from medapp.algorithms.field_prediction import predict_network_field, to_deformation
from medapp.algorithms.region_prompts import PROMPT_TEMPLATE, make_prompts, parse_names
from medapp.algorithms.text_encoder import encode_prompts, fit_embedding_map, load_clip, make_encoder
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.result import Metric, Result, Table

OWN_ENCODER = "medapp's own"
CLIP_ENCODERS = {"CLIP ViT-L/14@336px": "vit", "CLIP RN50x64": "res"}
PROMPT_TABLE_COLUMNS = ("region", "network, A to B (mm)", "result, A to B (mm)")
PROMPT_TABLE_HELP = (
    "How far the displacements under the prompts A and B part, on average over each region of the fixed image."
)


@dataclass(frozen=True)
class PredictedField:
    """What one set of prompts gives, on the prepared grid, in voxels of 1 mm."""

    raw: Tensor  # (3, D, H, W) the network's displacement
    flow: Tensor  # (3, D, H, W) the same after refinement, if there is any


def make_filters(
    net: TextSCF, get_network: Callable, by: str, names: str, template: str
) -> tuple[Tensor, tuple[str, ...]]:
    """The filters (3, 36, 2n) that the words make, and what is to be said of them. Raises InputError."""
    changed = parse_names(names)
    if by == OWN_ENCODER and not changed and template == PROMPT_TEMPLATE:
        return net.filters(), ()
    ours = make_encoder(get_network("text"))
    said = make_prompts(changed, template)
    if by == OWN_ENCODER:
        text, notes = encode_prompts(ours, said), list[str]()
    else:
        theirs = load_clip(CLIP_ENCODERS[by])
        bridge = fit_embedding_map(theirs, ours)
        text = encode_prompts(theirs, said, bridge)
        notes = [
            f"{by} reads the words; a linear bridge takes them to the space that the network knows, with an error of "
            f"{bridge.residual:.0%} on sentences kept aside, {bridge.nearest:.0%} of them nearest to their own region."
        ]
    if changed:
        notes.append("Words changed for: " + ", ".join(CLASS_NAMES[label] for label in sorted(changed)) + ".")
    return net.filters(text.to(net.text.device)), tuple(notes)


def predict_field(
    net: TextSCF, pair: Pair, filters: Tensor, refined: bool, progress: Callable[[float, str], None]
) -> PredictedField:
    """What the network makes of a pair with these filters, and what refinement makes of that."""
    moving, fixed, gone, there = (
        torch.tensor(np.array(volume.array), device=filters.device)
        for volume in (pair.moving, pair.fixed, pair.moving_regions, pair.fixed_regions)
    )
    raw = predict_network_field(net, moving, fixed, there, filters)
    if not refined:
        return PredictedField(raw, raw)
    flow = refine_field(moving, fixed, raw, progress=lambda share: progress(share, "Refining"), regions=(gone, there))
    return PredictedField(raw, flow)


def compare_prompts(
    result: Result, pair: Pair, first: PredictedField, second: PredictedField, moving: Volume
) -> Result:
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
    table = Table(PROMPT_TABLE_COLUMNS, rows, PROMPT_TABLE_HELP)
    native = to_deformation(second.flow, pair.grid).resample(fixed.grid)
    between = np.sqrt(np.square(native.vectors - result.deformation.vectors).sum(0))
    volumes = {
        "warped_b": replace(native.warp(moving, pair.affine), name="warped, prompts B", headers=()),
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
