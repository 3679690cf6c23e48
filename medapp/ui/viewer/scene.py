"""Scene: what a viewer shows, and the files that it is made of.

Masks travel as one label map, in which every overlap has its own number, so that the browser can hide, fill or outline
each region without asking again.
"""

import gzip
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import gradio as gr
import matplotlib
import nibabel as nib
import numpy as np

from medapp.imaging.geometry import resample, with_spacing
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import colour
from medapp.rendering.layers import Layer
from medapp.ui.gradio_compat import FileData, GradioModel
from medapp.ui.ownership import ownership
from medapp.ui.viewer import niivue_asset

MAX_VOXELS = 48_000_000  # more is shown coarser: a browser needs about 12 bytes of graphics memory for each
MAX_SIDE = 512
DEFAULT_MAP_WINDOW = colour.Window(0.0, 1.0)  # of a map
_digests: WeakKeyDictionary[Volume, str] = WeakKeyDictionary()


class WindowPreset(GradioModel):
    """A window that can be chosen by name."""

    name: str
    low: float
    high: float


class SceneImage(GradioModel):
    """The image at the bottom, shown through its first preset. `low` and `high` are its darkest and brightest value."""

    file: FileData
    name: str
    unit: str
    presets: list[WindowPreset]
    low: float
    high: float
    remark: str


class LegendEntry(GradioModel):
    """A line of the legend for one label of one mask."""

    name: str
    colour: str
    found: bool


class SceneRegions(GradioModel):
    """All masks in one label map: value v stands for the regions `members[v - 1]`, bottom first."""

    file: FileData
    regions: list[LegendEntry]
    members: list[list[int]]
    opacity: float
    outline: bool


class SceneMap(GradioModel):
    """A map in colours, transparent at `low`; or, if `solid`, another image in the window of the one at the bottom.

    A `signed` map is transparent in the middle.
    """

    file: FileData
    name: str
    low: float
    high: float
    colours: list[list[int]]
    opacity: float
    solid: bool = False
    signed: bool = False


class Scene(GradioModel):
    """What the viewer shows. `crosshair` is in RAS+ millimetres; None leaves it where it is."""

    script: FileData | None
    image: SceneImage
    regions: SceneRegions | None
    heats: list[SceneMap]
    radiological: bool
    crosshair: list[float] | None


def build_scene(
    layers: Mapping[str, Layer], folder: Path, *, mm: Sequence[float] | None = None, radiological: bool = True
) -> Scene:
    """The layers by caption, the image first and the rest from the bottom up, with their files written into `folder`.

    The crosshair goes to `mm` (RAS+ millimetres), or stays. Files are named by content: in the same folder, what is
    unchanged is neither written nor sent again. Masks are drawn on the image's grid; a very large image is drawn
    coarser, and a remark says so.
    """
    (name, image), *rest = layers.items()
    grid = _limit_grid(image.volume.grid)
    masks = [(caption, layer) for caption, layer in rest if layer.kind == "mask"]
    return Scene(
        script=script_file(),
        image=_build_image(name, image, grid, folder),
        regions=_build_regions(masks, grid, folder) if masks else None,
        heats=[_build_map(caption, layer, folder) for caption, layer in rest if layer.kind != "mask"],
        radiological=radiological,
        crosshair=None if mm is None else [float(x) for x in mm],
    )


@cache
def script_file() -> FileData | None:
    """NiiVue's script as a file that Gradio serves; asked for once, so that no scene waits for the network again."""
    path = niivue_asset.fetch_script()
    if path is None:
        return None
    gr.set_static_paths([path])
    ownership.publish([path])
    return FileData(path=str(path), orig_name=path.name)


def _build_image(name: str, layer: Layer, grid: Grid, folder: Path) -> SceneImage:
    volume = layer.volume
    low, high = (0.0, 255.0) if volume.is_colour else (float(np.nanmin(volume.array)), float(np.nanmax(volume.array)))
    coarser = not grid.is_same(volume.grid)
    size = " × ".join(f"{s:.2g}" for s in grid.spacing)
    return SceneImage(
        file=_write_volume(volume, grid, folder),
        name=name,
        unit=volume.unit,
        presets=_list_presets(layer, low, high),
        low=low,
        high=max(high, low + 1e-6),
        remark=f"Shown at {size} mm to fit the browser's memory; results use all voxels." if coarser else "",
    )


