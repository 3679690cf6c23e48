"""Axial, coronal and sagittal pictures of layers, each resampled to a slice grid through the patient."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medapp.analysis import mask_metrics
from medapp.imaging.geometry import crop_grid
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import annotations, colour
from medapp.rendering.layers import Layer, find_voxels, paint_layer
from medapp.rendering.slice_grids import (
    PLANE_NORMALS,
    PLANES,
    Plane,
    find_corners,
    find_plane,
    is_flat,
    make_slice_grid,
    slice_axis,
)

GAP_PIXELS = 6  # between two pictures


class Panel(NamedTuple):
    """One picture among several: its plane, the pixel of its top left corner, and its slice grid."""

    plane: Plane
    left: int
    top: int
    grid: Grid


def draw_plane(
    layers: Sequence[Layer],
    plane: Plane,
    mm: Sequence[float],
    *,
    pixel: float | None = None,
    extent: np.ndarray | None = None,
    radiological: bool = True,
) -> np.ndarray:
    """Draw the layers, first at the bottom, in the plane through `mm` (RAS+ mm): uint8 (H, W, 3).

    The extent is that of the first layer's grid by default; layers may lie on any grid. See `make_slice_grid`.
    """
    return paint_layers(
        layers, make_slice_grid(layers[0].volume.grid, plane, mm, pixel=pixel, extent=extent, radiological=radiological)
    )


def paint_layers(layers: Sequence[Layer], onto: Grid) -> np.ndarray:
    """Paint the layers on a slice grid (H, W, 1), black where there is none: uint8 (H, W, 3)."""
    canvas = np.zeros((*onto.shape[:2], 3), np.float32)
    for layer in layers:
        canvas = paint_layer(canvas, layer, onto)
    return np.rint(canvas).astype(np.uint8)


def find_field_of_view(layers: Sequence[Layer]) -> np.ndarray:
    """Find the corners (2, 3) in RAS+ mm of the field of view: the first layer's head, without air, and every mask."""
    image = layers[0].volume
    whole = find_corners(image.grid)
    boxes = []
    if not image.is_colour:
        step = np.maximum(1, np.rint(4 / image.spacing)).astype(int)
        coarse = image.array[tuple(slice(None, None, s) for s in step)]
        bright = colour.apply_window(coarse, colour.find_window(image.array, image.unit)) > 0.1
        points = image.grid.to_mm(np.argwhere(bright) * step)
        boxes += [np.percentile(points, (0.2, 99.8), axis=0)] if len(points) > 100 else []
    for mask in (layer.volume for layer in layers if layer.kind == "mask" and boxes):
        index = find_voxels(mask)
        if len(index):
            around = find_corners(crop_grid(mask.grid, index.min(axis=0), index.max(axis=0) + 1))
            boxes.append([around.min(axis=0), around.max(axis=0)])
    if not boxes:
        return np.stack([whole.min(axis=0), whole.max(axis=0)])
    lower, upper = np.min(boxes, axis=(0, 1)) - 12, np.max(boxes, axis=(0, 1)) + 12
    return np.stack([np.maximum(lower, whole.min(axis=0)), np.minimum(upper, whole.max(axis=0))])


