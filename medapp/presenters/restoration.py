"""Restoration: which pictures of which roles, and what moves with another reference."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.image_quality import compare_images, require_overlap, require_same_channels, upsample_to_grid
from medapp.imaging.geometry import is_flat
from medapp.imaging.volume import Volume
from medapp.presenters.region_map import place as place
from medapp.rendering import colour, planes, quality_charts
from medapp.rendering.layers import Layer
from medapp.result import Result

TITLE = "Restoration"
ABOUT = "Take the noise out of a scan, or make a picture finer, region by region; see what changed."
RUN = "Restore"
REFERENCE = "Compare with a clean image"
REFERENCE_ABOUT = "the clean image of the same place, to compare with"
REFERENCE_LABELS = False  # whether it is a mask or a label map
REFERENCE_NAME = "Reference"
NOT_COMPARED = "Not compared with the reference."
FILES = ("restored", "regions")
TABLE = "regions"
FIGURES = ("Values", "Noise power")


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on, all in one window."""
    volumes = result.volumes
    image = volumes["image"]
    seen = window(result)
    shown = {image.name: Layer(image, window=seen), "Restored": Layer(volumes["restored"], window=seen)}
    if "reference" in volumes:
        shown["Reference"] = Layer(volumes["reference"], window=seen, opacity=0.0)
    shown["Regions"] = Layer(volumes["regions"], "mask", opacity=0.0, contour=1)
    return shown


def figures(result: Result) -> dict[str, Callable[[], Figure]]:
    """Caption to a function that draws the figure, so that only what is looked at is drawn."""
    volumes = {
        name: result.volumes[role]
        for name, role in (("before", "image"), ("restored", "restored"), ("reference", "reference"))
        if role in result.volumes
    }
    return {
        "Values": partial(quality_charts.plot_histograms, volumes),
        "Noise power": partial(quality_charts.plot_spectra, volumes),
    }


def window(result: Result) -> colour.Window | None:
    """The window in which all of the result's grey images are drawn; None for colour."""
    clean = result.volumes.get("reference", result.volumes["restored"])
    return None if clean.is_colour else colour.find_window(clean.array, clean.unit)


def difference(result: Result) -> Volume:
    """Restored minus reference, signed, or minus the image where there is no reference; colours by their mean."""
    volumes = result.volumes
    restored = volumes["restored"]
    other = volumes.get("reference")
    against = other.array if other is not None else upsample_to_grid(volumes["image"], restored.grid)
    array = restored.array.astype(np.float32) - against
    if restored.is_colour:
        array = array.mean(axis=3)
    return restored.new_like(array, name="error" if other is not None else "change", headers=())


def moved(result: Result, reference: Volume | None, settings: Mapping[str, object]) -> Result:
    """The result with another reference, or none; the network is not asked again. Raises InputError if it is unfit."""
    return compare_images(result.noting(reference), reference)


def check(reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
    """Raises InputError for a reference of another kind, or one that lies elsewhere than the first of `volumes`.

    A picture need not say where it lies; whether it has the right number of pixels is told once it is restored.
    """
    image = next(v for v in volumes.values() if v is not None)
    require_same_channels(reference, image)
    if not is_flat(image.grid):
        require_overlap(reference, image)


def start(result: Result) -> np.ndarray:
    """(3,) RAS+ millimetres where the crosshair stands first: in the middle."""
    image = result.volumes["image"]
    return image.grid.to_mm((np.array(image.shape) - 1) / 2)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    value = {name: metric.value for name, metric in result.metrics.items()}
    if value.get("psnr") is not None and value.get("psnr_before") is not None:
        said = f"PSNR {value['psnr_before']:.1f} to {value['psnr']:.1f} dB"
        if value.get("ssim") is not None:
            said += f", SSIM {value['ssim_before']:.3f} to {value['ssim']:.3f}"
        return f"{said}, against the clean image"
    if "rmse" in value:
        unit = result.metrics["rmse"].unit
        return f"RMSE {value['rmse_before']:.4g} to {value['rmse']:.4g} {unit}".rstrip() + ", against the clean image"
    if value.get("noise") is not None and value.get("noise_before") is not None:
        unit = result.metrics["noise"].unit
        return f"Noise {value['noise_before']:.4g} to {value['noise']:.4g} {unit}".rstrip()
    size = result.volumes["restored"].shape
    return f"Restored: {' × '.join(str(n) for n in size if n > 1)} pixels, {value['regions']} regions"


def pictures(result: Result, radiological: bool = True) -> list[tuple[np.ndarray, str]]:
    """What a report shows, each with its caption: before, restored, the regions, and what changed or is wrong."""
    volumes, mm, seen = result.volumes, start(result), window(result)
    restored, change = volumes["restored"], difference(result)
    span = float(np.percentile(np.abs(change.array), 99.5)) or 1.0
    unit = "of 255" if restored.is_colour else restored.unit
    scale = f"Black is {seen.low:.4g}, white {seen.high:.4g} {unit}".rstrip() + ". " if seen else ""
    error = "Restored minus reference" if "reference" in volumes else "Restored minus what was put in"
    drawn = [
        ([Layer(volumes["image"], window=seen)], f"Before. {scale}"),
        ([Layer(restored, window=seen)], f"Restored. {scale}"),
        (
            [Layer(restored, window=seen), Layer(volumes["regions"], "mask", opacity=0.9, contour=1)],
            f"Regions: {result.metrics['regions'].value}.",
        ),
        (
            [Layer(change, window=colour.Window(-span, span))],
            f"{error}. Grey is none, black {-span:.3g}, white {span:.3g} {unit}".rstrip() + ".",
        ),
    ]
    if "reference" in volumes:
        drawn.insert(2, ([Layer(volumes["reference"], window=seen)], f"Reference. {scale}"))
    return [
        (planes.draw_three_planes(stack, mm, height=420, radiological=radiological, crosshair=False), said.strip())
        for stack, said in drawn
    ]
