"""Parcellation: the regions of a head on any grid, by a network trained on 1 mm voxels along RAS."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from medapp.algorithms.brain_extraction import OUTSIDE_DISTANCE
from medapp.analysis.mask_metrics import fill_holes, find_bounding_box, label_components
from medapp.errors import InputError
from medapp.hardware import choose_half_precision
from medapp.imaging.background import zero_background
from medapp.imaging.brain_labels import CLASS_NAMES, MIRROR_CLASSES
from medapp.imaging.geometry import crop_grid, reorient, resample, with_isotropic_spacing
from medapp.imaging.intensity import clip_bright, standardize
from medapp.imaging.volume import Grid, Volume

WORKING_SPACING = 1.0  # mm, as in training
NETWORK_STRIDE = 16  # voxels: the sides of the input are multiples
HEAD_MARGIN = 16  # mm around the head, or the brain
REGION_MARGIN = 2.0  # mm outside the border of the brain, within which there may be regions
MAX_HEAD_HEIGHT = 200  # mm below the top of the head; what is lower is neck
MIN_ISLAND_SHARE = 0.1  # of the largest component of a class; smaller ones are merged into their neighbours
REGION_NAMES = {number: name for number, name in enumerate(CLASS_NAMES) if number}


class Parcellation(NamedTuple):
    """Regions 1 to 35 (`imaging.brain_labels.CLASS_NAMES`), and the brain mask without holes, on the input's grid."""

    labels: Volume
    brain: Volume


def parcellate(
    net, head: Volume, *, inwards: Volume | None = None, progress: Callable[[float, str], None]
) -> Parcellation:
    """Segment the regions of the brain in an MR image on any grid, with or without the skull.

    `inwards` is the distance inwards from the border of the brain where it is known (`brain_extraction`): then only the
    brain's box is looked at, and what lies more than REGION_MARGIN outside has no region.

    `net` has a method `predict_labels` from (1, 1, X, Y, Z) standardised, sides multiples of NETWORK_STRIDE, to classes
    (1, X, Y, Z) uint8: a `UNet3D` on any device, or an engine around one. Raises InputError for an image that is
    constant.
    """
    progress(0.0, "Preparing the scan")
    head = zero_background(head)
    grid = make_working_grid(head) if inwards is None else make_brain_grid(head, inwards)
    image = standardize(clip_bright(resample(head, grid, outside=float(head.array.min())).array))
    progress(0.15, "Segmenting the regions")
    predicted = classify_voxels(net, image)
    if inwards is not None:
        predicted[resample(inwards, grid, outside=OUTSIDE_DISTANCE).array < -REGION_MARGIN] = 0
    progress(0.75, "Removing islands")
    classes = Volume(remove_islands(predicted), grid.affine, labels=REGION_NAMES)
    brain = Volume(fill_holes(classes.array > 0).astype(np.uint8), grid.affine, labels={1: "brain"})
    progress(0.9, "Resampling to the input grid")
    labels, mask = (resample(volume, onto=head.grid) for volume in (classes, brain))
    return Parcellation(
        head.new_like(labels.array, labels=REGION_NAMES, name="labels", unit="", remarks=()),
        head.new_like(mask.array, labels={1: "brain"}, name="brain", unit="", remarks=()),
    )


def make_brain_grid(head: Volume, inwards: Volume) -> Grid:
    """Return the grid of the box around the brain, 1 mm, axes near RAS, by the distance inwards from its border."""
    grid = with_isotropic_spacing(reorient(head.grid), WORKING_SPACING)
    box = find_bounding_box(inwards.array > 0)
    found = crop_grid(inwards.grid, np.array([side.start for side in box]), np.array([side.stop for side in box]))
    index = grid.to_index(found.corners)
    lower, upper = np.floor(index.min(axis=0)).astype(int), np.ceil(index.max(axis=0)).astype(int) + 1
    return crop_grid(grid, lower - HEAD_MARGIN, upper + HEAD_MARGIN)


