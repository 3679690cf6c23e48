"""Layers of a picture: one volume and its appearance, and painting it on a slice grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from medapp.imaging.volume import Grid, Volume
from medapp.rendering import colour
from medapp.rendering.colour import Window


@dataclass(frozen=True)
class Layer:
    """A volume painted as an "image" (grey or its own colours), a "mask" (label colours) or "heat" (a colour map).

    `window` is automatic for an image, 0 to 1 for heat. `colour` replaces the colours of all labels, `colours` (by
    label) those of some. `opacity` is from 0 to 1; heat also fades towards the low end of the window. `contour` is the
    width of the outline in pixels; 0 fills a mask.
    """

    volume: Volume
    kind: Literal["image", "mask", "heat"] = "image"
    window: Window | None = None
    colour: tuple[int, int, int] | None = None
    opacity: float = 1.0
    contour: int = 0
    colour_map: str = "plasma"
    colours: Mapping[int, tuple[int, int, int]] | None = None


def paint_layer(canvas: np.ndarray, layer: Layer, onto: Grid) -> np.ndarray:
    """Paint the layer over `canvas` (H, W, 3) float32 from 0 to 255, which lies on the slice grid `onto` (H, W, 1)."""
    volume = layer.volume
    values, inside = sample_slice(volume, onto, nearest=layer.kind == "mask")
    if layer.kind == "mask":
        return _paint_mask(canvas, layer, np.where(inside, values, 0).astype(np.int32))
    if layer.kind == "heat":
        heat = colour.apply_window(values, layer.window or Window(0.0, 1.0))
        return colour.blend(canvas, colour.apply_colour_map(heat, layer.colour_map), layer.opacity * heat * inside)
    if volume.is_colour:
        window = layer.window or (Window(0, 255) if volume.array.dtype == np.uint8 else Window(0.0, 1.0))
    else:
        window = layer.window or colour.find_window(volume.array, volume.unit)
    pixels = colour.apply_window(values, window) * 255
    return colour.blend(canvas, pixels if volume.is_colour else pixels[..., None], layer.opacity * inside)


def _paint_mask(canvas: np.ndarray, layer: Layer, labels: np.ndarray) -> np.ndarray:
    """Paint (H, W) labels, filled or outlined, over their part of the canvas."""
    if not labels.any():
        return canvas
    box = ndimage.find_objects((labels > 0).view(np.uint8))[0]
    margin = layer.contour + 1
    part = tuple(slice(max(0, s.start - margin), s.stop + margin) for s in box)
    labels = colour.trace_outline(labels[part], layer.contour) if layer.contour else labels[part]
    colours = colour.colour_labels(labels, layer.colours) if layer.colour is None else np.float32(layer.colour)
    canvas = canvas.copy()
    canvas[part] = colour.blend(canvas[part], colours, layer.opacity * (labels > 0))
    return canvas


def find_voxels(mask: Volume) -> np.ndarray:
    """Find the voxel indices (N, 3) of values above 0, in the order of the array."""
    return np.stack(np.unravel_index(np.flatnonzero(mask.array > 0), mask.shape), axis=-1)


def sample_slice(volume: Volume, onto: Grid, *, nearest: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sample the volume on a slice grid (H, W, 1): values (H, W) or (H, W, 3), and (H, W) bool, true inside its box.

    Voxels extend half a voxel around their centres, so a single slice has its thickness. Values are nearest-neighbour
    or linear, without the antialiasing of `geometry.resample`: fast, for display.
    """
    index = np.linalg.inv(volume.affine) @ onto.affine  # (row, column, 0) -> index in the volume
    matrix, offset = index[:3, :3], index[:3, 3]
    rows, columns = np.arange(onto.shape[0])[:, None], np.arange(onto.shape[1])
    inside = np.ones(onto.shape[:2], bool)
    for axis, n in enumerate(volume.shape):
        at = offset[axis] + matrix[axis, 0] * rows + matrix[axis, 1] * columns
        inside &= (at >= -0.5) & (at < n - 0.5)
    array = volume.array.view(np.uint8) if volume.array.dtype == bool else volume.array
    channels = np.moveaxis(array, 3, 0) if volume.is_colour else array[None]
    dtype = array.dtype if nearest else np.float32
    values = [
        ndimage.affine_transform(c, matrix, offset, onto.shape, dtype, order=0 if nearest else 1, mode="nearest")[
            ..., 0
        ]
        for c in channels
    ]
    return np.stack(values, axis=-1) if volume.is_colour else values[0], inside
