"""Refinement of a deformation on the image pair itself: greedy descent on local cross-correlation, coarse to fine.

The force of local cross-correlation (Avants et al. 2008, doi:10.1016/j.media.2007.06.004) is computed by its formula
instead of automatic differentiation, smoothed, given momentum, and composed onto the field step by step, as in
Yushkevich's "greedy". Where the regions of both images are known, the force of the squared difference of their maps is
added. Filters are products with banded matrices, in bfloat16 where the device is fast at that.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.field_filling import pool_kept, resize_field
from medapp.algorithms.steering import NO_STEERING, Steering
from medapp.hardware import choose_half_precision
from medapp.imaging.brain_labels import CLASS_NAMES

WINDOW_RADIUS = 3  # voxels: half the side of the correlation window
UPDATE_SIGMA = 1.732  # standard deviation of the smoothing of a step, in image voxels
FIELD_SIGMA = 0.6  # the same for the field
MAX_STEP = 0.5  # length of the longest vector of a step, in image voxels
STEP_QUANTILE = 0.999  # of the vectors of a step; longer ones are cut to MAX_STEP
MOMENTUM = 0.5
MIN_VARIANCE_PRODUCT = 1e-5  # of intensities from 0 to 1; regularises the correlation where images are flat
MIN_MOVING_VARIANCE = 1e-4  # the same for the moving image alone
INTENSITY_OFFSET = 0.5  # subtracted from intensities, since 16-bit floats are finest around zero
MIN_KEPT = 0.5  # share of a voxel from which it is matched
MIN_SHARE = 1e-3  # of a window that is matched, by which its sums are divided at least
BOX_MARGIN = 8  # voxels around the box that is not empty
REGION_WEIGHT = 0.5  # of the force of the regions beside that of the images
MATCHED_WEIGHT = 16.0  # of the map of a region that is to be matched more, beside those of REGION_GROUPS
REGION_GROUPS = (
    ("Cerebral-Cortex",),
    ("White-Matter",),
    ("Ventricle", "Choroid-Plexus"),
    ("Thalamus", "Putamen", "Vessel", "Hippocampus"),
    ("Caudate", "Pallidum", "Amygdala", "Ventral-DC"),
    ("Accumbens", "Brain-Stem", "Cerebellum-Cortex"),
)
"""Endings of region names: regions that hardly touch share a map, so that six maps serve 35 regions."""


class Level(NamedTuple):
    """How many times coarser than the images the work is done and the field is kept, and for how many steps."""

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
    steering: Steering = NO_STEERING,
    region_weights: Tensor | None = None,
) -> Tensor:
    """Return the displacement (3, D, H, W) in voxels that aligns `moving` with `fixed`: warped(p) = moving(p + u(p)).

    Both images are (D, H, W) with intensities from 0, which counts as empty, to 1; `start` (3, D, H, W) is the initial
    field, zero by default; all on one device. Where both images are empty the field continues from the border.
    `progress` receives the share that is done. `regions` are the 36 classes of `medapp.imaging.brain_labels`, (D, H, W)
    integers, of the moving and of the fixed image; errors in them are tolerated, since the images count too;
    `region_weights` (36,) tells how much each class counts, by default REGION_WEIGHT. `steering` is what is asked of
    the refinement besides.
    """
    with torch.no_grad():
        size = fixed.shape
        multiple = max(max(level.image, level.field) for level in levels)
        box = _find_box((moving > 0) | (fixed > 0))
        padding = [-(b.stop - b.start) % multiple for b in box]
        pad = [0, padding[2], 0, padding[1], 0, padding[0]]
        moving, fixed = (
            F.pad(image[box].float() - INTENSITY_OFFSET, pad, value=-INTENSITY_OFFSET) for image in (moving, fixed)
        )
        cut, place = partial(_cut_field, box=box, pad=pad), partial(_place_field, box=box, size=size)
        flow = fixed.new_zeros(3, *fixed.shape) if start is None else cut(start.float())
        classes = [F.pad(part[box], pad) for part in regions or ()]
        kept = [F.pad(1 - part[box].float(), pad, value=1.0) for part in steering.ignored or ()]
        work = [level.steps / level.image**3 for level in levels]
        for number, level in enumerate(levels, 1):
            coarse = [n // level.field for n in fixed.shape]
            source, target = (
                pool_kept(image, part, level.image)
                for image, part in zip((moving, fixed), kept or (None,) * 2, strict=True)
            )
            region_maps = [_group_maps(part, level.field, steering.matched, region_weights) for part in classes]
            shares = [F.avg_pool3d(part[None], level.image)[0] for part in kept]
            start = resize_field(flow / level.field, coarse)
            flow = _run_level(source, target, start, level.steps, region_maps, shares)
            flow = resize_field(flow, fixed.shape) * level.field
            if steering.hold is not None:
                flow = cut(steering.hold(place(flow)))
            progress(sum(work[:number]) / sum(work))
        flow = place(flow)
        return flow if steering.hold is None else steering.hold(flow)


def _run_level(
    moving: Tensor, fixed: Tensor, flow: Tensor, steps: int, region_maps: Sequence[Tensor], kept: Sequence[Tensor]
) -> Tensor:
    """Return the field (3, d, h, w) after `steps` steps; the images (D, H, W) are as large or a whole multiple.

    `region_maps` are the maps (K, d, h, w) of the moving and of the fixed image, or empty; `kept` the shares (D, H, W)
    of their voxels that are matched, or empty.
    """
    size, ratio = fixed.shape, fixed.shape[0] // flow.shape[1]
    dtype = torch.bfloat16 if choose_half_precision(fixed.device.type) == torch.bfloat16 else torch.float32
    window = _filter_matrices(torch.ones(2 * WINDOW_RADIUS + 1, device=fixed.device), size, dtype)
    update = _filter_matrices(_gaussian_kernel(UPDATE_SIGMA / ratio, fixed), flow.shape[1:], dtype)
    field = _filter_matrices(_gaussian_kernel(FIELD_SIGMA / ratio, fixed), flow.shape[1:], torch.float32)
    fine, coarse = _identity_grid(size, fixed), _identity_grid(flow.shape[1:], fixed)

    average = partial(_filter, bands=window)
    if not kept:
        mean, variance, above = _describe(fixed, average)
    image_force, velocity = torch.zeros(3, *size, device=fixed.device), torch.zeros_like(flow)
    for _ in range(steps):
        away = resize_field(flow, size) * ratio
        if not kept:
            image = _warp(moving[None], fine, away)[0]
        else:
            weighted, part = _warp(torch.stack([moving * kept[0], kept[0]]), fine, away)
            image, share = weighted / part.clamp_(min=MIN_SHARE), kept[1] * (part > MIN_KEPT)
            average = partial(_average_kept, share=share, total=_filter(share, window), bands=window)
            mean, variance, above = _describe(fixed, average)
        m, v, c = (average(x) for x in (image, image * image, fixed * image))
        v.addcmul_(m, m, value=-1).clamp_(min=0)
        c.addcmul_(mean, m, value=-1)
        strength = above - c / (v + MIN_MOVING_VARIANCE) * (image - m)
        strength *= c / (variance * v).add_(MIN_VARIANCE_PRODUCT)
        if kept:
            strength *= share
        for axis, along in enumerate(image_force):
            n = size[axis] - 2
            inside = along.narrow(axis, 1, n)  # central differences; the border stays zero
            if kept:
                inside.copy_(_differ_within(image, part > MIN_KEPT, axis))
            else:
                torch.sub(image.narrow(axis, 2, n), image.narrow(axis, 0, n), out=inside)
            inside *= strength.narrow(axis, 1, n)
        force = image_force if ratio == 1 else F.avg_pool3d(image_force, ratio)
        if region_maps:
            sampled = _warp(region_maps[0], coarse, flow)
            missing = region_maps[1] - sampled
            if kept:
                missing *= F.avg_pool3d(share[None], ratio)[0]
            for axis, along in enumerate(force):
                n = along.shape[axis] - 2
                slope = sampled.narrow(axis + 1, 2, n) - sampled.narrow(axis + 1, 0, n)
                along.narrow(axis, 1, n).add_((slope * missing.narrow(axis + 1, 1, n)).sum(0), alpha=REGION_WEIGHT)
        force = torch.stack([_filter(x, update) for x in force])
        velocity.mul_(MOMENTUM).add_(force / force.square().sum(0).amax().sqrt().clamp_(min=1e-20))
        length = velocity.square().sum(0).sqrt_()
        usual = length.flatten()[::7]
        usual = usual.kthvalue(max(1, int(STEP_QUANTILE * len(usual)))).values
        step = velocity * (MAX_STEP / ratio / torch.maximum(length, usual).clamp_(min=1e-20))
        step += _warp(flow, coarse, step)
        flow = torch.stack([_filter(x, field) for x in step])
    return flow


def _group_maps(classes: Tensor, factor: int, matched: Sequence[int], weights: Tensor | None) -> Tensor:
    """Return (K, D/factor, H/factor, W/factor): the share of each voxel that belongs to each of REGION_GROUPS.

    The classes in `matched` have maps of their own besides, which count for more. A class counts by the root of its
    weight, since differences of maps are squared.
    """
    table = torch.tensor([[name.endswith(group) for name in CLASS_NAMES] for group in REGION_GROUPS]).float()
    if weights is not None:
        table = table * (weights.cpu() / REGION_WEIGHT).sqrt()
    maps = [row[classes.long()] for row in table.to(classes.device)]
    maps += [MATCHED_WEIGHT**0.5 * (classes == number) for number in matched]
    return torch.stack([F.avg_pool3d(part[None], factor)[0] for part in maps])


def _find_box(mask: Tensor) -> tuple[slice, slice, slice]:
    """Return the box of the true voxels of (D, H, W) bool, with a margin; all of it if none is true."""
    box = []
    for axis, n in enumerate(mask.shape):
        other = [a for a in range(3) if a != axis]
        filled = mask.any(other[1]).any(other[0]).nonzero()[:, 0].tolist() or [0, n - 1]
        box.append(slice(max(filled[0] - BOX_MARGIN, 0), min(filled[-1] + 1 + BOX_MARGIN, n)))
    return box[0], box[1], box[2]


def _cut_field(flow: Tensor, box: Sequence[slice], pad: Sequence[int]) -> Tensor:
    """Return the part (3, ...) of a field (3, D, H, W) in a box, padded at the ends."""
    return F.pad(flow[(slice(None), *box)][None], pad, mode="replicate")[0]


def _place_field(flow: Tensor, box: Sequence[slice], size: Sequence[int]) -> Tensor:
    """Return the field (3, D, H, W) of `size` whose part in a box is `flow` without what pads it at the ends."""
    flow = flow[(slice(None), *(slice(b.stop - b.start) for b in box))]
    around = [n for b, s in reversed(list(zip(box, size, strict=True))) for n in (b.start, s - b.stop)]
    return F.pad(flow[None], around, mode="replicate")[0]


def _identity_grid(size: Sequence[int], like: Tensor) -> Tensor:
    """Return (D, H, W, 3): the coordinates of the voxels in the order and units of `grid_sample`."""
    axes = [torch.linspace(-1, 1, n, device=like.device) for n in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)


def _warp(x: Tensor, identity: Tensor, flow: Tensor) -> Tensor:
    """Sample (C, D, H, W) at every voxel displaced by `flow` (3, D, H, W), in voxels; edges are replicated."""
    grid = torch.empty_like(identity)
    for axis, n in enumerate(flow.shape[1:]):
        torch.add(identity[..., 2 - axis], flow[axis], alpha=2 / (n - 1), out=grid[..., 2 - axis])
    return F.grid_sample(x[None], grid[None], padding_mode="border", align_corners=True)[0]


def _filter(x: Tensor, bands: Sequence[Tensor]) -> Tensor:
    """Multiply each axis of (D, H, W) by its matrix, in the matrices' type; return float32."""
    depth, height, width = bands
    y = height @ (x.to(width.dtype) @ width.T)
    return (depth @ y.flatten(1)).view(x.shape).float()


