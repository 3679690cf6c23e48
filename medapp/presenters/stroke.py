"""Stroke: what the networks of three planes mark, and how far they agree."""

from medapp.analysis.stroke_ensemble import PLANE_LETTERS, measure_ensemble
from medapp.imaging.volume import Volume
from medapp.presenters.base import Settings
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.lesions import LesionPresenter
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.result import Result

AGREEMENT_COLOURS = {1: (120, 94, 240), 2: (240, 228, 66), 3: (0, 190, 140)}  # by how many planes
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
    made = ("template",)

    def layers(self, result: Result) -> dict[str, Layer]:
        """Also the template, each plane's probability, and where the planes agree and disagree."""
        volumes = result.volumes
        image, *lesions = super().layers(result).items()
        layers = dict([image])
        layers["MNI template, aligned"] = Layer(volumes["template"], opacity=0.0)
        for role in (f"probability_{plane}" for plane in PLANE_LETTERS):
            layers[get_layer_title(role)] = Layer(volumes[role], "heat", opacity=0.0)
        window = Window(0, MAX_VARIANCE)
        layers[get_layer_title("variance")] = Layer(volumes["variance"], "heat", window, opacity=0.0)
        layers[get_layer_title("entropy")] = Layer(volumes["entropy"], "heat", opacity=0.0)
        agreement = Layer(volumes["agreement"], "mask", colours=AGREEMENT_COLOURS, opacity=0.5, contour=1)
        return layers | {get_layer_title("agreement"): agreement} | dict(lesions)

    def measure(self, result: Result, settings: Settings, reference: Volume | None) -> Result:
        """The mask fused anew. Raises InputError if no plane is left."""
        return measure_ensemble(result, settings, reference)

    def headline(self, result: Result) -> str:
        """Also on how much of it the planes agree."""
        agreed = result.metrics.get("agreed")
        sentence = super().headline(result)
        if agreed is None or agreed.value is None or not result.metrics["lesions"].value:
            return sentence
        return f"{sentence}; the planes agree on {agreed.value:.0f} % of it"
