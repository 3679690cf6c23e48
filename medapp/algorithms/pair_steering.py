"""Pair steering: what wishes and lesions mean for the voxels of a prepared pair."""

from dataclasses import replace

import numpy as np
import torch
from nibabel.affines import from_matvec
from scipy import ndimage
from torch import Tensor

from medapp.algorithms.brain_pair import Pair, skull_strip, transform_header
from medapp.algorithms.contrast_matching import imitate_contrast
from medapp.algorithms.rigid_bodies import RigidBodies, list_places
from medapp.algorithms.steering import Steering
from medapp.algorithms.wishes import Effect, Reading
from medapp.errors import InputError
from medapp.imaging.background import zero_background
from medapp.imaging.volume import Grid, Volume
from medapp.networks.textscf import warp

IGNORE_MARGIN = 1  # voxels around a region that are ignored with it
MAX_IGNORED = 0.9  # share of the brain that may be ignored
MATCH_NOTE = "Regions are matched more by the refinement, which was switched off."
RIGID_NOTE = (
    "Where something is kept rigid, the affine transform is rigid too: the field holds the difference in size of the "
    "brains."
)


def make_steering(pair: Pair, reading: Reading, device: torch.device) -> Steering:
    """Return what the lesions of a pair and the wishes say of its voxels.

    Raises InputError where little is left to be matched.
    """
    masks = [
        _find_ignored(pair, reading, lesion, regions)
        for lesion, regions in ((pair.moving_ignored, pair.moving_regions), (pair.fixed_ignored, pair.fixed_regions))
    ]
    steering = Steering(matched=reading.select_regions(Effect.MATCH))
    if any(mask.any() for mask in masks):
        brain = pair.fixed_regions.array > 0
        if (brain & (masks[0] | masks[1])).sum() > MAX_IGNORED * brain.sum():
            raise InputError("Too little of the brain is left to be matched: ignore less.")
        moving, fixed = (torch.tensor(mask, device=device) for mask in masks)
        steering = steering._replace(ignored=(moving, fixed))
    if rigid := reading.select_regions(Effect.RIGID):
        bodies = RigidBodies(np.isin(pair.fixed_regions.array, rigid), find_stretch(pair), device)
        steering = steering._replace(hold=bodies.hold)
    return steering


def mark_ignored(steering: Steering, flow: Tensor, grid: Grid) -> Volume | None:
    """Return where the fixed image is not matched under a field, 1 inside; None where all of it is."""
    if steering.ignored is None:
        return None
    moving, fixed = steering.ignored
    warped = warp(moving[None, None].float(), flow[None], "nearest")[0, 0] > 0
    return Volume((fixed | warped).cpu().numpy().astype(np.uint8), grid.affine, labels={1: "ignored"}, name="ignored")


def split_affine(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Return the rigid transform (4, 4) nearest to the affine of a pair, and the rest (4, 4) that comes before it.

    Both map RAS+ mm; they agree in the middle of the fixed brain.
    """
    left, _, right = np.linalg.svd(pair.affine[:3, :3])
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    middle = pair.grid.to_mm(np.argwhere(pair.fixed_regions.array > 0).mean(0))
    rigid = from_matvec(turn, pair.affine[:3, :3] @ middle + pair.affine[:3, 3] - turn @ middle)
    return rigid, np.linalg.inv(rigid) @ pair.affine


def find_stretch(pair: Pair) -> np.ndarray:
    """Return what comes before the rigid part of the affine of a pair, as a map (4, 4) of voxel indices."""
    return np.linalg.inv(pair.grid.affine) @ split_affine(pair)[1] @ pair.grid.affine


def use_rigid_affine(pair: Pair, moving: Volume, moving_regions: Volume) -> Pair:
    """Return the pair with the moving image, and its regions (classes), placed by a rigid transform."""
    rigid, _ = split_affine(pair)
    image, regions = (transform_header(volume, rigid) for volume in (zero_background(moving), moving_regions))
    moved, moved_regions = skull_strip(image, regions, pair.grid)
    if pair.imitating == "moving":
        moved = imitate_contrast(moved, moved_regions, pair.fixed, pair.fixed_regions)
    return replace(pair, moving=moved, moving_regions=moved_regions, affine=rigid)


def follow_field(flow: Tensor, after: np.ndarray) -> Tensor:
    """Return the displacement (3, D, H, W) of `flow` and then of a map (4, 4) of voxel indices."""
    place = list_places(flow)
    matrix, shift = (
        torch.tensor(part, dtype=flow.dtype, device=flow.device) for part in (after[:3, :3], after[:3, 3:])
    )
    return (matrix @ (place + flow).flatten(1) + shift).view_as(flow) - place


def _find_ignored(pair: Pair, reading: Reading, lesion: np.ndarray | None, regions: Volume) -> np.ndarray:
    """Return the voxels (I, J, K) bool of one image that are not matched: of its lesion and of its regions."""
    mask = np.zeros(pair.grid.shape, bool) if lesion is None else lesion
    if reading.lesion_sides and "" not in reading.lesion_sides:
        mask = _select_sides(mask, pair, reading.lesion_sides)
    ignored = reading.select_regions(Effect.IGNORE)
    return mask | _grow(np.isin(regions.array, ignored), IGNORE_MARGIN) if ignored else mask


def _select_sides(mask: np.ndarray, pair: Pair, sides: tuple[str, ...]) -> np.ndarray:
    """Return the pieces of a mask whose middles lie on one of the sides ("left", "right") of the brain."""
    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    middles = pair.grid.to_mm(np.array(ndimage.center_of_mass(mask, pieces, range(1, count + 1))))
    midline = pair.grid.to_mm(np.argwhere(pair.fixed_regions.array > 0).mean(0))[0]
    kept = [n for n, (x, _, _) in enumerate(middles, 1) if ("left" if x < midline else "right") in sides]
    return np.isin(pieces, kept)


def _grow(mask: np.ndarray, voxels: int) -> np.ndarray:
    return ndimage.binary_dilation(mask, iterations=voxels)
