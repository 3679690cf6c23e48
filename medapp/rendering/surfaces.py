"""Surfaces of masks and label maps for the 3-D view, smoothed, with as many triangles as a browser draws fluently."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from nibabel.affines import from_matvec
from scipy import ndimage
from skimage.measure import marching_cubes

from medapp.analysis.mask_metrics import find_bounding_box, label_components
from medapp.imaging.volume import Grid, Volume
from medapp.rendering.colour import get_label_colour
from medapp.rendering.view import Colour, Surface

MAX_TRIANGLES = 60_000
LEVEL = 0.5  # of the smoothed mask at its surface
LIFTED = 0.55  # of what is too thin to reach the level
MAX_PIECES = 100  # of one label that have a surface of their own
MARGIN = 3  # blocks around a mask, so that its surface closes
GROWTH = 1.2  # of the blocks, until the triangles are few enough


def make_surface(
    labels: Volume,
    name: str,
    colours: Mapping[int, Colour] | None = None,
    *,
    smooth: float = 0.7,
    max_triangles: int = MAX_TRIANGLES,
    **looks: Any,
) -> Surface | None:
    """Make one surface of all labels above 0, each in its colour; None where there is none, or only a single slice.

    `smooth` is the standard deviation in blocks of about cubic shape, whose size follows from `max_triangles`. `looks`
    are further arguments of `Surface`.
    """
    if min(labels.shape) < 2 or not labels.array.any():
        return None
    box = find_bounding_box(labels.array > 0)
    part, start = labels.array[box], np.array([s.start for s in box])
    block = choose_block(part > 0, labels.spacing, max_triangles)
    pieces, paints = [], []
    for number in np.unique(part[part > 0]).tolist():
        rgb = np.uint8((colours or {}).get(number, get_label_colour(number)))
        for own, inside in _split_pieces(part == number):
            corner = start + [s.start for s in own]
            pieces.append(_make_piece(inside, corner, block, labels.affine, smooth))
            paints.append(np.tile(rgb, (len(pieces[-1][0]), 1)))
    before = np.cumsum([0, *(len(vertices) for vertices, _ in pieces)])
    vertices = np.concatenate([vertices for vertices, _ in pieces])
    faces = np.concatenate([faces + n for (_, faces), n in zip(pieces, before, strict=False)])
    return Surface(name, vertices, faces, np.concatenate(paints), **looks)


def choose_block(inside: np.ndarray, spacing: np.ndarray, max_triangles: int) -> np.ndarray:
    """Choose the voxels (3,) to average along each axis of a mask (I, J, K), for at most about `max_triangles`."""
    size = float(min(spacing))
    while True:
        block = np.clip(np.rint(size / spacing), 1, np.maximum(1, np.array(inside.shape) // 2)).astype(int)
        coarse = average_blocks(inside, block) >= LEVEL
        border = sum(np.count_nonzero(np.diff(coarse, axis=axis)) for axis in range(3))
        if 2 * border <= max_triangles or size > 12:
            return block
        size *= GROWTH


def average_blocks(array: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Average (I, J, K) over blocks of voxels, float32; incomplete blocks at the far ends are padded with zeros."""
    out = np.pad(array, [(0, -n % b) for n, b in zip(array.shape, block.tolist(), strict=True)])
    for axis in range(3):
        if block[axis] > 1:
            out = np.add.reduceat(out, np.arange(0, out.shape[axis], block[axis]), axis=axis, dtype=np.float32)
    return np.divide(out, block.prod(), dtype=np.float32)


def sample_values(volume: Volume, vertices: np.ndarray) -> np.ndarray:
    """Sample an image at points (N, 3) in RAS+ mm, (N,); beside it its border is continued."""
    return ndimage.map_coordinates(volume.array, volume.grid.to_index(vertices).T, order=1, mode="nearest")


def _split_pieces(mask: np.ndarray) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Yield the box of each connected piece of (I, J, K) bool and the piece in it; the smallest of many as one."""
    labels, count = label_components(mask)
    for number, own in enumerate(ndimage.find_objects(labels, min(count, MAX_PIECES)), 1):
        yield own, labels[own] == number
    if count > MAX_PIECES:
        own = find_bounding_box(labels > MAX_PIECES)
        yield own, labels[own] > MAX_PIECES


def _make_piece(
    inside: np.ndarray, start: np.ndarray, block: np.ndarray, affine: np.ndarray, smooth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (N, 3) in RAS+ mm and triangles (M, 3) of a mask whose first voxel has the index `start`."""
    coarse = np.pad(average_blocks(inside, block), MARGIN)
    step = Grid(inside.shape, affine).spacing * block  # mm
    field = ndimage.gaussian_filter(coarse, smooth * np.sqrt(step.max() / step))
    thin = (coarse > 0) & (ndimage.maximum_filter(field, 3) < LEVEL)  # would vanish
    field[thin] = LIFTED
    finer = np.maximum(1, np.rint(step / step.min())).astype(int)  # between thick slices the surface is curved
    if finer.max() > 1:
        size = (np.array(field.shape) - 1) * finer + 1
        field = ndimage.zoom(field, size / field.shape, order=3, mode="nearest")
    onto = from_matvec(np.diag(block / finer), start + (block - 1) / 2 - MARGIN * block)
    vertices, faces, _, _ = marching_cubes(field, LEVEL, allow_degenerate=False)
    if np.linalg.det(affine[:3, :3]) > 0:  # triangles turn inwards in such a grid
        faces = faces[:, ::-1]
    return Grid(field.shape, affine @ onto).to_mm(vertices).astype(np.float32), faces