def make_working_grid(head: Volume) -> Grid:
    """Return the grid of the box around the head, 1 mm, axes near RAS, with only the upper end of the neck."""
    grid = with_isotropic_spacing(reorient(head.grid), WORKING_SPACING)
    array = resample(head, grid).array
    bright = array > array.mean()
    if not bright.any():
        raise InputError("The image is empty: every voxel has the same value.")
    lower, upper = [], []
    for axis in range(3):
        share = bright.mean(axis=tuple(a for a in range(3) if a != axis))
        occupied = np.flatnonzero(share > 0.02 * share.max())
        lower.append(int(occupied[0]) - HEAD_MARGIN)
        upper.append(int(occupied[-1]) + 1 + HEAD_MARGIN)
    lower[2] = max(lower[2], upper[2] - HEAD_MARGIN - MAX_HEAD_HEIGHT)
    flat = [axis for axis, n in enumerate(grid.shape) if n == 1]
    for axis in flat:
        lower[axis], upper[axis] = 0, 1
    return crop_grid(grid, np.array(lower), np.array(upper))


def classify_voxels(net, image: np.ndarray) -> np.ndarray:
    """Return classes (X, Y, Z) uint8 of a standardised head (X, Y, Z) of any size at 1 mm, axes along RAS."""
    padding = [(-n) % NETWORK_STRIDE for n in image.shape]
    x = torch.from_numpy(np.pad(image, [(m // 2, m - m // 2) for m in padding], constant_values=image.min()))[
        None, None
    ]
    if isinstance(net, nn.Module):
        device = next(net.parameters()).device
        dtype = choose_half_precision(device.type)
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
            classes = net.predict_labels(x.to(device))
    else:
        classes = net.predict_labels(x)
    box = tuple(slice(m // 2, m // 2 + n) for m, n in zip(padding, image.shape, strict=True))
    return classes[0].cpu().numpy()[box]


def remove_islands(classes: np.ndarray) -> np.ndarray:
    """Return classes (X, Y, Z) uint8 without components apart from the brain, and without stray islands of a class.

    An island is a component smaller than MIN_ISLAND_SHARE of its class's largest; its voxels join the nearest other
    region.
    """
    box = find_bounding_box(classes > 0)
    kept = classes[box].copy()
    kept[label_components(kept > 0)[0] != 1] = 0
    stray = np.zeros(kept.shape, bool)
    for number, part in enumerate(ndimage.find_objects(kept), 1):
        if part is None:
            continue
        own, count = ndimage.label(kept[part] == number, np.ones((3, 3, 3)))
        size = np.bincount(own.ravel())[1:]
        if count > 1:
            stray[part] |= np.concatenate([[False], size < MIN_ISLAND_SHARE * size.max()])[own]
    if stray.any():
        nearest = ndimage.distance_transform_edt(stray, return_distances=False, return_indices=True)
        kept = kept[tuple(nearest)]
    cleaned = np.zeros_like(classes)
    cleaned[box] = kept
    return cleaned


def find_swapped_sides(labels: Volume) -> tuple[str, ...]:
    """List the structures whose left region does not lie to the left of its right one in the patient."""
    index = np.argwhere(labels.array > 0)
    classes = labels.array[tuple(index.T)]
    across = labels.grid.to_mm(index)[:, 0]  # millimetres to the right
    count = np.bincount(classes, minlength=len(CLASS_NAMES))
    middle = np.bincount(classes, across, minlength=len(CLASS_NAMES)) / np.maximum(count, 1)
    pairs = [(n, MIRROR_CLASSES[n]) for n, name in enumerate(CLASS_NAMES) if name.startswith("Left")]
    wrong = [n for n, other in pairs if count[n] and count[other] and middle[n] >= middle[other]]
    return tuple(CLASS_NAMES[n].removeprefix("Left-") for n in wrong)
