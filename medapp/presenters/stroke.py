"""Strokes: which pictures of what three planes see, and what moves with the live options; see `tasks.segmentation`."""

from collections.abc import Mapping
from typing import Any

from medapp.analysis.stroke_ensemble import PLANE_LETTERS, measure_ensemble
from medapp.imaging.volume import Volume
from medapp.presenters import lesions
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.result import Result

FILES = (*(f"probability_{plane}" for plane in PLANE_LETTERS), "agreement", "variance", "entropy")
TABLE = lesions.TABLE
COLOURS = {1: (120, 94, 240), 2: (240, 228, 66), 3: (0, 190, 140)}  # by how many planes
MOST = 0.25  # variance of probabilities that contradict each other


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on."""
    volumes = result.volumes
    image, *found = lesions.layers(result).items()
    planes = {
        f"Probability, {plane}": Layer(volumes[f"probability_{plane}"], "heat", opacity=0.0) for plane in PLANE_LETTERS
    }
    return {
        **dict([image]),
        "MNI template, aligned": Layer(volumes["template"], opacity=0.0),
        **planes,
        "Disagreement (variance)": Layer(volumes["variance"], "heat", Window(0, MOST), opacity=0.0),
        "Entropy (bits)": Layer(volumes["entropy"], "heat", opacity=0.0),
        "Agreement": Layer(volumes["agreement"], "mask", colours=COLOURS, opacity=0.5, contour=1),
        **dict(found),
    }


def moved(result: Result, reference: Volume | None, settings: Mapping[str, Any]) -> Result:
    """The result with other live options or another reference; the networks are not asked again.

    Raises InputError if no plane is left.
    """
    return measure_ensemble(result, settings, reference)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    agreed = result.metrics.get("agreed")
    more = "" if agreed is None or agreed.value is None else f"; the planes agree on {agreed.value:.0f} % of it"
    return lesions.headline(result) + more * bool(result.metrics["lesions"].value)


figures, start, place = lesions.figures, lesions.start, lesions.place
