"""Restoration: an image before and after, what changed, and its regions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.image_quality import compare_images, require_overlap, require_same_channels, upsample_to_grid
from medapp.imaging.geometry import is_flat
from medapp.imaging.volume import Volume
from medapp.presenters.base import Picture, Presenter, Settings, find_centre
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.task import RESTORATION
from medapp.rendering import colour, difference_maps, planes, quality_charts
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import find_plane
from medapp.rendering.view import Plane, View, lay_out_columns
from medapp.result import Result

RESTORED, BEFORE, REFERENCE = "Restored", "Before", "Reference"
_upsampled: WeakKeyDictionary[Volume, Volume] = WeakKeyDictionary()
_differences: WeakKeyDictionary[Result, tuple[Volume, float]] = WeakKeyDictionary()


class RestorationPresenter(Presenter):
    """A restored image, with regions where the method uses some; see `Presenter`."""

    title = "Restoration"
    reference = RESTORATION.reference
    files = ("restored", "regions")
    table_name = "regions"
    main_role = "restored"
    chart_titles = ("Values", "Noise power")

    def layers(self, result: Result) -> dict[str, Layer]:
        """The restored image, the others on its grid and in its window, the difference, and the regions."""
        volumes, window = result.volumes, get_window(result)
        difference, end = get_difference(result)
        layers = {RESTORED: Layer(volumes["restored"], window=window)}
        layers[BEFORE] = Layer(get_upsampled(result), window=window, opacity=0.0)
        if "reference" in volumes:
            layers[REFERENCE] = Layer(volumes["reference"], window=window, opacity=0.0)
        title = "Restored minus reference" if "reference" in volumes else "Restored minus before"
        span = colour.Window(-end, end)
        layers[title] = Layer(difference, "heat", span, opacity=0.0, colour_map=difference_maps.SIGNED_MAP)
        if "regions" in volumes:
            layers[get_layer_title("regions")] = Layer(volumes["regions"], "mask", opacity=0.0, contour=1)
        return layers

    def view(self, result: Result) -> View:
        """Before at the left of a line, restored at its right; all images beside each other in an arrangement."""
        layers = self.layers(result)
        shown = [title for title in (BEFORE, RESTORED, REFERENCE) if title in layers]
        grid = result.volumes["restored"].grid
        rows: dict[Plane, float] | None = {find_plane(grid): 1.0} if is_flat(grid) else None
        tiles = lay_out_columns([(title, title, None) for title in shown], rows)
        return View(layers, compared=BEFORE, comparison="swipe", arrangements={"Side by side": tiles})

    def charts(self, result: Result) -> dict[str, Callable[[], Figure]]:
        """How values and noise are distributed, before and after."""
        roles = {"before": "image", "restored": "restored", "reference": "reference"}
        volumes = {name: result.volumes[role] for name, role in roles.items() if role in result.volumes}
        return {
            "Values": partial(quality_charts.plot_histograms, volumes),
            "Noise power": lambda: quality_charts.plot_noise_power(compute_noise(result)),
        }

    def recompute(self, result: Result, reference: Volume | None, settings: Settings) -> Result:
        """The metrics against another reference, or none. Raises InputError if it does not fit."""
        return compare_images(result.noting(reference), reference)

    def check_reference(self, reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
        """Raises InputError for a reference of another kind, or one that lies elsewhere than the first of `volumes`.

        A picture need not say where it lies; whether it has the right number of pixels is known once it is restored.
        """
        image = next(volume for volume in volumes.values() if volume is not None)
        require_same_channels(reference, image)
        if not is_flat(image.grid):
            require_overlap(reference, image)

    def headline(self, result: Result) -> str:
        """How much nearer the image is to the reference, or how much noise it has lost."""
        value = {name: metric.value for name, metric in result.metrics.items() if metric.value is not None}
        if {"psnr", "psnr_before"} <= set(value):
            sentence = f"PSNR {value['psnr_before']:.1f} to {value['psnr']:.1f} dB"
            if {"ssim", "ssim_before"} <= set(value):
                sentence += f", SSIM {value['ssim_before']:.3f} to {value['ssim']:.3f}"
            return f"{sentence}, against the reference"
        if {"rmse", "rmse_before"} <= set(value):
            unit = result.metrics["rmse"].unit
            sentence = f"RMSE {value['rmse_before']:.4g} to {value['rmse']:.4g} {unit}".rstrip()
            return f"{sentence}, against the reference"
        if {"noise", "noise_before"} <= set(value):
            return f"Noise {value['noise_before']:.4g} to {value['noise']:.4g} {result.metrics['noise'].unit}".rstrip()
        size = " × ".join(str(n) for n in result.volumes["restored"].shape if n > 1)
        return f"Restored: {size} pixels" + (f", {value['regions']} regions" if "regions" in value else "")

    def locate(self, result: Result, row: Sequence[Any]) -> np.ndarray:
        """The middle of the region that the first cell numbers, (3,) RAS+ mm."""
        regions = result.volumes.get("regions")
        centre = None if regions is None else find_centre(regions, int(float(row[0])))
        return self.start(result) if centre is None else centre

    def pictures(self, result: Result, radiological: bool = True) -> list[Picture]:
        """Before, restored, the reference, the regions, and what changed or is wrong."""
        volumes, window = result.volumes, get_window(result)
        restored, difference = volumes["restored"], compute_difference(result)
        span = float(np.percentile(np.abs(difference.array), 99.5)) or 1.0
        unit = "of 255" if restored.is_colour else restored.unit
        scale = f"Black is {window.low:.4g}, white {window.high:.4g} {unit}".rstrip() + ". " if window else ""
        error = "Restored minus reference" if "reference" in volumes else "Restored minus input"
        stacks = [([Layer(volumes["image"], window=window)], f"Before. {scale}")]
        stacks.append(([Layer(restored, window=window)], f"Restored. {scale}"))
        if "reference" in volumes:
            stacks.append(([Layer(volumes["reference"], window=window)], f"Reference. {scale}"))
        if "regions" in volumes:
            outline = Layer(volumes["regions"], "mask", opacity=0.9, contour=1)
            stacks.append(([Layer(restored, window=window), outline], f"Regions: {result.metrics['regions'].value}."))
        ends = f"Grey is none, black {-span:.3g}, white {span:.3g} {unit}".rstrip() + "."
        stacks.append(([Layer(difference, window=colour.Window(-span, span))], f"{error}. {ends}"))
        look: dict[str, Any] = {"height": 420, "radiological": radiological, "crosshair": False}
        mm = self.start(result)
        return [Picture(planes.draw_three_planes(stack, mm, **look), caption.strip()) for stack, caption in stacks]


def get_window(result: Result) -> colour.Window | None:
    """The window in which all of the result's grey images are drawn; None for colour."""
    clean = result.volumes.get("reference", result.volumes["restored"])
    return None if clean.is_colour else colour.find_window(clean.array, clean.unit)


