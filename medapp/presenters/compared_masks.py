"""Masks that a result's own is compared with."""

from collections.abc import Mapping

from medapp.analysis.hand_correction import AUTOMATIC
from medapp.analysis.rater_agreement import AGREEMENT
from medapp.imaging.volume import Volume
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.raters import list_rater_layers
from medapp.rendering.colour import AUTOMATIC_COLOUR, REFERENCE_COLOUR
from medapp.rendering.layers import Layer


def list_compared_layers(volumes: Mapping[str, Volume]) -> dict[str, Layer]:
    """Return caption to layer: the mask before it was corrected by hand, the reference, and those of other raters.

    At first the reference is shown, or where there are other raters how they agree.
    """
    layers = {}
    if AUTOMATIC in volumes:
        layers[get_layer_title(AUTOMATIC)] = Layer(volumes[AUTOMATIC], "mask", colour=AUTOMATIC_COLOUR, opacity=0.0)
    if "reference" in volumes:
        opacity = 0.0 if AGREEMENT in volumes else 0.9
        layers["Reference"] = Layer(volumes["reference"], "mask", colour=REFERENCE_COLOUR, opacity=opacity, contour=2)
    return layers | list_rater_layers(volumes)
