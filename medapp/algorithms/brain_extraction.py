"""Brain extraction: find the brain in a head on any grid, coarsely at first, then on 1 mm voxels."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medapp.analysis.mask_metrics import fill_holes, find_bounding_box, label_components
from medapp.hardware import choose_half_precision
from medapp.imaging.geometry import crop_grid, reorient, resample, with_isotropic_spacing
from medapp.imaging.intensity import BLACK_TO_TISSUE, STANDARD_RANGE, clip_bright, standardize
from medapp.imaging.volume import Grid, Volume
from medapp.networks.coarse_to_fine import COARSE_MM, FINE_MM, make_fine_input

COARSE_SPACING = 3.0  # mm, of the first network
FINE_SPACING = 1.0  # mm, of the second
NETWORK_STRIDES = {"coarse": 16, "fine": 8}  # voxels: the sides of their inputs are multiples
FINE_MARGIN = 9.0  # mm around the brain that the coarse network finds
EDGE_DISTANCE = 0.3  # mm: least distance from the border of a filled hole, or of a removed component
BLACK_LEVEL = 1e-3  # share of the range of an image, above its minimum
OUTSIDE_DISTANCE = -10.0  # mm: distance assumed for voxels that were not seen


class ExtractedBrain(NamedTuple):
    """The mask of the brain (1) on the grid of the head, and the ml that looked like brain but lie apart from it."""

    mask: Volume
    left_out_ml: float


class BrainDistance(NamedTuple):
    """The signed distance in mm inwards from the border of the largest component, and the ml of all others."""

    inwards: Volume
    left_out_ml: float


def extract_brain(
    net, head: Volume, *, progress: Callable[[float, str], None] = lambda share, stage: None
) -> ExtractedBrain:
    """Find the brain: one component without holes, with the fluid of its sulci and ventricles.

    `net` is a `CoarseToFine` or an engine around one, `head` an MR image with or without the skull. The mask is empty
    if no brain is found.
    """
    distance = predict_distance(net, head, progress=progress)
    progress(0.8, "Resampling to the input grid")
    mask = find_inside(distance.inwards, head.grid).view(np.uint8)
    return ExtractedBrain(
        head.new_like(mask, labels={1: "brain"}, name="brain", unit="", remarks=()), distance.left_out_ml
    )


def predict_distance(
    net, head: Volume, *, progress: Callable[[float, str], None] = lambda share, stage: None
) -> BrainDistance:
    """Find the border of the brain, coarsely and then finely; `net` and `head` are those of `extract_brain`."""
    progress(0.0, "Finding the brain")
    coarse = predict_coarse_distance(net, head)
    progress(0.3, "Finding the border of the brain")
    fine = predict_fine_distance(net, head, coarse.inwards)
    return BrainDistance(fine.inwards, max(coarse.left_out_ml, fine.left_out_ml))


def find_inside(inwards: Volume, onto: Grid) -> np.ndarray:
    """Find where a distance inwards is above 0 on another grid, (I, J, K) bool; only its own box is resampled."""
    index = onto.to_index(inwards.grid.corners)
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - 1, 0, np.array(onto.shape) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + 2, low + 1, onto.shape)
    inside = np.zeros(onto.shape, bool)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    inside[box] = resample(inwards, crop_grid(onto, low, high), outside=OUTSIDE_DISTANCE).array > 0
    return inside


def predict_coarse_distance(net, head: Volume) -> BrainDistance:
    """Find the brain on COARSE_SPACING voxels.

    Their grid covers the image without its black margin, see `find_foreground_box`.
    """
    resampled = resample(
        head, with_isotropic_spacing(reorient(head.grid), COARSE_SPACING), outside=float(head.array.min())
    )
    box = find_foreground_box(resampled.array)
    grid = crop_grid(resampled.grid, np.array([s.start for s in box]), np.array([s.stop for s in box]))
    resampled = resampled.new_like(resampled.array[box], affine=grid.affine)
    image = torch.from_numpy(standardize(clip_bright(resampled.array)))
    distance = run_network(net, "coarse", image[None], [float(image.min())]) * COARSE_MM
    others = label_components(distance > 0)[0] > 1
    inwards = resampled.new_like(np.where(others, OUTSIDE_DISTANCE, distance), name="distance", unit="mm", remarks=())
    return BrainDistance(inwards, float(others.sum()) * grid.voxel_ml)


def find_foreground_box(array: np.ndarray) -> tuple[slice, ...]:
    """Return the box of (X, Y, Z) outside which every voxel is black; the whole array if it is constant."""
    low, high = float(array.min()), float(array.max())
    return (
        find_bounding_box(array > low + BLACK_LEVEL * (high - low))
        if high > low
        else tuple(slice(0, n) for n in array.shape)
    )


def predict_fine_distance(net, head: Volume, coarse: Volume) -> BrainDistance:
    """Find the border on FINE_SPACING voxels around the brain, from the image and the `coarse` distance inwards.

    Holes are filled. `coarse` is returned as it is if there is no brain in it.
    """
    if not (coarse.array > 0).any():
        return BrainDistance(coarse, 0.0)
    grid = crop_around_brain(coarse, with_isotropic_spacing(reorient(head.grid), FINE_SPACING))
    coarse_distance = torch.tensor(resample(coarse, grid, outside=OUTSIDE_DISTANCE).array)
    image = normalize_to_brain(
        torch.tensor(resample(head, grid, outside=float(head.array.min())).array), coarse_distance > 0
    )
    x = make_fine_input(image[None, None], coarse_distance[None, None])[0]
    distance = run_network(net, "fine", x, [-BLACK_TO_TISSUE, -1.0]) * FINE_MM
    brain = keep_largest_component(distance > 0)
    inwards = np.where(brain, np.maximum(distance, EDGE_DISTANCE), np.minimum(distance, -EDGE_DISTANCE))
    left_out = np.count_nonzero((distance > 0) & ~brain) * grid.voxel_ml
    return BrainDistance(Volume(inwards, grid.affine), left_out)


def crop_around_brain(coarse: Volume, grid: Grid) -> Grid:
    """Return the part of `grid` that holds the coarse brain and FINE_MARGIN around it, as far as the grid goes."""
    box = find_bounding_box(coarse.array > 0)
    index = np.linalg.inv(grid.affine) @ coarse.affine  # axes are parallel
    ends = np.array([[s.start - 0.5, s.stop - 0.5] for s in box])
    low, high = (ends[:, k] * np.diag(index)[:3] + index[:3, 3] for k in (0, 1))
    margin = FINE_MARGIN / np.array(grid.spacing)
    low = np.clip(np.floor(low - margin).astype(int), 0, np.array(grid.shape) - 1)
    return crop_grid(grid, low, np.clip(np.ceil(high + margin).astype(int), low + 1, grid.shape))


def normalize_to_brain(image: Tensor, brain: Tensor) -> Tensor:
    """Scale (X, Y, Z) to -BLACK_TO_TISSUE at its minimum and 0 at the median of `brain`, and clip the bright end."""
    low = image.min()
    level = image[brain].median() - low if brain.any() else image.max() - low
    return (BLACK_TO_TISSUE * ((image - low) / level.clamp(min=1e-6) - 1)).clamp(max=STANDARD_RANGE[1])


def run_network(net, part: str, x: Tensor, outside: Sequence[float]) -> np.ndarray:
    """Return logits (X, Y, Z) of one part of the network for (C, X, Y, Z); channels are padded with `outside`."""
    padding = [(-n) % NETWORK_STRIDES[part] for n in x.shape[1:]]
    pads = [n for m in reversed(padding) for n in (m // 2, m - m // 2)]
    x = torch.stack([F.pad(channel, pads, value=value) for channel, value in zip(x, outside, strict=True)])[None]
    module = net.get_submodule(part)
    if isinstance(module, nn.Module):
        device = next(module.parameters()).device
        dtype = choose_half_precision(device.type)
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = module(x.to(device))
    else:
        logits = module(x)
    box = tuple(slice(m // 2, m // 2 + n - m) for m, n in zip(padding, x.shape[2:], strict=True))
    return logits[0, 0].float().cpu().numpy()[box]


def keep_largest_component(mask: np.ndarray) -> np.ndarray:
    """Return the largest component of (X, Y, Z) bool, its holes filled."""
    return fill_holes(label_components(mask)[0] == 1) if mask.any() else mask
