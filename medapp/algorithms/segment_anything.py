"""Segmentation by Segment Anything: of everything in a picture, or of what lies at a point.

The settings suit medical images, of which the defaults find almost nothing: 8 points per side or more, predicted IoU
above 0.75, stability at least 0.85. The networks are in `networks/mobilesam.py`, their fast decoder in
`networks/sam_decoder.py`.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from medapp.card import Network, Weights
from medapp.hardware import choose_half_precision
from medapp.imaging.index_maps import masks_to_index_map
from medapp.networks import torchvision_compat
from medapp.networks.mobilesam import build_mobilesam, build_sam
from medapp.networks.sam_decoder import decode_masks

MIN_IOU = 0.75  # predicted intersection over union
MIN_STABILITY = 0.85
MIN_TRUST = 0.85  # of the best score: a mask of at least so much is as sensible
MAX_LIKENESS = 0.9  # intersection over union, from which two masks count as one
MAX_SHARE = 0.95  # of the picture, from which a mask says nothing
POINTS_PER_BATCH = 8  # more need more memory, not less time

_META = ("ybelkada/segment-anything", "main")
SAM_NETWORKS = {
    "mobilesam": Network(
        Weights(
            "mobilesam.safetensors",
            "medapp/mobilesam",
            "v0.1.0",
            "59b9e76adc0826a7660ea03f1d8db6c5b08ab9ec7eca1eea144a27960549577a",
        ),
        build_mobilesam,
    ),
    "sam_vit_b": Network(
        Weights(
            "checkpoints/sam_vit_b_01ec64.pth",
            *_META,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            third_party=True,
        ),
        partial(build_sam, "vit_b"),
    ),
    "sam_vit_l": Network(
        Weights(
            "checkpoints/sam_vit_l_0b3195.pth",
            *_META,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            third_party=True,
        ),
        partial(build_sam, "vit_l"),
    ),
    "sam_vit_h": Network(
        Weights(
            "checkpoints/sam_vit_h_4b8939.pth",
            *_META,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            third_party=True,
        ),
        partial(build_sam, "vit_h"),
    ),
}
Progress = Callable[[float], None]


def segment_everything(
    net: Any, picture: np.ndarray, points_per_side: int = 8, progress: Progress | None = None
) -> np.ndarray:
    """Segment everything in a picture (H, W, 3) uint8; return an index map int32 (H, W).

    Segment Anything is prompted on a grid of `points_per_side` points in each direction. `progress(share)` is called
    before every batch of points.
    """
    torchvision_compat.import_torchvision()
    from segment_anything import SamAutomaticMaskGenerator

    generator = SamAutomaticMaskGenerator(
        net,
        points_per_side=points_per_side,
        points_per_batch=POINTS_PER_BATCH,
        pred_iou_thresh=MIN_IOU,
        stability_score_thresh=MIN_STABILITY,
    )
    generator.predictor = _predictor_class()(net, -(-(points_per_side**2) // POINTS_PER_BATCH), progress)
    masks = [each["segmentation"] for each in generator.generate(np.ascontiguousarray(picture))]
    return masks_to_index_map(masks, picture.shape[:2])


def segment_at_points(net: Any, picture: np.ndarray, points_xy: Sequence[tuple[float, float]]) -> list[np.ndarray]:
    """Segment what lies at the points (column, row) of a picture (H, W, 3) uint8, all together.

    Segment Anything gives three masks, of a part, of the whole, and of more. Of each, what is connected with a point
    counts; masks of nearly the whole picture count only where there is nothing else. Returns (H, W) bool: the smallest
    that is trusted, then those that are larger and not nearly the same as the one before.
    """
    torchvision_compat.import_torchvision()
    from segment_anything import SamPredictor

    predictor = SamPredictor(net)
    predictor.set_image(np.ascontiguousarray(picture))
    coordinates = np.asarray(points_xy, np.float32)
    masks, scores, _ = predictor.predict(coordinates, np.ones(len(coordinates), int), multimask_output=True)
    return choose_masks(np.array([connected_parts(mask, points_xy) for mask in masks]), scores)


def choose_masks(masks: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    """Choose among masks (N, H, W) bool with a score each, see `segment_at_points`; none that is empty."""
    areas = np.count_nonzero(masks, axis=(1, 2))
    is_part = (areas > 0) & (areas < MAX_SHARE * masks[0].size)
    counts = is_part if is_part.any() else areas > 0
    masks, scores, areas = masks[counts], scores[counts], areas[counts]
    if not len(masks):
        return []
    smallest = areas[scores >= MIN_TRUST * scores.max()].min()
    chosen: list[np.ndarray] = []
    for mask in masks[np.argsort(areas, kind="stable")]:
        is_like = chosen and (mask & chosen[-1]).sum() > MAX_LIKENESS * (mask | chosen[-1]).sum()
        if mask.sum() >= smallest and not is_like:
            chosen.append(mask)
    return chosen


def connected_parts(mask: np.ndarray, points_xy: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return those parts of a mask (H, W) bool that hold a point (column, row)."""
    parts = ndimage.label(mask, np.ones((3, 3)))[0]
    held = [parts[int(row), int(column)] for column, row in points_xy]
    return mask & np.isin(parts, held)


@cache
def _predictor_class() -> type:
    """Return a predictor that decodes only the masks which the generator may keep, and reports its progress.

    It serves the generator alone: single points, no boxes, no masks. The decoder runs in 16 bits where the device is
    fast at that; the encoder does not, since bfloat16 there changes the regions more than 1 HU of noise would.
    """
    from segment_anything import SamPredictor

    class Predictor(SamPredictor):
        def __init__(self, net: Any, batches: int, progress: Progress | None) -> None:
            super().__init__(net)
            self.done, self.batches, self.progress = 0, batches, progress
            self.features: Any = None
            self.dtype = choose_half_precision(self.device.type) or torch.float32

        def predict_torch(self, point_coords, point_labels, boxes=None, mask_input=None, multimask_output=True,
                          return_logits=False):  # fmt: skip
            if self.progress:
                self.progress((self.done + 1) / (self.batches + 2))  # the encoder takes about as long as one batch
            self.done += 1
            single = self.device.type == "cpu" and self.dtype == torch.float32  # one point fits the processor's cache
            groups = point_coords[:, 0].split(1 if single else len(point_coords))
            decoded = [decode_masks(self.model, self.features, group, MIN_IOU, self.dtype) for group in groups]
            scores, is_kept = (torch.cat([each[number] for each in decoded]) for number in (0, 1))
            small = torch.cat([each.masks for each in decoded])
            masks = small.new_full((*scores.shape, *self.original_size), -100.0)
            if len(small):
                masks[is_kept] = enlarge_logits(self.model, small, self.input_size, self.original_size)
            return (masks if return_logits else masks > self.model.mask_threshold), scores, small

    return Predictor


def enlarge_logits(
    model: Any, small: torch.Tensor, input_size: tuple[int, int], original_size: tuple[int, int]
) -> torch.Tensor:
    """Resize logits (N, 256, 256) of `model` to the picture's `original_size`, (N, H, W).

    It goes through the size of the encoder's input, as Segment Anything does, only where that makes a difference.
    """
    side, (height, width) = max(original_size), original_size
    if model.image_encoder.img_size in (side, 2 * side):
        large = functional.interpolate(small[:, None], (side, side), mode="bilinear", align_corners=False)
        return large[:, 0, :height, :width]
    return model.postprocess_masks(small[:, None], input_size, original_size)[:, 0]
