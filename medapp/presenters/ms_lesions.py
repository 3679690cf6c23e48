"""Lesions of multiple sclerosis: by their places, or by their change since an earlier scan."""

import numpy as np

from medapp.analysis.ms_lesions import CHANGE_CLASSES, NEW, PLANE_AXES, measure_ms_lesions
from medapp.imaging.volume import Volume
from medapp.presenters.base import Settings
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.lesions import LesionPresenter
from medapp.rendering import planes
from medapp.rendering.layers import Layer
from medapp.result import Result, Table

ATTENTION = {plane: f"attention_{plane}" for plane in PLANE_AXES}
PLACE_COLOURS = {1: (255, 110, 30), 2: (240, 228, 66), 3: (0, 190, 140), 4: (230, 140, 190)}
CHANGE_COLOURS = {1: (255, 110, 30), 2: (240, 228, 66), 3: (86, 180, 233), 4: (190, 190, 190), 5: (60, 110, 230)}
SEQUENCES = {"t1": "T1, aligned", "t2": "T2, aligned", "baseline": "Earlier FLAIR, aligned"}


class MsLesionPresenter(LesionPresenter):
    """Lesions of multiple sclerosis; see `Presenter`."""

    title = "MS lesions"
    files = (*LesionPresenter.files, "places", "change", "probability_baseline", "zones")
    charted_tables = tuple(ATTENTION.values())

    def layers(self, result: Result) -> dict[str, Layer]:
        """Also the further sequences; the lesions in the colours of their places or of their change."""
        volumes = result.volumes
        image, *others = super().layers(result).items()
        layers = dict([image])
        layers |= {title: Layer(volumes[role], opacity=0.0) for role, title in SEQUENCES.items() if role in volumes}
        if "probability_baseline" in volumes:
            layers[get_layer_title("probability_baseline")] = Layer(
                volumes["probability_baseline"], "heat", opacity=0.0
            )
        layers |= dict(others)
        role, colours = ("change", CHANGE_COLOURS) if "change" in volumes else ("places", PLACE_COLOURS)
        layers[get_layer_title("mask")] = Layer(volumes[role], "mask", colours=colours, opacity=0.9, contour=2)
        return layers

    def measure(self, result: Result, settings: Settings, reference: Volume | None) -> Result:
        """Also where the lesions lie, and what became of them."""
        return measure_ms_lesions(result, settings, reference)

    def start(self, result: Result) -> np.ndarray:
        """In the largest new lesion, else as for any lesions, (3,) RAS+ mm."""
        change = result.volumes.get("change")
        if change is not None and (change.array == NEW).any():
            return planes.find_best_position(change.new_like(change.array == NEW, labels={1: "new"}))
        return super().start(result)

    def headline(self, result: Result) -> str:
        """Also how many lesions are new, larger, smaller, stable or gone."""
        sentence = super().headline(result)
        if "change" not in result.volumes:
            return sentence
        counts = {name: result.metrics[name].value for name in CHANGE_CLASSES.values()}
        changes = ", ".join(f"{count} {name}" for name, count in counts.items())
        return f"{sentence.rstrip('.')}; since the earlier scan {changes}"


def get_attention(result: Result) -> dict[str, Table]:
    """Plane to the table of what its slices attend to; empty where the network saw the head in windows."""
    return {plane: result.tables[name] for plane, name in ATTENTION.items() if name in result.tables}
