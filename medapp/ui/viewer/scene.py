"""Scene: what a viewer displays, and the files that it consists of."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import gradio as gr
import matplotlib
import numpy as np

from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import colour
from medapp.rendering.layers import Layer
from medapp.ui.gradio_compat import FileData, GradioModel
from medapp.ui.ownership import ownership
from medapp.ui.viewer import niivue_asset
from medapp.ui.viewer.label_codes import encode_labels, to_unsigned
from medapp.ui.viewer.volume_files import limit_grid, write_volume

DEFAULT_MAP_WINDOW = colour.Window(0.0, 1.0)


class WindowPreset(GradioModel):
    """A grey-value window with a name."""

    name: str
    low: float
    high: float


class SceneImage(GradioModel):
    """The image at the bottom, displayed in its first preset. `low` and `high` are its smallest and largest value."""

    file: FileData
    name: str
    unit: str
    presets: list[WindowPreset]
    low: float
    high: float
    remark: str


class LegendEntry(GradioModel):
    """A line of the legend: one label of one mask, in a CSS colour."""

    name: str
    colour: str
    is_present: bool


class SceneRegions(GradioModel):
    """All masks in one label map, see `encode_labels`: code c stands for the regions `members[c - 1]`."""

    file: FileData
    regions: list[LegendEntry]
    members: list[list[int]]
    opacity: float
    outline: bool


class SceneMap(GradioModel):
    """A heat map, transparent at `low`, or in the middle if `signed`; or, if `solid`, an image over the other one."""

    file: FileData
    name: str
    low: float
    high: float
    colours: list[list[int]]
    opacity: float
    solid: bool = False
    signed: bool = False


class Scene(GradioModel):
    """What the viewer displays. `crosshair` is in RAS+ mm; None leaves it where it is."""

    script: FileData | None
    image: SceneImage
    regions: SceneRegions | None
    heats: list[SceneMap]
    radiological: bool
    crosshair: list[float] | None


def build_scene(
    layers: Mapping[str, Layer], folder: Path, *, mm: Sequence[float] | None = None, radiological: bool = True
) -> Scene:
    """Build a scene of layers by caption, the image first and the rest from the bottom up; write files into `folder`.

    The crosshair moves to `mm` (RAS+ mm), or stays. Files are named by content, so that unchanged layers in the same
    folder are neither written nor sent again. Masks are resampled to the image's grid; a very large image is
    resampled to a coarser one, and a remark says so.
    """
    (name, image), *rest = layers.items()
    grid = limit_grid(image.volume.grid)
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
    """Return NiiVue's script as a file that Gradio serves, or None; fetched at most once in a process."""
    path = niivue_asset.fetch_script()
    if path is None:
        return None
    gr.set_static_paths([path])
    ownership.publish([path])
    return FileData(path=str(path), orig_name=path.name)


def _build_image(name: str, layer: Layer, grid: Grid, folder: Path) -> SceneImage:
    volume = layer.volume
    low, high = (0.0, 255.0) if volume.is_colour else (float(np.nanmin(volume.array)), float(np.nanmax(volume.array)))
    is_coarser = not grid.is_same(volume.grid)
    size = " × ".join(f"{s:.2g}" for s in grid.spacing)
    return SceneImage(
        file=write_volume(volume, grid, folder),
        name=name,
        unit=volume.unit,
        presets=_list_presets(layer, low, high),
        low=low,
        high=max(high, low + 1e-6),
        remark=f"Shown at {size} mm to fit the browser's memory; results use all voxels." if is_coarser else "",
    )


def _list_presets(layer: Layer, low: float, high: float) -> list[WindowPreset]:
    volume = layer.volume
    if volume.is_colour:
        return [WindowPreset(name="Full range", low=low, high=high)]
    auto = colour.find_window(volume.array, volume.unit)
    windows = {"As set": layer.window} if layer.window else {}
    if volume.unit == "HU":
        windows |= {preset.capitalize(): window for preset, window in colour.CT_WINDOWS.items()}
        windows = dict(sorted(windows.items(), key=lambda item: item[1] != (layer.window or auto)))
    else:
        middle, span = (auto.low + auto.high) / 2, auto.high - auto.low
        windows["Auto"] = auto
        windows["Bright lesions"] = colour.Window(middle, auto.high + span / 10)
        windows["Narrow"] = colour.Window(auto.low + span / 4, auto.high - span / 4)
    windows["Full range"] = colour.Window(low, high if high > low else low + 1)
    return [WindowPreset(name=name, low=window.low, high=window.high) for name, window in windows.items()]


def _build_map(name: str, layer: Layer, folder: Path) -> SceneMap:
    is_image = layer.kind == "image"
    window = layer.window or (
        colour.find_window(layer.volume.array, layer.volume.unit) if is_image else DEFAULT_MAP_WINDOW
    )
    steps = matplotlib.colormaps["gray" if is_image else layer.colour_map](np.linspace(0, 1, 16))[:, :3]
    return SceneMap(
        file=write_volume(layer.volume, limit_grid(layer.volume.grid), folder),
        name=name,
        low=window.low,
        high=window.high,
        colours=np.rint(steps * 255).astype(int).tolist(),
        opacity=layer.opacity,
        solid=is_image,
        signed=not is_image and window.low < 0 < window.high,
    )


def _build_regions(masks: Sequence[tuple[str, Layer]], grid: Grid, folder: Path) -> SceneRegions:
    entries: list[LegendEntry] = []
    label_maps, values = [], []
    for caption, layer in masks:
        volume = layer.volume
        mask = volume if volume.labels else volume.new_like(volume.array != 0, labels={1: caption})
        label_maps.append(to_unsigned(resample(mask, onto=grid).array))
        counts = np.bincount(label_maps[-1].ravel())
        values.append(sorted({*mask.labels, *np.flatnonzero(counts).tolist()} - {0}))
        for value in values[-1]:
            label = mask.labels.get(value, f"label {value}")
            name = label if len(masks) == 1 else caption if len(values[-1]) == 1 else f"{caption}: {label}"
            rgb = layer.colour or (layer.colours or {}).get(value) or colour.get_label_colour(value)
            is_present = value < len(counts) and bool(counts[value])
            entries.append(LegendEntry(name=name, colour=colour.to_css(rgb), is_present=is_present))
    codes, members = encode_labels(label_maps, values)
    top = max((layer for _, layer in masks), key=lambda layer: layer.opacity)
    return SceneRegions(
        file=write_volume(Volume(codes, grid.affine, labels={1: "code"}), grid, folder),
        regions=entries,
        members=members,
        opacity=top.opacity,
        outline=top.contour > 0,
    )
