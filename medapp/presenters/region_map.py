"""Regions: what a map of regions shows; it has no tab of its own."""

from collections.abc import Callable, Mapping

import numpy as np
from plotly.graph_objects import Figure

from medapp.imaging.volume import Volume
from medapp.rendering.layers import Layer
from medapp.result import Result

TITLE = "Regions"
ABOUT = "See what Segment Anything finds, and take the index map with you."
RUN = "Find regions"
REFERENCE = "A map of your own"
REFERENCE_ABOUT = "not used by this method"
REFERENCE_LABELS = False  # whether it is a mask or a label map
NOT_COMPARED = "Not used:"
FILES = ("regions",)
TABLE = "regions"
FIGURES = ()


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on."""
    volumes = result.volumes
    shown = {volumes["image"].name: Layer(volumes["image"])}
    return shown | {"Regions": Layer(volumes["regions"], "mask", opacity=0.4)}


def figures(result: Result) -> dict[str, Callable[[], Figure]]:
    """No figures."""
    return {}


def moved(result: Result, reference: Volume | None, settings: Mapping[str, object]) -> Result:
    """The result as it is: there is nothing to compare it with."""
    return result


def check(reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
    """Nothing: it is not looked at."""


def start(result: Result) -> np.ndarray:
    """(3,) RAS+ millimetres where the crosshair stands first: in the middle."""
    image = result.volumes["image"]
    return image.grid.to_mm((np.array(image.shape) - 1) / 2)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    count = result.metrics["regions"].value
    return f"{count} region{'' if count == 1 else 's'}"


def place(result: Result, row: list) -> np.ndarray:
    """(3,) RAS+ millimetres of the voxel of a region, named by the first cell of a row, nearest to its middle."""
    labels = result.volumes["regions"]
    points = labels.grid.to_mm(np.argwhere(labels.array == int(float(row[0]))))
    if not len(points):
        return start(result)
    return points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