def _list_presets(layer: Layer, low: float, high: float) -> list[WindowPreset]:
    volume = layer.volume
    if volume.is_colour:
        return [WindowPreset(name="Full range", low=low, high=high)]
    auto = colour.find_window(volume.array, volume.unit)
    found = {"As set": layer.window} if layer.window else {}
    if volume.unit == "HU":
        found |= {preset.capitalize(): window for preset, window in colour.CT_WINDOWS.items()}
        found = dict(sorted(found.items(), key=lambda item: item[1] != (layer.window or auto)))
    else:
        middle, span = (auto.low + auto.high) / 2, auto.high - auto.low
        found["Auto"] = auto
        found["Bright lesions"] = colour.Window(middle, auto.high + span / 10)
        found["Narrow"] = colour.Window(auto.low + span / 4, auto.high - span / 4)
    found["Full range"] = colour.Window(low, high if high > low else low + 1)
    return [WindowPreset(name=name, low=window.low, high=window.high) for name, window in found.items()]


def _build_map(name: str, layer: Layer, folder: Path) -> SceneMap:
    solid = layer.kind == "image"
    window = layer.window or (
        colour.find_window(layer.volume.array, layer.volume.unit) if solid else DEFAULT_MAP_WINDOW
    )
    steps = matplotlib.colormaps["gray" if solid else layer.colour_map](np.linspace(0, 1, 16))[:, :3]
    return SceneMap(
        file=_write_volume(layer.volume, _limit_grid(layer.volume.grid), folder),
        name=name,
        low=window.low,
        high=window.high,
        colours=np.rint(steps * 255).astype(int).tolist(),
        opacity=layer.opacity,
        solid=solid,
        signed=not solid and window.low < 0 < window.high,
    )


def _build_regions(masks: Sequence[tuple[str, Layer]], grid: Grid, folder: Path) -> SceneRegions:
    """The masks one over the other, as one label map."""
    regions: list[LegendEntry] = []
    stacked, base = np.zeros(1, np.uint16), 1  # numbers with one digit for each mask
    digits: list[list[int]] = []  # by mask: from the digit, less one, to the region
    for caption, layer in masks:
        mask = (
            layer.volume if layer.volume.labels else layer.volume.new_like(layer.volume.array != 0, labels={1: caption})
        )
        array = _to_unsigned(resample(mask, onto=grid).array)
        counts = np.bincount(array.ravel())
        values = sorted({*mask.labels, *np.flatnonzero(counts).tolist()} - {0})
        digits.append(list(range(len(regions), len(regions) + len(values))))
        for value in values:
            label = mask.labels.get(value, f"label {value}")
            title = label if len(masks) == 1 else caption if len(values) == 1 else f"{caption}: {label}"
            paint = colour.to_css(layer.colour or (layer.colours or {}).get(value) or colour.get_label_colour(value))
            regions.append(LegendEntry(name=title, colour=paint, found=value < len(counts) and bool(counts[value])))
        table = np.zeros(max(len(counts), *values, 0) + 1, np.uint16 if base * (len(values) + 1) < 65536 else np.int64)
        table[values] = base * np.arange(1, len(values) + 1)
        stacked = stacked + _look_up(table, array)
        base *= len(values) + 1
    codes, members = _renumber(stacked, digits)
    top = max((layer for _, layer in masks), key=lambda layer: layer.opacity)
    return SceneRegions(
        file=_write_volume(Volume(codes, grid.affine, labels={1: "code"}), grid, folder),
        regions=regions,
        members=members,
        opacity=top.opacity,
        outline=top.contour > 0,
    )


