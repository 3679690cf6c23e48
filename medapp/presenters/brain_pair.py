"""Pair: what two heads made ready for a registration show; it has no tab of its own."""

from collections.abc import Callable, Mapping

import numpy as np
from plotly.graph_objects import Figure

from medapp.imaging.volume import Volume
from medapp.rendering.layers import Layer
from medapp.result import Result

TITLE = "Pair"
ABOUT = "See what a registration would be given, and take it with you."
RUN = "Make ready"
REFERENCE = "Another image"
REFERENCE_ABOUT = "not used by this method"
REFERENCE_LABELS = False  # whether it is a mask or a label map
NOT_COMPARED = "Not used:"
FILES = ("fixed_prepared", "moving_prepared", "labels", "moving_labels")
TABLE = ""
FIGURES = ()


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on."""
    volumes = result.volumes
    return {"Fixed": Layer(volumes["fixed_prepared"]), "Moving": Layer(volumes["moving_prepared"], opacity=0.5)}


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
    image = result.volumes["fixed_prepared"]
    return image.grid.to_mm((np.array(image.shape) - 1) / 2)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    value = {name: metric.value for name, metric in result.metrics.items()}
    return (
        f"Made ready: the moving brain is turned by {value['turn']:g}°, shifted by {value['shift']:g} mm and "
        f"{value['growth']:+g} % in volume against the fixed one; Dice {value['dice_before']:.2f} so far"
    )


def place(result: Result, row: list) -> np.ndarray:
    """(3,) RAS+ millimetres: the middle; there is no table."""
    return start(result)