def get_upsampled(result: Result) -> Volume:
    """The image before on the grid of the restored one; kept as long as the image is."""
    image, grid = result.volumes["image"], result.volumes["restored"].grid
    if image.grid.is_same(grid):
        return image
    kept = _upsampled.get(image)
    if kept is None or not kept.grid.is_same(grid):
        kept = _upsampled[image] = replace(image, array=upsample_to_grid(image, grid), affine=grid.affine, headers=())
    return kept


def get_difference(result: Result) -> tuple[Volume, float]:
    """What `compute_difference` gives, and where its scale ends; kept as long as the result is."""
    if result not in _differences:
        difference = compute_difference(result)
        _differences[result] = difference, difference_maps.find_scale_end(difference.array)
    return _differences[result]


def compute_noise(result: Result) -> dict[str, Volume]:
    """The errors against the reference, before and restored; where there is none, what has been removed."""
    restored, before = result.volumes["restored"], get_upsampled(result)
    reference = result.volumes.get("reference")
    if reference is None:
        return {"removed": restored.new_like(before.array.astype(np.float32) - restored.array)}
    return {
        name: restored.new_like(volume.array.astype(np.float32) - reference.array)
        for name, volume in (("before", before), ("restored", restored))
    }


def compute_difference(result: Result) -> Volume:
    """Restored minus reference, signed, or minus the image where there is no reference; colours by their mean."""
    restored, reference = result.volumes["restored"], result.volumes.get("reference")
    base = upsample_to_grid(result.volumes["image"], restored.grid) if reference is None else reference.array
    array = restored.array.astype(np.float32) - base
    if restored.is_colour:
        array = array.mean(axis=3)
    unit = "of 255" if restored.is_colour else restored.unit
    return restored.new_like(array, name="change" if reference is None else "error", unit=unit, headers=())
