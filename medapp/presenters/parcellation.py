"""Parcels: which pictures of a map of the brain's regions; shown by the tab of segmentation."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.regional_volumes import measure_regions
from medapp.imaging.brain_labels import region_colours
from medapp.imaging.volume import Volume
from medapp.rendering import planes, region_charts
from medapp.rendering.layers import Layer
from medapp.result import Result

FILES = ("labels", "brain")
TABLE = "regions"
FIGURES = ("3-D", "Volumes", "Details")
FIRST = ("Left-Hippocampus", "Right-Hippocampus")  # where one looks first
DIFFERENT = (255, 0, 200)


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on."""
    volumes = result.volumes
    labels = volumes["labels"]
    present = {n: labels.labels[n] for n in np.unique(labels.array).tolist() if n}
    regions = labels.new_like(labels.array, labels=present or dict(labels.labels))
    shown = {volumes["image"].name: Layer(volumes["image"])}
    shown["Regions"] = Layer(regions, "mask", colours=region_colours(present), opacity=0.45)
    if "disagreement" in volumes:
        shown["Differs from the reference"] = Layer(volumes["disagreement"], "mask", colour=DIFFERENT, opacity=0.4)
    return shown


def figures(result: Result) -> dict[str, Callable[[], Figure]]:
    """Caption to a function that draws the figure, so that only what is looked at is drawn."""
    return {
        "3-D": partial(region_charts.plot_region_surfaces, result.volumes["labels"], result.volumes["brain"]),
        "Volumes": partial(region_charts.plot_region_volumes, result.tables[TABLE]),
        "Details": partial(region_charts.plot_region_dice, result.tables[TABLE]),
    }


def moved(result: Result, reference: Volume | None, settings: Mapping[str, float]) -> Result:
    """The result with another reference; there are no live options."""
    return measure_regions(result, reference)


def start(result: Result) -> np.ndarray:
    """(3,) RAS+ millimetres where the crosshair stands first: in the larger hippocampus, else where there is brain."""
    labels = result.volumes["labels"]
    found = [region for region in FIRST if _points(labels, region).size]
    return place(result, [found[0]]) if found else planes.find_best_position(result.volumes["brain"])


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    value = {name: metric.value for name, metric in result.metrics.items()}
    if not value["brain"]:
        return "No brain found."
    said = f"Brain {value['brain']:.0f} ml; {value['regions']} regions"
    if value["hippocampus_left"] and value["hippocampus_right"]:
        said += f"; hippocampi {value['hippocampus_left']:.1f} left, {value['hippocampus_right']:.1f} ml right"
    if "dice" in value:
        said += f"; mean Dice {value['dice']:.2f} to the reference"
    return said


def place(result: Result, row: list) -> np.ndarray:
    """(3,) RAS+ millimetres of the voxel of a region, named by the first cell of a row, nearest to its middle."""
    points = _points(result.volumes["labels"], str(row[0]))
    if not points.size:
        return start(result)
    return points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]


def pictures(result: Result, radiological: bool = True) -> list[tuple[np.ndarray, str]]:
    """What a report shows, each with its caption."""
    shown = list(layers(result).values())
    side = f"The patient's right is on the {'left' if radiological else 'right'} of the picture."
    three = planes.draw_three_planes(shown, start(result), height=420, radiological=radiological)
    out = [(three, f"The regions over the image; where there is a reference, what differs from it is pink. {side}")]
    if result.volumes["labels"].array.any() and min(result.volumes["image"].shape) > 1:
        about = "Axial slices through the brain, from foot to head."
        out.append((planes.draw_montage(shown, 12, radiological=radiological), about))
    return out


def _points(labels: Volume, region: str) -> np.ndarray:
    """(N, 3) RAS+ millimetres of the region's voxels."""
    number = next((n for n, name in labels.labels.items() if name == region), 0)
    return labels.grid.to_mm(np.argwhere(labels.array == number)) if number else np.zeros((0, 3))
