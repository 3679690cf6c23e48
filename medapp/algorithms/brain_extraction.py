"""Brain extraction: where the brain lies in a head on any grid, roughly at first, then to the millimetre."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medapp.algorithms.parcellation import fill_holes
from medapp.analysis.mask_metrics import find_bounding_box, label_components
from medapp.hardware import choose_half_precision
from medapp.imaging.geometry import crop_grid, reorient, resample, with_isotropic_spacing
from medapp.imaging.intensity import BLACK_TO_TISSUE, STANDARD_RANGE, clip_bright, standardize
from medapp.imaging.volume import Grid, Volume
from medapp.networks.coarse_to_fine import COARSE_MM, FINE_MM, make_fine_input

COARSE_SPACING = 3.0  # mm, of the first network
FINE_SPACING = 1.0  # mm, of the second
NETWORK_STRIDES = {"coarse": 16, "fine": 8}  # voxels, of which their sides must be multiples
FINE_MARGIN = 9.0  # mm around what the coarse network finds
EDGE_DISTANCE = 0.3  # mm inwards that a voxel filled up lies at least, and outwards one that is cleared
BLACK_LEVEL = 1e-3  # of the range of an image, above its minimum
OUTSIDE_DISTANCE = -10.0  # mm: how far outside the brain lies what was not looked at


def extract_brain(net, head: Volume, *, progress: Callable[[float, str], None] = lambda share, stage: None) -> Volume:
    """The brain (1) with the fluid of its sulci and ventricles, in one piece without holes, on the grid of `head`.

    `net` is a `CoarseToFine` or the engine round one, `head` an MR image with or without the skull. Empty where no
    brain is found.
    """
    progress(0.0, "Preparing the scan")
    rough = predict_coarse_distance(net, head)
    progress(0.3, "Finding the border of the brain")
    inwards = predict_fine_distance(net, head, rough)
    progress(0.8, "Drawing on the input's grid")
    mask = resample(inwards, head.grid, outside=OUTSIDE_DISTANCE).array > 0
    return head.new_like(mask.astype(np.uint8), labels={1: "brain"}, name="brain", unit="", remarks=())


def predict_coarse_distance(net, head: Volume) -> Volume:
    """How far inwards of the brain's border each voxel lies, in mm, on COARSE voxels; that of one piece alone.

    It covers the image without the black round it, see `lit`.
    """
    seen = resample(head, with_isotropic_spacing(reorient(head.grid), COARSE_SPACING), outside=float(head.array.min()))
    box = find_foreground_box(seen.array)
    grid = crop_grid(seen.grid, np.array([s.start for s in box]), np.array([s.stop for s in box]))
    seen = seen.new_like(seen.array[box], affine=grid.affine)
    image = torch.from_numpy(standardize(clip_bright(seen.array)))
    found = run_network(net, "coarse", image[None], [float(image.min())]) * COARSE_MM
    piece = label_components(found > 0)[0]
    return seen.new_like(np.where(piece > 1, OUTSIDE_DISTANCE, found), name="inwards", unit="mm", remarks=())


def find_foreground_box(array: np.ndarray) -> tuple[slice, ...]:
    """The box of (X, Y, Z) beyond which all is as dark as the darkest voxel; everything where all is alike."""
    low, high = float(array.min()), float(array.max())
    return (
        find_bounding_box(array > low + BLACK_LEVEL * (high - low))
        if high > low
        else tuple(slice(0, n) for n in array.shape)
    )


def predict_fine_distance(net, head: Volume, rough: Volume) -> Volume:
    """The same on FINE voxels round the brain, in one piece without holes, from the image and what is roughly known.

    What is roughly known comes back as it is where there is no brain in it.
    """
    if not (rough.array > 0).any():
        return rough
    grid = crop_around_brain(rough, with_isotropic_spacing(reorient(head.grid), FINE_SPACING))
    inwards = torch.tensor(resample(rough, grid, outside=OUTSIDE_DISTANCE).array)
    image = normalize_to_brain(torch.tensor(resample(head, grid, outside=float(head.array.min())).array), inwards > 0)
    x = make_fine_input(image[None, None], inwards[None, None])[0]
    found = run_network(net, "fine", x, [-BLACK_TO_TISSUE, -1.0]) * FINE_MM
    brain = keep_largest_component(found > 0)
    return Volume(np.where(brain, np.maximum(found, EDGE_DISTANCE), np.minimum(found, -EDGE_DISTANCE)), grid.affine)


def crop_around_brain(rough: Volume, grid: Grid) -> Grid:
    """The part of `grid` that holds the brain as it is roughly known, and MARGIN around it where the grid has it."""
    box = find_bounding_box(rough.array > 0)
    index = np.linalg.inv(grid.affine) @ rough.affine  # axes are parallel
    ends = np.array([[s.start - 0.5, s.stop - 0.5] for s in box])
    low, high = (ends[:, k] * np.diag(index)[:3] + index[:3, 3] for k in (0, 1))
    reach = FINE_MARGIN / np.array(grid.spacing)
    low = np.clip(np.floor(low - reach).astype(int), 0, np.array(grid.shape) - 1)
    return crop_grid(grid, low, np.clip(np.ceil(high + reach).astype(int), low + 1, grid.shape))


def normalize_to_brain(image: Tensor, brain: Tensor) -> Tensor:
    """(X, Y, Z) with its minimum -SPAN and the median of the `brain` (X, Y, Z), bool, 0, cut to what CLIP allows."""
    low = image.min()
    level = image[brain].median() - low if brain.any() else image.max() - low
    return (BLACK_TO_TISSUE * ((image - low) / level.clamp(min=1e-6) - 1)).clamp(max=STANDARD_RANGE[1])


def run_network(net, part: str, x: Tensor, outside: Sequence[float]) -> np.ndarray:
    """Logits (X, Y, Z) of one part of the network for (C, X, Y, Z); `outside` is what each channel is padded with."""
    more = [(-n) % NETWORK_STRIDES[part] for n in x.shape[1:]]
    pads = [n for m in reversed(more) for n in (m // 2, m - m // 2)]
    x = torch.stack([F.pad(channel, pads, value=value) for channel, value in zip(x, outside, strict=True)])[None]
    one = net.get_submodule(part)
    if isinstance(one, nn.Module):
        place = next(one.parameters()).device
        dtype = choose_half_precision(place.type)
        with torch.inference_mode(), torch.autocast(place.type, dtype, enabled=dtype is not None):
            found = one(x.to(place))
    else:
        found = one(x)
    box = tuple(slice(m // 2, m // 2 + n - m) for m, n in zip(more, x.shape[2:], strict=True))
    return found[0, 0].float().cpu().numpy()[box]


def keep_largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest piece of (X, Y, Z) bool, with what it encloses."""
    return fill_holes(label_components(mask)[0] == 1) if mask.any() else mask
