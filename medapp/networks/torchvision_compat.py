"""Import torchvision where its compiled part does not load, as a wheel for CUDA beside a torch for the CPU.

segment-anything and timm import torchvision; of the compiled part they need non-maximum suppression alone.
"""

import importlib
import sys
from typing import Any

import torch
from torch import Tensor

_libraries: list[torch.library.Library] = []  # an operator exists as long as its library


def import_torchvision() -> None:
    """Import torchvision, with `suppress_non_maxima` in place of its `nms` if that does not load."""
    if "torchvision" in sys.modules:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _libraries.append(library)
        boxes: Any = importlib.import_module("torchvision.ops.boxes")
        boxes.nms = suppress_non_maxima


def suppress_non_maxima(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Suppress boxes (N, 4) as x0 y0 x1 y1 that overlap a better one; return the indices of the rest, best first."""
    order = scores.argsort(descending=True, stable=True)
    boxes = boxes[order].float()
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    low, high = torch.max(boxes[:, None, :2], boxes[None, :, :2]), torch.min(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    covers = shared / (area[:, None] + area[None] - shared).clamp(min=1e-9) > iou_threshold
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for number in range(len(boxes)):
        if alive[number]:
            alive[number + 1 :] &= ~covers[number, number + 1 :]
    return order[alive]