def lay_out_planes(
    layers: Sequence[Layer],
    mm: Sequence[float],
    *,
    height: int = 384,
    extent: np.ndarray | None = None,
    radiological: bool = True,
) -> tuple[Panel, ...]:
    """Lay out the panels of `draw_three_planes`, all at one scale; a flat image has one."""
    grid = layers[0].volume.grid
    extent = find_field_of_view(layers) if extent is None else extent
    planes = (find_plane(grid),) if is_flat(grid) else PLANES
    pixel = float(min(grid.spacing))
    coarse = [make_slice_grid(grid, plane, mm, pixel=pixel, extent=extent) for plane in planes]
    pixel *= max(max(s.shape[0] / height, s.shape[1] / (2 * height)) for s in coarse)
    sheets = [
        make_slice_grid(grid, plane, mm, pixel=pixel, extent=extent, radiological=radiological) for plane in planes
    ]
    tallest = max(s.shape[0] for s in sheets)
    lefts = np.cumsum([0, *(s.shape[1] + GAP_PIXELS for s in sheets[:-1])])
    return tuple(
        Panel(plane, int(x), (tallest - s.shape[0]) // 2, s) for plane, x, s in zip(planes, lefts, sheets, strict=True)
    )


def draw_three_planes(
    layers: Sequence[Layer],
    mm: Sequence[float],
    *,
    height: int = 384,
    extent: np.ndarray | None = None,
    radiological: bool = True,
    crosshair: bool = True,
    letters: bool = True,
) -> np.ndarray:
    """Draw axial, coronal and sagittal planes through `mm` (RAS+ mm) side by side: uint8 (H, W, 3), H about `height`.

    `extent` is `find_field_of_view(layers)` by default; pass it to be faster and to keep it between slices. `letters`
    adds those of the directions, the position and a scale bar.
    """
    panels = lay_out_planes(layers, mm, height=height, extent=extent, radiological=radiological)
    size = min(18, max(11, height // 24))
    pictures = []
    for panel in panels:
        picture = paint_layers(layers, panel.grid)
        if crosshair and len(panels) > 1:
            picture = annotations.add_crosshair(picture, panel.grid, mm)
        if letters:
            picture = annotations.add_directions(picture, panel.grid, size)
            picture = (
                annotations.add_caption(picture, describe_position(panel.plane, mm), size - 3)
                if len(panels) > 1
                else picture
            )
        pictures.append(picture)
    out = np.zeros((max(len(p) for p in pictures), panels[-1].left + pictures[-1].shape[1], 3), np.uint8)
    for panel, picture in zip(panels, pictures, strict=True):
        out[panel.top : panel.top + len(picture), panel.left : panel.left + picture.shape[1]] = picture
    return out


def describe_position(plane: Plane, mm: Sequence[float]) -> str:
    """Describe where the plane cuts, as radiologists do, for example "S 34 mm"."""
    axis = PLANE_NORMALS[plane]
    at = round(float(mm[axis]))
    return f"{('RL', 'AP', 'SI')[axis][int(at < 0)]} {abs(at)} mm"


def find_best_position(mask: Volume) -> np.ndarray:
    """Find the point (3,) in RAS+ mm to show first: in the largest lesion, in the slice where it is largest.

    It is the lesion's voxel nearest to the centre of that cross-section, or the centre of the volume without a lesion.
    """
    index = find_voxels(mask)
    if not len(index):
        return mask.grid.to_mm((np.array(mask.shape) - 1) / 2)
    lower, upper = index.min(axis=0), index.max(axis=0) + 1
    labels, _ = mask_metrics.label_components(
        mask.array[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] > 0
    )
    largest = np.argwhere(labels == 1) + lower
    axis = slice_axis(mask.grid)
    section = largest[largest[:, axis] == np.argmax(np.bincount(largest[:, axis]))]
    return mask.grid.to_mm(section[np.argmin(((section - section.mean(axis=0)) ** 2).sum(axis=1))])


def draw_montage(
    layers: Sequence[Layer], n: int = 12, *, columns: int = 4, width: int = 240, radiological: bool = True
) -> np.ndarray:
    """Draw `n` axial pictures from foot to head in rows of `columns`, each `width` pixels wide: uint8 (H, W, 3).

    They are spaced evenly over the levels with lesions of the first mask among the layers, or over the whole image, and
    cropped to the head. A flat image gives one picture.
    """
    image = layers[0].volume
    masks = [layer.volume for layer in layers if layer.kind == "mask"]
    extent = find_field_of_view(layers)
    middle = extent.mean(axis=0)
    if is_flat(image.grid):
        pixel = make_slice_grid(image.grid, "axial", middle, pixel=1.0).shape[1] / (2 * width)
        return draw_plane(layers, "axial", middle, pixel=pixel, radiological=radiological)
    tiles = []
    for level in _choose_levels(masks[0] if masks else None, extent, n):
        mm = np.array([*middle[:2], level])
        pixel = (extent[1, 0] - extent[0, 0]) / width
        tile = draw_plane(layers, "axial", mm, pixel=pixel, extent=extent, radiological=radiological)
        tiles.append(annotations.add_caption(tile, describe_position("axial", mm)))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % min(columns, len(tiles)))
    return np.concatenate([np.concatenate(tiles[at : at + columns], axis=1) for at in range(0, len(tiles), columns)])


def _choose_levels(mask: Volume | None, extent: np.ndarray, n: int) -> np.ndarray:
    """At most `n` ascending heights (RAS+ z in mm), evenly over those with mask, or over the extent."""
    if mask is None or not mask.array.any():
        return np.linspace(*extent[:, 2], n + 2)[1:-1]
    z = mask.grid.to_mm(find_voxels(mask))[:, 2]
    step = float(np.abs(mask.affine[2, :3]).max())
    levels = np.unique(np.rint((z - z.min()) / step)) * step + z.min()
    return levels[np.linspace(0, len(levels) - 1, min(n, len(levels))).round().astype(int)]
