"""Stroke: what the networks of three planes mark, and how far they agree."""

from dataclasses import replace

import numpy as np

from medapp.analysis.stroke_ensemble import PLANE_LETTERS, measure_ensemble
from medapp.imaging.volume import Volume
from medapp.presenters.base import Settings
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.lesions import LesionPresenter
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.rendering.view import LiveMask, Tile, View
from medapp.result import Result

NETWORKS = {plane: f"{plane.capitalize()} network" for plane in PLANE_LETTERS}
NETWORK_COLOURS = ((86, 180, 233), (240, 228, 66), (230, 140, 190))  # which the colour-blind can distinguish
MAX_VARIANCE = 0.25  # of probabilities that contradict each other


class StrokePresenter(LesionPresenter):
    """Strokes by an ensemble of three planes; see `Presenter`."""

    title = "Stroke lesions"
    files = (
        *LesionPresenter.files,
        *(f"probability_{plane}" for plane in PLANE_LETTERS),
        "agreement",
        "variance",
        "entropy",
    )
    made = ("template", *LesionPresenter.made)

    def brain(self, result: Result) -> Volume:
        """The brain that was found, else where the aligned template shows one."""
        found = super().brain(result)
        if found is not None:
            return found
        template = result.volumes["template"]
        return template.new_like((template.array > 0).astype(np.uint8), labels={1: "brain"}, name="brain")

    def sequences(self, result: Result) -> dict[str, Volume]:
        """The template."""
        return {"MNI template, aligned": result.volumes["template"]}

    def maps(self, result: Result) -> dict[str, Layer]:
        """Each network's probability, and where the networks disagree or are unsure."""
        volumes, entropy = result.volumes, result.volumes["entropy"]
        maps = {}
        for plane in PLANE_LETTERS:
            role = f"probability_{plane}"
            maps[get_layer_title(role)] = Layer(volumes[role], "heat", opacity=0.0)
        window = Window(0, MAX_VARIANCE)
        maps[get_layer_title("variance")] = Layer(volumes["variance"], "heat", window, opacity=0.0)
        maps[get_layer_title("entropy")] = Layer(entropy.new_like(entropy.array, unit="bits"), "heat", opacity=0.0)
        return maps

    def live(self, result: Result) -> LiveMask:
        """The probabilities of the three networks, which the page fuses by itself."""
        return LiveMask(
            get_layer_title("mask"),
            {NETWORKS[plane]: result.volumes[f"probability_{plane}"] for plane in PLANE_LETTERS},
            dict(result.settings),
            switches=tuple(PLANE_LETTERS),
            weights=tuple(f"weight_{plane}" for plane in PLANE_LETTERS),
            colours=NETWORK_COLOURS,
        )

    def view(self, result: Result) -> View:
        """Also where the networks agree, large, beside what each of them marks."""
        small = [(0.56, 0.0), (0.78, 0.0), (0.56, 0.5)]
        tiles = [Tile("axial", (0, 0, 0.56, 1), "agreement", caption="Agreement")]
        tiles += [
            Tile("axial", (*corner, 0.22, 0.5), name) for corner, name in zip(small, NETWORKS.values(), strict=True)
        ]
        tiles.append(Tile("render", (0.78, 0.5, 0.22, 0.5)))
        view = super().view(result)
        return replace(view, arrangements={"Fusion": tiles}, arrangement="" if view.kind else "Fusion")

    def measure(self, result: Result, settings: Settings, reference: Volume | None) -> Result:
        """The mask fused anew. Raises InputError if no plane is left."""
        return measure_ensemble(result, settings, reference)

    def headline(self, result: Result) -> str:
        """Also how much of what any network marks all of them mark."""
        agreed = result.metrics.get("agreed")
        sentence = super().headline(result)
        if agreed is None or agreed.value is None or not result.metrics["lesions"].value:
            return sentence
        return f"{sentence}. Of the voxels that any network marks, {agreed.value:.0f} % are marked by all"
