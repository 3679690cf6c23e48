"""Input of the multiple sclerosis network: the brain of every scan, normalised, beside its anatomical priors."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from medapp.algorithms.anatomical_priors import PRIOR_CHANNELS, make_prior_maps, template_transform, to_template
from medapp.algorithms.brain_pair import CLOSING_ITERATIONS, DILATION_ITERATIONS, brain_mask
from medapp.algorithms.head_orientation import find_regions
from medapp.algorithms.slice_slabs import split_slices
from medapp.analysis.mask_metrics import find_bounding_box
from medapp.hardware import run_in_threads
from medapp.imaging.geometry import crop_grid, resample
from medapp.imaging.intensity import correct_bias_field, normalize_to_tissue
from medapp.imaging.volume import Grid, Volume

SEQUENCES = ("flair", "t1", "t2")  # the first channels; the others are `make_prior_maps`
NETWORK_STRIDE = 16  # voxels for each position at the bottom of the network; sides are padded to a multiple
MIN_BRAIN_ML = 200  # below it there is no brain
INPUT_CHANNELS = len(SEQUENCES) + PRIOR_CHANNELS


class Anatomy(NamedTuple):
    """Both (X, Y, Z) on the working grid: regions, none where no brain was found, and what the network is to see.

    `rotation` (4, 4) takes the head from its place in the file to its real one, RAS+ mm; `rotation_text` describes it,
    and is empty if there is none.
    """

    regions: np.ndarray
    inside: np.ndarray
    rotation: np.ndarray = np.eye(4)
    rotation_text: str = ""


class PreparedScans(NamedTuple):
    """The network's input: its grid, its box within the working grid, the images by role, and the prior `maps`."""

    grid: Grid
    box: tuple[slice, ...]
    images: dict[str, np.ndarray]
    maps: np.ndarray


def find_anatomy(
    net, scans: Mapping[str, Volume], grid: Grid, progress: Callable[[float, str], None], brain_net=None
) -> Anatomy:
    """Find regions and brain by the networks of `find_regions`, from T1 if a brain is found in one, else FLAIR."""
    for role in ("t1", "flair"):
        if role not in scans:
            continue
        head = Volume(resample(scans[role], grid, outside=float(scans[role].array.min())).array, grid.affine)
        if head.array.min() == head.array.max():
            continue
        oriented = find_regions(net, head, brain_net=brain_net, progress=progress)
        regions = oriented.regions.labels.array
        if (regions > 0).sum() * grid.voxel_ml >= MIN_BRAIN_ML:
            margin = CLOSING_ITERATIONS + DILATION_ITERATIONS + 1
            box = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in find_bounding_box(regions > 0))
            inside = np.zeros(grid.shape, bool)
            inside[box] = brain_mask(regions[box] > 0)
            return Anatomy(regions, inside, oriented.affine @ np.linalg.inv(grid.affine), oriented.rotation_text)
    return Anatomy(np.zeros(grid.shape, np.uint8), np.ones(grid.shape, bool))


def prepare_scans(scans: Mapping[str, Volume], anatomy: Anatomy, grid: Grid) -> PreparedScans:
    """Crop the brain out of every scan by its `anatomy` on the working `grid`, and make the prior maps."""
    box = find_bounding_box(anatomy.inside)
    view = crop_grid(grid, np.array([side.start for side in box]), np.array([side.stop for side in box]))
    transform = template_transform(Volume(anatomy.regions, grid.affine))
    coordinates = None if transform is None else to_template(transform @ view.affine, view.shape)
    priors = make_prior_maps(anatomy.regions[box], coordinates)
    jobs = (partial(normalize_scan, volume, view, anatomy.inside[box], priors[0] > 0) for volume in scans.values())
    return PreparedScans(view, box, dict(zip(scans, run_in_threads(*jobs), strict=True)), priors)


def normalize_scan(volume: Volume, view: Grid, inside: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Resample a volume to the grid `view`, masked by `inside`, bias-corrected and relative to white matter.

    `inside` and `white` are (X, Y, Z) bool. Black is the least value, or 0 if filters have left some values below it.
    """
    low = max(float(volume.array.min()), 0.0)
    brain = (resample(split_slices(volume), view, outside=low).array - low).clip(0) * inside
    return normalize_to_tissue(correct_bias_field(brain, white), white)


def stack_channels(images: Mapping[str, np.ndarray], priors: np.ndarray) -> np.ndarray:
    """Stack SEQUENCES, 0 where missing, and `priors`: (INPUT_CHANNELS, X, Y, Z) float32, padded to NETWORK_STRIDE."""
    shape = images["flair"].shape
    x = np.zeros((INPUT_CHANNELS, *(n + -n % NETWORK_STRIDE for n in shape)), np.float32)
    inside = tuple(map(slice, shape))
    x[(slice(len(SEQUENCES), None), *inside)] = priors
    for channel, role in zip(x, SEQUENCES, strict=False):
        if role in images:
            channel.fill(images[role].min())
            channel[inside] = images[role]
    return x
