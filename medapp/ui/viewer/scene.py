"""Scene: what a viewer displays, and the files that it consists of."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import gradio as gr
import numpy as np

from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.rendering import colour
from medapp.rendering.deformation_maps import compute_log_jacobian
from medapp.rendering.layers import Layer
from medapp.rendering.view import LiveMask, Tile, View, Warp
from medapp.ui.gradio_compat import FileData, GradioModel
from medapp.ui.ownership import ownership
from medapp.ui.viewer import niivue_asset
from medapp.ui.viewer.label_codes import encode_labels, to_unsigned
from medapp.ui.viewer.sharing import SceneSharing
from medapp.ui.viewer.surface_files import SceneSurface, list_colours, write_surface
from medapp.ui.viewer.texture_files import SceneTexture, write_texture
from medapp.ui.viewer.view_state import ViewState
from medapp.ui.viewer.volume_files import limit_grid, place_on_grid, write_volume

DEFAULT_MAP_WINDOW = colour.Window(0.0, 1.0)
FIRST_CASE = "first"  # of the results that ship with the app
MAX_LOG_JACOBIAN = 1.0  # of the warp's texture


class WindowPreset(GradioModel):
    """A grey-value window with a name."""

    name: str
    low: float
    high: float


class SceneImage(GradioModel):
    """An image, the bottom one displayed in its first preset. `low` and `high` are its smallest and largest value.

    `is_picture`: nothing tells where it lies or how large its pixels are.
    """

    file: FileData
    name: str
    unit: str
    presets: list[WindowPreset]
    low: float
    high: float
    remark: str
    is_picture: bool


class LegendEntry(GradioModel):
    """A line of the legend: one label of one mask, in a CSS colour. `is_shown` at first."""

    name: str
    colour: str
    is_present: bool
    is_shown: bool


class SceneRegions(GradioModel):
    """All masks in one label map, see `encode_labels`: code c stands for the regions `members[c - 1]`."""

    texture: SceneTexture
    regions: list[LegendEntry]
    members: list[list[int]]
    opacity: float
    outline: bool


class SceneMap(GradioModel):
    """Values as bytes: 0 is `low`, 255 `high`. Transparent at 0, or at the middle if `signed`."""

    texture: SceneTexture
    name: str
    unit: str
    low: float
    high: float
    colours: list[list[int]]
    signed: bool


class SceneLive(GradioModel):
    """Probabilities, a channel each, 255 for 1; see `LiveMask`. `regions` are the legend's entries of its mask.

    `hand` is what was painted and erased, of CORRECTION_LABELS, for a browser that has not done so itself.
    """

    texture: SceneTexture
    names: list[str]
    colours: list[str]
    noun: str = "lesion"
    is_probability: bool = True
    settings: dict[str, float | str | bool]
    switches: list[str]
    weights: list[str]
    regions: list[int]
    voxel_ml: float
    hand: SceneTexture | None = None


class SceneWarp(GradioModel):
    """A displacement in RAS+ mm in the first three channels, `peak` for 255 and -`peak` for 1; 0 is 128.

    The fourth is the natural logarithm of the Jacobian determinant, `log_peak` for 255. `mask` holds 255 where arrows
    belong.
    """

    texture: SceneTexture
    mask: SceneTexture | None
    image: str
    peak: float
    log_peak: float


class SceneTile(GradioModel):
    """See `Tile`."""

    plane: str
    box: list[float]
    shows: str
    warp: float | None
    caption: str


class Scene(GradioModel):
    """What the viewer displays. `crosshair` is in RAS+ mm; None leaves it where it is.

    `key` tells one kind of result from another: what the visitor has switched off stays so only within one. `case`
    names the result that a correction by hand belongs to, and `strokes` are those that the scene shows. `state` is how
    it is shown at first, where it was saved or linked to.
    """

    script: FileData | None
    key: str
    case: str = FIRST_CASE
    strokes: int = 0
    title: str
    image: SceneImage
    others: list[SceneImage]
    brain: FileData | None
    regions: SceneRegions | None
    maps: list[SceneMap]
    live: SceneLive | None
    warp: SceneWarp | None
    surfaces: list[SceneSurface]
    compared: str
    comparison: str
    map: str
    arrangements: dict[str, list[SceneTile]]
    arrangement: str
    radiological: bool
    crosshair: list[float] | None
    sharing: SceneSharing | None = None
    state: ViewState | None = None


def build_scene(
    view: View,
    folder: Path,
    *,
    mm: Sequence[float] | None = None,
    radiological: bool = True,
    key: str = "",
    title: str = "",
    hand: Volume | None = None,
) -> Scene:
    """Build a scene of a view; write files into `folder`.

    The crosshair moves to `mm` (RAS+ mm), or stays. Files are named by content, so that unchanged layers in the same
    folder are neither written nor sent again. Masks and maps are resampled to the image's grid; a very large image is
    resampled to a coarser one, and a remark says so. `title` says what is displayed, on saved pictures. `hand` is the
    correction by hand that the browser does not have yet.
    """
    (name, image), *rest = view.layers.items()
    grid = limit_grid(image.volume.grid)
    masks = {caption: layer for caption, layer in rest if layer.kind == "mask"}
    regions, own = _build_regions(masks, grid, folder) if masks else (None, {})
    return Scene(
        script=script_file(),
        key=key,
        title=title,
        image=_build_image(name, image, grid, folder),
        others=[
            _build_image(caption, layer, limit_grid(layer.volume.grid), folder)
            for caption, layer in rest
            if layer.kind == "image"
        ],
        brain=None if view.brain is None else write_volume(_cut_out(image, view.brain), grid, folder),
        regions=regions,
        maps=[_build_map(caption, layer, grid, folder) for caption, layer in rest if layer.kind == "heat"],
        live=None if view.live is None else _build_live(view.live, own, grid, folder, hand),
        warp=None if view.warp is None else _build_warp(view.warp, folder),
        surfaces=[write_surface(surface, folder) for surface in view.surfaces],
        compared=view.compared,
        comparison=view.comparison,
        map=view.map,
        arrangements={title: [_build_tile(tile) for tile in tiles] for title, tiles in view.arrangements.items()},
        arrangement=view.arrangement,
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
        is_picture=volume.is_colour or NO_PIXEL_SIZE_REMARK in volume.remarks,
    )


def _list_presets(layer: Layer, low: float, high: float) -> list[WindowPreset]:
    volume = layer.volume
    if volume.is_colour:
        return [WindowPreset(name="Full range", low=low, high=high)]
    auto = colour.find_window(volume.array, volume.unit)
    if volume.unit == "HU":
        windows = {preset.capitalize(): window for preset, window in colour.CT_WINDOWS.items()}
        windows = dict(sorted(windows.items(), key=lambda item: item[1] != (layer.window or auto)))
    else:
        first = layer.window or auto
        middle, span = (first.low + first.high) / 2, first.high - first.low
        windows = {"Automatic": first}
        windows["Bright lesions"] = colour.Window(middle, first.high + span / 10)
        windows["Narrow"] = colour.Window(first.low + span / 4, first.high - span / 4)
    windows["Full range"] = colour.Window(low, max(high, low + 1e-6))
    return [WindowPreset(name=name, low=window.low, high=window.high) for name, window in windows.items()]


def _cut_out(layer: Layer, brain: Volume) -> Volume:
    """The brain in the image's window, uint8 on its own grid, 0 elsewhere: its opacity in the 3-D view."""
    image = layer.volume
    window = layer.window or colour.find_window(image.array, image.unit)
    inside = resample(brain, onto=image.grid).array > 0
    values = np.rint(colour.apply_window(image.array, window) * 255).astype(np.uint8)
    return Volume(values * inside, image.affine)


