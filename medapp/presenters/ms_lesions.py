"""Multiple sclerosis: which pictures of lesions by their places or their change; see `tasks.segmentation`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medapp.analysis.ms_lesions import CHANGE_CLASSES, NEW, PLANE_AXES, measure_ms_lesions
from medapp.imaging.volume import Volume
from medapp.presenters import lesions
from medapp.rendering import planes
from medapp.rendering.layers import Layer
from medapp.result import Result, Table

FILES = ("places", "change", "probability_baseline", "zones")
TABLE = lesions.TABLE
ATTENTION = tuple(f"attention_{plane}" for plane in PLANE_AXES)
PAINT = {1: (255, 110, 30), 2: (240, 228, 66), 3: (0, 190, 140), 4: (230, 140, 190)}  # by place
SINCE = {1: (255, 110, 30), 2: (240, 228, 66), 3: (86, 180, 233), 4: (190, 190, 190), 5: (60, 110, 230)}  # by change
SHOWN = {"t1": "T1, aligned", "t2": "T2, aligned", "baseline": "Earlier FLAIR, aligned"}


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on."""
    volumes = result.volumes
    image, *found = lesions.layers(result).items()
    shown = dict([image])
    shown |= {title: Layer(volumes[role], opacity=0.0) for role, title in SHOWN.items() if role in volumes}
    if "probability_baseline" in volumes:
        shown["Probability then"] = Layer(volumes["probability_baseline"], "heat", opacity=0.0)
    shown |= dict(found)
    if "change" in volumes:
        shown["Lesion"] = Layer(volumes["change"], "mask", colours=SINCE, opacity=0.9, contour=2)
    else:
        shown["Lesion"] = Layer(volumes["places"], "mask", colours=PAINT, opacity=0.9, contour=2)
    return shown


def moved(result: Result, reference: Volume | None, settings: Mapping[str, Any]) -> Result:
    """The result with other live options or another reference; the network is not asked again."""
    return measure_ms_lesions(result, settings, reference)


def start(result: Result) -> np.ndarray:
    """(3,) RAS+ millimetres where the crosshair stands first: in the largest new lesion, else as for any lesions."""
    change = result.volumes.get("change")
    if change is not None and (change.array == NEW).any():
        return planes.find_best_position(change.new_like(change.array == NEW, labels={1: "new"}))
    return lesions.start(result)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    said = lesions.headline(result)
    if "change" not in result.volumes:
        return said
    counts = {name: result.metrics[name].value for name in CHANGE_CLASSES.values()}
    return f"{said.rstrip('.')}; since the earlier scan {', '.join(f'{n} {name}' for name, n in counts.items())}"


def attention(result: Result) -> dict[str, Table]:
    """Plane to the table of what its slices draw on; empty where the network saw the head in windows."""
    found = dict(zip(PLANE_AXES, ATTENTION, strict=True))
    return {plane: result.tables[name] for plane, name in found.items() if name in result.tables}


figures, place = lesions.figures, lesions.place
