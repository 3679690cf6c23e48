"""Text conditioning: from prompts to the network's filters, and how two sets of prompts differ on the same pair."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.brain_pair import Pair
from medapp.algorithms.deformable_refinement import refine_field
from medapp.algorithms.field_filling import fill_field
from medapp.algorithms.field_prediction import predict_network_field, to_deformation
from medapp.algorithms.region_prompts import PROMPT_TEMPLATE, SPOKEN_NAMES, make_prompts, parse_names
from medapp.algorithms.steering import NO_STEERING, Steering
from medapp.algorithms.text_encoder import encode_prompts, fit_embedding_map, load_clip, make_encoder
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.result import Metric, Result, Table

OWN_ENCODER = "medapp's own"
CLIP_ENCODERS = {"CLIP ViT-L/14@336px": "vit", "CLIP RN50x64": "res"}
PROMPT_TABLE_COLUMNS = ("region", "network, A to B (mm)", "result, A to B (mm)")
PROMPT_TABLE_HELP = (
    "Distance between the displacements under the prompts A and B, on average over each region of the fixed image."
)


NEAREST = 5  # regions that are listed for the words of a prompt
SIMILARITY_COLUMNS = ("prompt", "region", "cosine")
SIMILARITY_HELP = "The cosine of the words of each changed prompt to the usual prompts of the regions nearest to them."


class TextFilters(NamedTuple):
    """The filters (3, 36, 2n) of a set of prompts, notes on them, and what the words of changed ones are nearest to.

    `similarity` holds a row for each of SIMILARITY_COLUMNS.
    """

    filters: Tensor
    notes: tuple[str, ...] = ()
    similarity: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True)
class PredictedField:
    """The field of one set of prompts, on the prepared grid, in voxels of 1 mm."""

    raw: Tensor  # (3, D, H, W) the network's displacement
    flow: Tensor  # (3, D, H, W) the same after refinement, if there is any


def make_filters(net: TextSCF, get_network: Callable, encoder: str, names: str, template: str) -> TextFilters:
    """Return the filters of the prompts. Raises InputError if the encoder does not fit."""
    changed = parse_names(names)
    if encoder == OWN_ENCODER and not changed and template == PROMPT_TEMPLATE:
        return TextFilters(net.make_filters())
    own_encoder = make_encoder(get_network("text"))
    prompts = make_prompts(changed, template)
    if encoder == OWN_ENCODER:
        text, notes = encode_prompts(own_encoder, prompts), list[str]()
    else:
        clip_encoder = load_clip(CLIP_ENCODERS[encoder])
        embedding_map = fit_embedding_map(clip_encoder, own_encoder)
        text = encode_prompts(clip_encoder, prompts, embedding_map)
        notes = [
            f"{encoder} encodes the prompts; a linear map takes its embeddings to the network's space, with an error "
            f"of {embedding_map.residual:.0%} on held-out sentences, {embedding_map.nearest:.0%} of them nearest "
            "to their own region."
        ]
    if changed:
        notes.append("Prompts changed for: " + ", ".join(CLASS_NAMES[label] for label in sorted(changed)) + ".")
    text = text.to(net.text.device)
    similarity = tuple(row for label, name in changed.items() for row in _list_nearest(net, text[label], label, name))
    return TextFilters(net.make_filters(text), tuple(notes), similarity)


def _list_nearest(net: TextSCF, words: Tensor, label: int, name: str) -> list[tuple[str, str, float]]:
    """Return a row for each of the regions whose usual prompts are nearest to an embedding (d,)."""
    cosines = F.cosine_similarity(net.text[1:], words[None], dim=1)
    nearest = cosines.topk(NEAREST)
    return [
        (f"{SPOKEN_NAMES[label]} = {name}", SPOKEN_NAMES[int(at) + 1], round(float(value), 3))
        for value, at in zip(nearest.values, nearest.indices, strict=True)
    ]


def tabulate_similarity(sets: Mapping[str, TextFilters]) -> Table | None:
    """Return what the words of changed prompts are nearest to, of sets of prompts by their names; None if there are
    none.
    """
    rows = tuple((f"{name}: {row[0]}", *row[1:]) for name, each in sets.items() for row in each.similarity)
    return Table(SIMILARITY_COLUMNS, rows, SIMILARITY_HELP) if rows else None


def predict_field(
    net: TextSCF,
    pair: Pair,
    filters: Tensor,
    refined: bool,
    progress: Callable[[float, str], None],
    steering: Steering = NO_STEERING,
) -> PredictedField:
    """Predict the field of a pair with these filters, and refine it if `refined`."""
    moving, fixed, moving_regions, fixed_regions = (
        torch.tensor(np.array(volume.array), device=filters.device)
        for volume in (pair.moving, pair.fixed, pair.moving_regions, pair.fixed_regions)
    )
    if steering.ignored is None:
        raw = predict_network_field(net, moving, fixed, fixed_regions, filters)
    else:
        seen = hide_ignored(moving, fixed, *steering.ignored)
        raw = predict_network_field(net, *seen, fixed_regions, filters)
        raw = fill_field(raw, steering.ignored[0] | steering.ignored[1])
    if not refined:
        return PredictedField(raw, raw if steering.hold is None else steering.hold(raw))
    flow = refine_field(
        moving,
        fixed,
        raw,
        progress=lambda share: progress(share, "Refining"),
        regions=(moving_regions, fixed_regions),
        steering=steering,
    )
    return PredictedField(raw, flow)


def hide_ignored(moving: Tensor, fixed: Tensor, in_moving: Tensor, in_fixed: Tensor) -> tuple[Tensor, Tensor]:
    """Return both images (D, H, W) with the same content where one is ignored, so that they do not differ there."""
    fixed = torch.where(in_fixed, moving, fixed)
    return torch.where(in_moving, fixed, moving), fixed


def compare_prompts(
    result: Result, pair: Pair, first: PredictedField, second: PredictedField, moving: Volume
) -> Result:
    """Add to the result the image warped with the other prompts, and how far the two fields are apart."""
    if result.deformation is None:
        raise ValueError("the registration has no deformation")
    fixed = result.volumes["fixed"]
    regions = pair.fixed_regions.array
    distances = [
        torch.linalg.vector_norm(b - a, dim=0).cpu().numpy()
        for a, b in ((first.raw, second.raw), (first.flow, second.flow))
    ]
    count = np.maximum(np.bincount(regions.ravel(), minlength=len(CLASS_NAMES)), 1)
    means = [np.bincount(regions.ravel(), each.ravel(), len(CLASS_NAMES)) / count for each in distances]
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
        "prompts_network": Metric(round(float(distances[0][inside].mean()), 3), "mm"),
        "prompts": Metric(round(float(distances[1][inside].mean()), 3), "mm"),
    }
    return replace(
        result,
        volumes={**result.volumes, **volumes},
        metrics={**result.metrics, **metrics},
        tables={**result.tables, "prompts": table},
    )