def _to_unsigned(array: np.ndarray) -> np.ndarray:
    """Labels as whole numbers without a sign, in as few bytes as may be; negative ones count as none."""
    if array.dtype == bool:
        return array.view(np.uint8)
    if array.dtype.kind != "u":
        array = np.maximum(array, 0).astype(np.uint32)
    return array


def _look_up(table: np.ndarray, array: np.ndarray) -> np.ndarray:
    plain = np.array_equal(table, np.arange(len(table)))
    return array.astype(table.dtype) if plain else table[array]


def _renumber(stacked: np.ndarray, digits: list[list[int]]) -> tuple[np.ndarray, list[list[int]]]:
    """The numbers (I, J, K) counted anew from 1 without gaps, as uint8, and the regions that each stands for.

    At most 255: of more, the rarest are left out.
    """
    if stacked.dtype == np.uint16:
        counts = np.bincount(stacked.ravel())
        present, counts, place = np.flatnonzero(counts), counts[counts > 0], stacked
    else:
        present, place, counts = np.unique(stacked, return_inverse=True, return_counts=True)
    kept = np.argsort(-np.where(present > 0, counts, 0), kind="stable")[:255]
    kept = np.sort(kept[present[kept] > 0])
    at = present[kept] if place is stacked else kept
    table = np.zeros(max([*at.tolist(), int(place.max())]) + 1, np.uint8)
    table[at] = np.arange(1, len(kept) + 1)
    members = []
    for number in present[kept].tolist():
        inside = []
        for part in digits:
            number, digit = divmod(number, len(part) + 1)
            inside += [part[digit - 1]] if digit else []
        members.append(inside)
    return _look_up(table, place.reshape(stacked.shape)), members


def _limit_grid(grid: Grid) -> Grid:
    """The grid, or one with the same box and larger voxels that a browser can hold."""
    spacing, floor = grid.spacing, float(min(grid.spacing))
    out = grid
    while max(out.shape) > MAX_SIDE or np.prod(out.shape, dtype=np.int64) > MAX_VOXELS:
        floor *= 1.05
        out = with_spacing(grid, tuple(float(max(s, floor)) for s in spacing))
    return out


def _write_volume(volume: Volume, grid: Grid, folder: Path) -> FileData:
    """The volume on `grid` as NIfTI in `folder`, named by its content; not written again if it is there."""
    path = folder / f"{digest_volume(volume)}-{'x'.join(map(str, grid.shape))}.nii.gz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        volume = volume if grid.is_same(volume.grid) else resample(volume, onto=grid)
        array, slope, inter = _pack_voxels(volume)
        image = nib.Nifti1Image(array, volume.affine)
        image.header.set_slope_inter(slope, inter)
        image.header.set_xyzt_units("mm")
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))
        os.replace(part, path)
    return FileData(path=str(path), orig_name=path.name)


def digest_volume(volume: Volume) -> str:
    """A name for the volume's content; reckoned once for each volume, for a large one takes a while."""
    if volume not in _digests:
        content = hashlib.blake2b(volume.array, digest_size=12)
        content.update(repr((volume.array.dtype.str, volume.shape, volume.affine.tolist())).encode())
        _digests[volume] = content.hexdigest()
    return _digests[volume]


def _pack_voxels(volume: Volume) -> tuple[np.ndarray, float, float]:
    """Values in as few bytes as show no difference, with slope and intercept; colour as NIfTI's RGB."""
    array = volume.array
    if volume.is_colour:
        bright = array if array.dtype == np.uint8 else np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(bright).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0], 1.0, 0.0
    if array.dtype == bool or array.dtype == np.uint8:
        return array.astype(np.uint8), 1.0, 0.0
    array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(array.min()), float(array.max())
    whole = np.issubdtype(array.dtype, np.integer) or not np.any(array % 1)
    if whole and low >= -32768 and high <= 32767:
        return array.astype(np.int16), 1.0, 0.0
    step = (high - low) / 65534
    window = colour.find_window(array)
    if step and step <= (window.high - window.low) / 4000:
        return np.rint((array - low) / step - 32767).astype(np.int16), step, low + 32767 * step
    return array.astype(np.float32), 1.0, 0.0
