"""Lesions of multiple sclerosis: by their places, or by their change since an earlier scan."""

from dataclasses import replace

import numpy as np

from medapp.analysis.ms_lesions import CHANGE_CLASSES, NEW, PLANE_AXES, measure_ms_lesions
from medapp.imaging.volume import Volume
from medapp.presenters.base import Settings
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.lesions import LesionPresenter
from medapp.rendering import planes
from medapp.rendering.layers import Layer
from medapp.rendering.view import View, lay_out_columns
from medapp.result import Result

PLACE_COLOURS = {1: (255, 110, 30), 2: (240, 228, 66), 3: (0, 190, 140), 4: (230, 140, 190)}
CHANGE_COLOURS = {1: (255, 110, 30), 2: (240, 228, 66), 3: (0, 190, 140), 4: (190, 190, 190), 5: (60, 110, 230)}
THEN_AND_NOW = "Then and now"
EARLIER = "Earlier FLAIR, aligned"
SEQUENCES = {"t1": "T1, aligned", "t2": "T2, aligned", "baseline": EARLIER}


class MsLesionPresenter(LesionPresenter):
    """Lesions of multiple sclerosis; see `Presenter`."""

    title = "MS lesions"
    files = (*LesionPresenter.files, "places", "change", "probability_baseline", "zones")
    unshown_tables = tuple(f"attention_{plane}" for plane in PLANE_AXES)

    def sequences(self, result: Result) -> dict[str, Volume]:
        """Those of this exam, and the FLAIR of the earlier one."""
        return {title: result.volumes[role] for role, title in SEQUENCES.items() if role in result.volumes}

    def maps(self, result: Result) -> dict[str, Layer]:
        """The earlier probability, if there is an earlier scan."""
        role = "probability_baseline"
        earlier = result.volumes.get(role)
        return {} if earlier is None else {get_layer_title(role): Layer(earlier, "heat", opacity=0.0)}

    def layers(self, result: Result) -> dict[str, Layer]:
        """The lesions in the colours of their places or of their change."""
        volumes, layers = result.volumes, super().layers(result)
        role, colours = ("change", CHANGE_COLOURS) if "change" in volumes else ("places", PLACE_COLOURS)
        layers[get_layer_title("mask")] = Layer(volumes[role], "mask", colours=colours, opacity=0.9, contour=2)
        return layers

    def view(self, result: Result) -> View:
        """With an earlier scan both beside each other, and what has changed."""
        view = super().view(result)
        if "baseline" not in result.volumes:
            return view
        now = self.image(result).name
        pictures = (("Then", EARLIER, None), ("Now", now, None), ("Now minus then", "difference", None))
        tiles = lay_out_columns(pictures, {"axial": 0.56, "sagittal": 0.44})
        return replace(view, arrangements={THEN_AND_NOW: tiles}, arrangement=THEN_AND_NOW)

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
