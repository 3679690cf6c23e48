"""Sliding window: large pictures through a network in overlapping tiles, blended so that no seam shows.

`monai.inferers` is not used: labels go in beside the image, and MONAI would be the app's only use of a large library.
"""

from collections.abc import Callable

import torch
from torch import Tensor

MAX_WHOLE_SIDE = 1024  # pixels up to which a picture is not cut into tiles
TILE_SIDE = 768
TILE_OVERLAP = 128


def run_tiled(
    net: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    step: Callable[[float], None] = lambda share: None,
    *,
    whole: int = MAX_WHOLE_SIDE,
    side: int = TILE_SIDE,
    overlap: int = TILE_OVERLAP,
) -> Tensor:
    """Return `net(x, labels)` of (1, C, H, W) float32 and (1, H, W), in tiles where a side is longer than `whole`.

    Tiles of `side` pixels overlap by at least `overlap`; there the weight passes linearly from one to the next.
    `step(share)` is called before each tile; an exception from it ends the work.
    """
    height, width = x.shape[2:]
    if max(height, width) <= whole:
        step(0.0)
        return net(x, labels)
    boxes = [
        (top, left)
        for top in find_tile_starts(height, side, overlap)
        for left in find_tile_starts(width, side, overlap)
    ]
    total = weight = torch.zeros(0)
    for number, (top, left) in enumerate(boxes):
        step(number / len(boxes))
        box = (..., slice(top, top + side), slice(left, left + side))
        out = net(x[box].contiguous(), labels[box].contiguous())
        if not number:
            total, weight = torch.zeros(1, out.shape[1], height, width), torch.zeros(height, width)
        share = make_blend_weights(out.shape[2], overlap)[:, None] * make_blend_weights(out.shape[3], overlap)
        total[box] += out * share
        weight[box] += share
    return total.div_(weight)


def find_tile_starts(length: int, side: int, overlap: int) -> list[int]:
    """Return where tiles of `side` begin so that they cover `length` and overlap by at least `overlap`."""
    if length <= side:
        return [0]
    count = -(-(length - overlap) // (side - overlap))
    return [round(n * (length - side) / (count - 1)) for n in range(count)]


def make_blend_weights(length: int, overlap: int) -> Tensor:
    """Return (length,) weights that rise linearly over `overlap` pixels from either end, never 0."""
    positions = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(positions, positions.flip(0)).clamp(max=overlap) / overlap