def _describe(x: Tensor, average: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the local mean and variance of (D, H, W), and how far it is above the mean."""
    mean = average(x)
    return mean, (average(x * x) - mean * mean).clamp_(min=0), x - mean


def _average_kept(x: Tensor, share: Tensor, total: Tensor, bands: Sequence[Tensor]) -> Tensor:
    """Filter (D, H, W) by window means of the `share` of each voxel that is kept, whose own means are `total`."""
    return _filter(x * share, bands) / total.clamp(min=MIN_SHARE)


def _differ_within(x: Tensor, kept: Tensor, axis: int) -> Tensor:
    """Return the central differences of (D, H, W) along an axis without its ends, one-sided beside what is not kept."""
    n = x.shape[axis] - 2
    before, here, after = (x.narrow(axis, start, n) for start in range(3))
    first, last = (kept.narrow(axis, start, n).float() for start in (0, 2))
    return ((after - here) * last + (here - before) * first) * (2 / (first + last).clamp_(min=1))


def _filter_matrices(kernel: Tensor, size: Sequence[int], dtype: torch.dtype) -> list[Tensor]:
    """Return for each axis the matrix (n, n) that filters by the odd `kernel`, renormalised at the edges."""
    radius = len(kernel) // 2
    matrices = []
    for n in size:
        index = torch.arange(n, device=kernel.device)
        offset = index - index[:, None] + radius
        matrix = torch.where((offset >= 0) & (offset <= 2 * radius), kernel[offset.clamp(0, 2 * radius)], 0)
        matrices.append((matrix / matrix.sum(1, keepdim=True)).to(dtype))
    return matrices


def _gaussian_kernel(sigma: float, like: Tensor) -> Tensor:
    """Return a Gaussian kernel of three standard deviations to either side, unnormalised, on the device of `like`."""
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, device=like.device, dtype=torch.float32)
    return torch.exp(-0.5 * (x / sigma) ** 2)