def _build_map(name: str, layer: Layer, grid: Grid, folder: Path) -> SceneMap:
    window = layer.window or DEFAULT_MAP_WINDOW
    volume = place_on_grid(layer.volume, grid)
    values = np.rint(colour.apply_window(volume.array, window) * 255).astype(np.uint8)
    is_signed = window.low < 0 < window.high
    if is_signed:
        values[volume.array == 0] = 128
    return SceneMap(
        texture=write_texture(values, grid.affine, folder),
        name=name,
        unit=layer.volume.unit,
        low=window.low,
        high=window.high,
        colours=list_colours(layer.colour_map),
        signed=is_signed,
    )


def _build_regions(masks: Mapping[str, Layer], grid: Grid, folder: Path) -> tuple[SceneRegions, dict[str, range]]:
    """The regions of all masks, and by the caption of a mask which of them are its own."""
    entries: list[LegendEntry] = []
    label_maps, values = [], []
    own: dict[str, range] = {}
    for caption, layer in masks.items():
        volume, before = layer.volume, len(entries)
        mask = volume if volume.labels else volume.new_like(volume.array != 0, labels={1: caption})
        label_maps.append(to_unsigned(resample(mask, onto=grid).array))
        counts = np.bincount(label_maps[-1].ravel())
        values.append(sorted({*mask.labels, *np.flatnonzero(counts).tolist()} - {0}))
        for value in values[-1]:
            label = mask.labels.get(value, f"label {value}")
            name = label if len(masks) == 1 else caption if len(values[-1]) == 1 else f"{caption}: {label}"
            rgb = layer.colour or (layer.colours or {}).get(value) or colour.get_label_colour(value)
            entries.append(
                LegendEntry(
                    name=name,
                    colour=colour.to_css(rgb),
                    is_present=value < len(counts) and bool(counts[value]),
                    is_shown=layer.opacity > 0,
                )
            )
        own[caption] = range(before, len(entries))
    codes, members = encode_labels(label_maps, values)
    top = max(masks.values(), key=lambda layer: layer.opacity)
    regions = SceneRegions(
        texture=write_texture(codes, grid.affine, folder),
        regions=entries,
        members=members,
        opacity=top.opacity or 0.9,
        outline=top.contour > 0,
    )
    return regions, own


