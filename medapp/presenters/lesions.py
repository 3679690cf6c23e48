"""Lesions: which pictures of which roles, and what moves with the live sliders; shown by the tab of segmentation."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.lesions import measure_lesions
from medapp.imaging.volume import Volume
from medapp.rendering import lesion_charts, lesion_mesh, planes
from medapp.rendering.layers import Layer
from medapp.result import Result

FILES = ("mask", "probability")
TABLE = "lesions"
FIGURES = ("3-D", "Volumes", "Details")


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on."""
    volumes = result.volumes
    shown = {volumes["image"].name: Layer(volumes["image"])}
    shown["Probability"] = Layer(volumes["probability"], "heat", opacity=0.0)
    shown["Lesion"] = Layer(volumes["mask"], "mask", opacity=0.9, contour=2)
    if "reference" in volumes:
        shown["Reference"] = Layer(volumes["reference"], "mask", colour=(86, 180, 233), opacity=0.9, contour=2)
    return shown


def figures(result: Result) -> dict[str, Callable[[], Figure]]:
    """Caption to a function that draws the figure, so that only what is looked at is drawn."""
    volumes = result.volumes
    return {
        "3-D": partial(lesion_mesh.plot_lesion_surfaces, volumes["mask"], volumes["image"]),
        "Volumes": partial(lesion_charts.plot_volume_by_slice, volumes["mask"], volumes.get("reference")),
        "Details": partial(
            lesion_charts.plot_probability_histogram, volumes["probability"], result.settings["threshold"]
        ),
    }


def moved(result: Result, reference: Volume | None, settings: Mapping[str, float]) -> Result:
    """The result with other live options or another reference; the network is not asked again."""
    return measure_lesions(result, settings["threshold"], settings["min_lesion_ml"], reference)


def start(result: Result) -> np.ndarray:
    """(3,) RAS+ millimetres where the crosshair stands first: in the largest lesion, else in the middle."""
    mask, image = result.volumes["mask"], result.volumes["image"]
    return planes.find_best_position(mask) if mask.array.any() else image.grid.to_mm((np.array(image.shape) - 1) / 2)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    count, volume = result.metrics["lesions"].value, result.metrics["volume"].value
    few = result.metrics["left_out"].value
    less = f" {few} smaller than {result.settings['min_lesion_ml']:g} ml left out." if few else ""
    if not count and result.doubt:
        return "No lesion was found, which means little then."
    if not count:
        return f"Nothing found at this threshold.{less} That does not mean that nothing is there."
    said = f"{volume:.1f} ml in {count} lesion{'s' if count != 1 else ''}{';' if less else ''}{less.rstrip('.')}"
    if "dice" in result.metrics:
        said += f"; Dice {result.metrics['dice'].value:.2f} to the reference"
    return said


def place(result: Result, row: list) -> np.ndarray:
    """(3,) RAS+ millimetres of the voxel nearest to the centroid of the lesion in a row of the table."""
    mask = result.volumes["mask"]
    points = mask.grid.to_mm(np.argwhere(mask.array > 0))
    centroid = np.array([float(v) for v in row[3:6]])
    return points[np.argmin(((points - centroid) ** 2).sum(axis=1))] if len(points) else centroid
