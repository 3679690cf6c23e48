"""Brain mask: the outline of the brain over the image, and the image without all else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.brain_mask import measure_brain
from medapp.analysis.hand_correction import AUTOMATIC, CORRECTION, describe_correction
from medapp.analysis.rater_agreement import AGREEMENT, CONSENSUS, RATER_ROLES, describe_agreement, measure_raters
from medapp.imaging.background import strip_skull
from medapp.imaging.volume import Volume
from medapp.presenters.base import Picture, Presenter, Settings, describe_side
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.compared_masks import list_compared_layers
from medapp.presenters.mask_reference import check_mask_reference
from medapp.presenters.raters import name_view, picture_agreement, show_agreement
from medapp.presenters.task import SEGMENTATION
from medapp.rendering import colour, lesion_charts, planes
from medapp.rendering.brain_window import find_brain_window
from medapp.rendering.layers import Layer
from medapp.rendering.view import LiveMask, View, lay_out_columns
from medapp.result import Result

BRAIN_COLOUR = (240, 190, 60)
BRAIN, STRIPPED = get_layer_title("brain"), get_layer_title("stripped")


class BrainMaskPresenter(Presenter):
    """The brain of a head; see `Presenter`."""

    title = "Brain mask"
    reference = SEGMENTATION.reference
    files = ("brain", "stripped", AUTOMATIC, CORRECTION, AGREEMENT, CONSENSUS)
    made = RATER_ROLES
    mask_role = main_role = "brain"
    is_separable = True
    chart_titles = ("Volumes",)

    def without_image(self, result: Result) -> Result:
        """Also without what is left of the image inside the brain."""
        kept = super().without_image(result)
        return replace(kept, volumes={role: v for role, v in kept.volumes.items() if role != "stripped"})

    def with_image(self, result: Result, image: Volume) -> Result:
        """Also with what is left of it inside the brain."""
        stripped = strip_skull(image, result.volumes["brain"])
        whole = super().with_image(result, image)
        return replace(whole, volumes={**whole.volumes, "stripped": stripped})

    def layers(self, result: Result) -> dict[str, Layer]:
        """The image, what is left of it, both in the window of the brain, and the outlines."""
        volumes, image = result.volumes, self.image(result)
        window = find_brain_window(image, volumes["brain"])
        layers = {image.name: Layer(image, window=window)}
        layers[STRIPPED] = Layer(volumes["stripped"], window=window, opacity=0.0)
        layers[BRAIN] = Layer(volumes["brain"], "mask", colour=BRAIN_COLOUR, opacity=0.9, contour=2)
        return layers | list_compared_layers(volumes)

    def view(self, result: Result) -> View:
        """The outline over the image, and the brain in 3-D; image and brain beside each other in an arrangement."""
        layers, image, brain = show_agreement(self.layers(result)), self.image(result).name, result.volumes["brain"]
        found = result.volumes.get(AUTOMATIC) or brain
        live = LiveMask(BRAIN, {BRAIN: found}, {"threshold": 0.5}, noun="", is_probability=False)
        tiles = lay_out_columns([(title, title, None) for title in (image, STRIPPED)])
        return View(layers, brain=brain, live=live, arrangements={"Side by side": tiles}, kind=name_view(result))

    def charts(self, result: Result) -> dict[str, Callable[[], Figure]]:
        """The volume by slice."""
        masks = result.volumes["brain"], result.volumes.get("reference")
        return {"Volumes": partial(lesion_charts.plot_volume_by_slice, *masks, noun="brain")}

    def recompute(self, result: Result, reference: Volume | None, settings: Settings) -> Result:
        """The result with another reference; there are no live options."""
        return measure_raters(measure_brain(result.noting(reference), reference), self.mask_role, has_lesions=False)

    def check_reference(self, reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
        """Raises InputError for what is no mask, or lies elsewhere than the image."""
        check_mask_reference(reference, volumes)

    def start(self, result: Result) -> np.ndarray:
        """In the middle of the brain, else of the image, (3,) RAS+ mm."""
        brain = result.volumes["brain"]
        if not brain.array.any():
            return super().start(result)
        return brain.grid.to_mm(np.argwhere(brain.array > 0)).mean(axis=0)

    def headline(self, result: Result) -> str:
        """The volume of the brain, and how well it matches the reference."""
        value = {name: metric.value for name, metric in result.metrics.items()}
        if not value["brain"]:
            return "No brain found."
        sentence = f"Brain {value['brain']:.0f} ml, CSF included{describe_correction(result)}"
        if "dice" in value:
            sentence += f"; Dice {value['dice']:.3f} to the reference"
        return sentence + describe_agreement(result)

    def pictures(self, result: Result, radiological: bool = True) -> list[Picture]:
        """Three planes with the outlines, and slices of what is left."""
        layers = self.layers(result)
        shown = [layer for layer in layers.values() if layer.opacity]
        keys = [(colour.to_css(BRAIN_COLOUR), "Result")]
        if AUTOMATIC in result.volumes:
            shown.append(Layer(result.volumes[AUTOMATIC], "mask", colour=colour.AUTOMATIC_COLOUR, contour=1))
            keys.append((colour.to_css(colour.AUTOMATIC_COLOUR), get_layer_title(AUTOMATIC)))
        if "Reference" in layers:
            keys.append((colour.to_css(colour.REFERENCE_COLOUR), "Reference"))
        pixels = planes.draw_three_planes(shown, self.start(result), height=420, radiological=radiological)
        pictures = [Picture(pixels, f"The outline of the brain. {describe_side(radiological)}", keys)]
        if result.volumes["brain"].array.any():
            stripped = Layer(result.volumes["stripped"], window=layers[STRIPPED].window)
            mask = Layer(result.volumes["brain"], "mask", opacity=0.0)
            montage = planes.draw_montage([stripped, mask], 12, radiological=radiological)
            pictures.append(Picture(montage, "Axial slices of the skull-stripped image, from foot to head."))
        return pictures + picture_agreement(result, next(iter(layers.values())), self.start(result), radiological)