def _build_live(live: LiveMask, own: Mapping[str, range], grid: Grid, folder: Path, hand: Volume | None) -> SceneLive:
    volumes = [place_on_grid(volume, grid) for volume in live.probabilities.values()]
    channels = [np.rint(np.clip(volume.array, 0, 1) * 255).astype(np.uint8) for volume in volumes]
    return SceneLive(
        texture=write_texture(np.stack(channels, axis=-1), grid.affine, folder),
        names=list(live.probabilities),
        noun=live.noun,
        is_probability=live.is_probability,
        colours=[colour.to_css(rgb) for rgb in live.colours],
        settings=dict(live.settings),
        switches=list(live.switches),
        weights=list(live.weights),
        regions=list(own[live.caption]),
        voxel_ml=grid.voxel_ml,
        hand=hand and write_texture(resample(hand, onto=grid).array.astype(np.uint8), grid.affine, folder),
    )


def _build_warp(warp: Warp, folder: Path) -> SceneWarp:
    field = warp.deformation
    peak = max(0.1, float(np.abs(field.vectors).max()))
    if warp.log_jacobian is None:
        log = compute_log_jacobian(field.jacobian_determinant())
    else:
        log = warp.log_jacobian.array
    shares = [*(field.vectors / peak), np.clip(log / MAX_LOG_JACOBIAN, -1, 1)]
    channels = np.stack([np.rint(share * 127 + 128).astype(np.uint8) for share in shares], axis=-1)
    mask = None
    if warp.mask is not None:
        mask = write_texture(warp.mask.astype(np.uint8) * 255, field.affine, folder, halve=True)
    return SceneWarp(
        texture=write_texture(channels, field.affine, folder, halve=True),
        mask=mask,
        image=warp.caption,
        peak=peak,
        log_peak=MAX_LOG_JACOBIAN,
    )


def _build_tile(tile: Tile) -> SceneTile:
    return SceneTile(
        plane=tile.plane, box=list(tile.box), shows=tile.shows, warp=tile.warp, caption=tile.caption or tile.shows
    )
