"""NiiVue document: a result as one file for NiiVue's own viewers, with the image and what lies on it inside.

The format is that of NiiVue's `saveDocument`: gzipped JSON whose images are NIfTI files as base64. NiiVue 0.69 reads no
colours of single labels from it, so a mask of several labels is stored in its colours.
"""

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medapp.imaging.volume import Grid, Volume
from medapp.presenters.base import Presenter
from medapp.rendering import colour
from medapp.rendering.layers import Layer
from medapp.result import NOT_A_DIAGNOSIS, Result
from medapp.ui.viewer.texture_files import find_ras_axes
from medapp.ui.viewer.volume_files import limit_grid, pack_nifti, place_on_grid

SUFFIX = ".nvd"
MASK_MAPS = ("red", "blue", "green", "violet")  # NiiVue's maps for masks of one label, in their order
HEAT_MAP = "plasma"
MASK_OPACITY = 0.6
RGBA_DTYPE = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
MULTIPLANAR = 3  # NiiVue's slice type: three planes and the 3-D view


def write_document(result: Result, presenter: Presenter, mm: np.ndarray, title: str, path: Path) -> Path:
    """Write a result as a NiiVue document with the crosshair at `mm` (3,), RAS+ mm, and return the path.

    The image lies at the bottom, then the further images and the maps, which are hidden, and the masks, the result's
    own at the top; each in its own space.
    """
    layers = presenter.document_layers(result)
    masks = [name for name, layer in layers.items() if layer.kind == "mask"]
    images: list[dict[str, Any]] = []
    blobs: list[str] = []
    for name in [*(name for name in layers if name not in masks), *reversed(masks)]:
        number = masks.index(name) if name in masks else 0
        options, content = _describe_layer(name, layers[name], is_bottom=not images, number=number)
        images.append(options)
        blobs.append(base64.b64encode(content).decode("ascii"))
    bottom = limit_grid(next(iter(layers.values())).volume.grid)
    document = {
        "title": title,
        "imageOptionsArray": images,
        "encodedImageBlobs": blobs,
        "meshOptionsArray": [],
        "meshesString": "[]",
        "encodedDrawingBlob": "",
        "previewImageDataURL": "",
        "labels": [],
        "opts": {
            "isRadiologicalConvention": True,
            "multiplanarForceRender": True,
            "sliceType": MULTIPLANAR,
            "backColor": [0, 0, 0, 1],
        },
        "sceneData": {"crosshairPos": find_fractions(bottom, mm).tolist()},
        "customData": NOT_A_DIAGNOSIS,
    }
    path.write_bytes(gzip.compress(json.dumps(document).encode(), 6, mtime=0))
    return path


def find_fractions(grid: Grid, mm: np.ndarray) -> np.ndarray:
    """Return where a point (3,), RAS+ mm, lies in the grid's box: (3,) from 0 to 1 towards R, A and S, as NiiVue."""
    axes, flips = find_ras_axes(grid.affine)
    shares = np.clip((grid.to_index(mm) + 0.5) / grid.shape, 0, 1)
    return np.array([1 - shares[axis] if flip else shares[axis] for axis, flip in zip(axes, flips, strict=True)])


def _describe_layer(name: str, layer: Layer, *, is_bottom: bool, number: int) -> tuple[dict[str, Any], bytes]:
    """NiiVue's options of a layer, and it as a NIfTI file; `number` counts the masks before it."""
    volume = place_on_grid(_as_label_map(layer), limit_grid(layer.volume.grid))
    options: dict[str, Any] = {"name": f"{name}.nii", "opacity": 1.0 if is_bottom else 0.0, "colormap": "gray"}
    if layer.kind == "image":
        if not volume.is_colour:
            window = layer.window or colour.find_window(volume.array, volume.unit)
            options |= {"cal_min": window.low, "cal_max": window.high}
        return options, pack_nifti(volume)
    if layer.kind == "heat":
        window = layer.window or colour.Window(0.0, 1.0)
        low = 0.0 if window.low < 0 else window.low
        return options | {"colormap": HEAT_MAP, "cal_min": low, "cal_max": window.high}, pack_nifti(volume)
    opacity = MASK_OPACITY if layer.opacity else 0.0
    values = np.unique(volume.array[volume.array != 0])
    if len(values) > 1:
        return options | {"opacity": opacity, "colormap": ""}, _pack_colours(volume, layer)
    mask = volume.new_like((volume.array != 0).astype(np.uint8))
    look = {"colormap": MASK_MAPS[number % len(MASK_MAPS)], "cal_min": 0.0, "cal_max": 1.0}
    return options | look | {"opacity": opacity}, pack_nifti(mask)


def _as_label_map(layer: Layer) -> Volume:
    """The layer's volume, resampled by nearest voxel if it is a mask."""
    volume = layer.volume
    if layer.kind != "mask" or volume.labels:
        return volume
    return volume.new_like((volume.array != 0).astype(np.uint8), labels={1: volume.name})


def _pack_colours(volume: Volume, layer: Layer) -> bytes:
    """The labels in their colours, transparent where there is none."""
    colours = colour.colour_labels(volume.array, layer.colours) if layer.colour is None else layer.colour
    pixels = np.empty((*volume.shape, 4), np.uint8)
    pixels[..., :3] = colours
    pixels[..., 3] = np.where(volume.array != 0, 255, 0)
    return nib.Nifti1Image(pixels.view(RGBA_DTYPE)[..., 0], volume.affine).to_bytes()
