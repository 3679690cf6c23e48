"""Tokens gathered by region, so that those of a region attend to each other and to no others."""

from typing import NamedTuple

import torch
from torch import Tensor

BUNDLE_SIZES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)  # tokens to which regions are padded


class Bundle(NamedTuple):
    """Regions padded to one size: `index` (R, L) of tokens, `mask` (R, 1, 1, L) of what is not padding, or None."""

    index: Tensor
    mask: Tensor | None


class Plan(NamedTuple):
    """Which tokens attend to each other: the bundles, and the place of each token in all bundles concatenated."""

    bundles: list[Bundle]
    inverse: Tensor  # (B * H * W,)


def plan_attention(labels: Tensor, limit: int | None = None) -> Plan:
    """Gather the tokens of every region of integer labels (B, H, W).

    A region of more than `limit` tokens is divided by a lattice of squares into parts that fit. Parts of one region
    that do not touch still attend to each other.
    """
    batch, height, width = labels.shape
    device = labels.device
    labels = labels.long()
    key = labels - labels.amin()
    key = key + (key.amax() + 1) * torch.arange(batch, device=device)[:, None, None]
    key = key.flatten()
    if limit and len(key) > limit:
        key = key.unique(return_inverse=True)[1]
        large = key.bincount()[key] > limit
        side = max(int(limit**0.5), 1)
        across = -(-width // side)
        square = torch.arange(height, device=device)[:, None] // side * across
        square = (square + torch.arange(width, device=device) // side).repeat(batch, 1, 1).flatten() + 1
        key = key * (square.amax() + 1) + square * large
    order = key.argsort(stable=True)
    counts = key[order].unique_consecutive(return_counts=True)[1]
    starts = (counts.cumsum(0) - counts).tolist()
    groups: dict[int, list[int]] = {}
    sizes = counts.tolist()
    for number, size in enumerate(sizes):
        groups.setdefault(next((s for s in BUNDLE_SIZES if s >= size), size), []).append(number)
    bundles, indices = [], []
    for length, members in sorted(groups.items()):
        count = torch.tensor([sizes[m] for m in members], device=device)[:, None]
        first = torch.tensor([starts[m] for m in members], device=device)[:, None]
        place = torch.arange(length, device=device)[None]
        is_token = place < count  # (R, L)
        index = order[first + torch.where(is_token, place, 0)]
        bundles.append(Bundle(index, None if bool(is_token.all()) else is_token[:, None, None]))
        indices.append(torch.where(is_token, index, -1).flatten())
    flat = torch.cat(indices)
    inverse = torch.empty_like(order)
    real = (flat >= 0).nonzero()[:, 0]
    inverse[flat[real]] = real
    return Plan(bundles, inverse)
