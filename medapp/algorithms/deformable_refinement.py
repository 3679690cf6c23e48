"""Refinement of a deformation on the image pair itself: greedy descent on local cross-correlation, coarse to fine.

The force of local cross-correlation (Avants et al., Med Image Anal 2008), by its formula instead of automatic
differentiation, is smoothed, given momentum, and composed onto the field step by step, as in Yushkevich's "greedy".
Where the regions of both images are known, the force of the squared difference of their maps is added to it. Filters
are products with banded matrices, in bfloat16 where the device is good at that.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.hardware import choose_half_precision
from medapp.imaging.brain_labels import CLASS_NAMES

WINDOW_RADIUS = 3  # voxels: half the window of the correlation
UPDATE_SIGMA = 1.732  # standard deviation of the smoothing of a step, in image voxels
FIELD_SIGMA = 0.6  # the same for the field
MAX_STEP = 0.5  # voxels of the images: the longest vector of a step
STEP_QUANTILE = 0.999  # of the vectors of a step that may be shorter than that; the others are cut to it
MOMENTUM = 0.5
MIN_VARIANCE_PRODUCT = 1e-5  # of the squared range: the product of the variances below which there is nothing to match
MIN_MOVING_VARIANCE = 1e-4  # the same for the moving image's variance alone
INTENSITY_OFFSET = 0.5  # taken off the intensities: 16 bits are finest around zero
BOX_MARGIN = 8  # voxels around what is not empty
REGION_WEIGHT = 0.5  # weight of the regions beside the images
REGION_GROUPS = (
    ("Cerebral-Cortex",),
    ("White-Matter",),
    ("Ventricle", "Choroid-Plexus"),
    ("Thalamus", "Putamen", "Vessel", "Hippocampus"),
    ("Caudate", "Pallidum", "Amygdala", "Ventral-DC"),
    ("Accumbens", "Brain-Stem", "Cerebellum-Cortex"),
)
"""The maps, and how the names of their regions end: regions that hardly touch share one, so that six do for 35."""


class Level(NamedTuple):
    """How many times coarser than the images the work is done, and the field is kept; and for how many steps."""

    image: int
    field: int
    steps: int


LEVELS = (Level(4, 4, 80), Level(2, 2, 25), Level(1, 2, 10))


def refine_field(
    moving: Tensor,
    fixed: Tensor,
    start: Tensor | None = None,
    levels: Sequence[Level] = LEVELS,
    progress: Callable[[float], None] = lambda share: None,
    regions: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The displacement (3, D, H, W) in voxels at which `moving` looks like `fixed`: warped(p) = moving(p + u(p)).

    Both images are (D, H, W) with intensities from 0, taken for empty, to 1; `start` (3, D, H, W) is the field to begin
    with, by default none; all on one device. Where both are empty the field goes on as at the border of what is not.
    `progress` is told the share that is done. `regions` are the 36 classes of `medapp.imaging.brain_labels`, (D, H, W)
    integers, of the moving and of the fixed image; they may be wrong in places, the images have their say too.
    """
    with torch.no_grad():
        size = fixed.shape
        multiple = max(max(level.image, level.field) for level in levels)
        box = _find_box((moving > 0) | (fixed > 0))
        more = [-(b.stop - b.start) % multiple for b in box]
        pad = [0, more[2], 0, more[1], 0, more[0]]
        moving, fixed = (
            F.pad(image[box].float() - INTENSITY_OFFSET, pad, value=-INTENSITY_OFFSET) for image in (moving, fixed)
        )
        flow = fixed.new_zeros(3, *fixed.shape)
        if start is not None:
            flow = F.pad(start[(slice(None), *box)].float()[None], pad, mode="replicate")[0]
        classes = [F.pad(part[box], pad) for part in regions or ()]
        work = [level.steps / level.image**3 for level in levels]
        for number, level in enumerate(levels, 1):
            coarse = [n // level.field for n in fixed.shape]
            source, target = (F.avg_pool3d(image[None], level.image)[0] for image in (moving, fixed))
            kinds = [_group_maps(part, level.field) for part in classes]
            flow = _run_level(source, target, resize_field(flow / level.field, coarse), level.steps, kinds)
            flow = resize_field(flow, fixed.shape) * level.field
            progress(sum(work[:number]) / sum(work))
        flow = flow[(slice(None), *(slice(b.stop - b.start) for b in box))]
        around = [n for b, s in reversed(list(zip(box, size, strict=True))) for n in (b.start, s - b.stop)]
        return F.pad(flow[None], around, mode="replicate")[0]


def _run_level(moving: Tensor, fixed: Tensor, flow: Tensor, steps: int, kinds: Sequence[Tensor]) -> Tensor:
    """The field (3, d, h, w) after so many steps; the images are (D, H, W), as large or a whole number of times so.

    `kinds` are the maps (K, d, h, w) of the moving and of the fixed image, or none.
    """
    size, ratio = fixed.shape, fixed.shape[0] // flow.shape[1]
    kind = torch.bfloat16 if choose_half_precision(fixed.device.type) == torch.bfloat16 else torch.float32
    window = _filter_matrices(torch.ones(2 * WINDOW_RADIUS + 1, device=fixed.device), size, kind)
    update = _filter_matrices(_gaussian_kernel(UPDATE_SIGMA / ratio, fixed), flow.shape[1:], kind)
    field = _filter_matrices(_gaussian_kernel(FIELD_SIGMA / ratio, fixed), flow.shape[1:], torch.float32)
    fine, coarse = _identity_grid(size, fixed), _identity_grid(flow.shape[1:], fixed)

    mean = _filter(fixed, window)
    variance = (_filter(fixed * fixed, window) - mean * mean).clamp_(min=0)
    above = fixed - mean
    push, speed = torch.zeros(3, *size, device=fixed.device), torch.zeros_like(flow)
    for _ in range(steps):
        image = _warp(moving[None], fine, resize_field(flow, size) * ratio)[0]
        m, v, c = (_filter(x, window) for x in (image, image * image, fixed * image))
        v.addcmul_(m, m, value=-1).clamp_(min=0)
        c.addcmul_(mean, m, value=-1)
        strength = above - c / (v + MIN_MOVING_VARIANCE) * (image - m)
        strength *= c / (variance * v).add_(MIN_VARIANCE_PRODUCT)
        for axis, along in enumerate(push):
            n = size[axis] - 2
            inside = along.narrow(axis, 1, n)  # central differences; the border stays zero
            torch.sub(image.narrow(axis, 2, n), image.narrow(axis, 0, n), out=inside)
            inside *= strength.narrow(axis, 1, n)
        force = push if ratio == 1 else F.avg_pool3d(push, ratio)
        if kinds:
            found = _warp(kinds[0], coarse, flow)
            missing = kinds[1] - found
            for axis, along in enumerate(force):
                n = along.shape[axis] - 2
                slope = found.narrow(axis + 1, 2, n) - found.narrow(axis + 1, 0, n)
                along.narrow(axis, 1, n).add_((slope * missing.narrow(axis + 1, 1, n)).sum(0), alpha=REGION_WEIGHT)
        force = torch.stack([_filter(x, update) for x in force])
        speed.mul_(MOMENTUM).add_(force / force.square().sum(0).amax().sqrt().clamp_(min=1e-20))
        length = speed.square().sum(0).sqrt_()
        usual = length.flatten()[::7]
        usual = usual.kthvalue(max(1, int(STEP_QUANTILE * len(usual)))).values
        step = speed * (MAX_STEP / ratio / torch.maximum(length, usual).clamp_(min=1e-20))
        step += _warp(flow, coarse, step)
        flow = torch.stack([_filter(x, field) for x in step])
    return flow


def _group_maps(classes: Tensor, factor: int) -> Tensor:
    """(K, D/factor, H/factor, W/factor): how much of each voxel belongs to each of `KINDS`."""
    table = [[name.endswith(kind) for name in CLASS_NAMES] for kind in REGION_GROUPS]
    maps = (torch.tensor(row, device=classes.device)[classes.long()] for row in table)
    return torch.stack([F.avg_pool3d(part[None].float(), factor)[0] for part in maps])


def _find_box(there: Tensor) -> tuple[slice, slice, slice]:
    """The part of (D, H, W) bool that is true, with a margin; all of it if nothing is."""
    box = []
    for axis, n in enumerate(there.shape):
        other = [a for a in range(3) if a != axis]
        filled = there.any(other[1]).any(other[0]).nonzero()[:, 0].tolist() or [0, n - 1]
        box.append(slice(max(filled[0] - BOX_MARGIN, 0), min(filled[-1] + 1 + BOX_MARGIN, n)))
    return box[0], box[1], box[2]


def _identity_grid(size: Sequence[int], like: Tensor) -> Tensor:
    """(D, H, W, 3): where the voxels lie, in the order and the units of `grid_sample`."""
    axes = [torch.linspace(-1, 1, n, device=like.device) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)


def _warp(x: Tensor, places: Tensor, flow: Tensor) -> Tensor:
    """(C, D, H, W) at every voxel moved by `flow` (3, D, H, W), in voxels; beyond the edge as at the edge."""
    grid = torch.empty_like(places)
    for axis, n in enumerate(flow.shape[1:]):
        torch.add(places[..., 2 - axis], flow[axis], alpha=2 / (n - 1), out=grid[..., 2 - axis])
    return F.grid_sample(x[None], grid[None], padding_mode="border", align_corners=True)[0]


def _filter(x: Tensor, bands: Sequence[Tensor]) -> Tensor:
    """(D, H, W) with each axis multiplied by its matrix, in the matrices' type; float32."""
    depth, height, width = bands
    y = height @ (x.to(width.dtype) @ width.T)
    return (depth @ y.flatten(1)).view(x.shape).float()


def _filter_matrices(kernel: Tensor, size: Sequence[int], kind: torch.dtype) -> list[Tensor]:
    """For each axis the matrix (n, n) that filters by the odd `kernel`, at the edges by what of it is left."""
    radius = len(kernel) // 2
    made = []
    for n in size:
        index = torch.arange(n, device=kernel.device)
        offset = index - index[:, None] + radius
        matrix = torch.where((offset >= 0) & (offset <= 2 * radius), kernel[offset.clamp(0, 2 * radius)], 0)
        made.append((matrix / matrix.sum(1, keepdim=True)).to(kind))
    return made


def _gaussian_kernel(sigma: float, like: Tensor) -> Tensor:
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, device=like.device, dtype=torch.float32)
    return torch.exp(-0.5 * (x / sigma) ** 2)


def resize_field(flow: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(flow.shape[1:]) == tuple(size):
        return flow
    return F.interpolate(flow[None], size=tuple(size), mode="trilinear", align_corners=False)[0]
