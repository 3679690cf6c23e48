"""Lesions: the mask of a lesion and its probability, which follow a threshold."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.hand_correction import AUTOMATIC, CORRECTION, describe_correction
from medapp.analysis.lesions import measure_lesions
from medapp.analysis.rater_agreement import AGREEMENT, CONSENSUS, RATER_ROLES, describe_agreement, measure_raters
from medapp.imaging.volume import Volume
from medapp.presenters.base import Picture, Presenter, Settings, describe_side
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.compared_masks import list_compared_layers
from medapp.presenters.mask_reference import check_mask_reference
from medapp.presenters.raters import name_view, picture_agreement, show_agreement
from medapp.presenters.task import SEGMENTATION
from medapp.rendering import colour, lesion_charts, planes, svg
from medapp.rendering.brain_window import find_brain_window
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import is_flat
from medapp.rendering.surfaces import make_surface
from medapp.rendering.view import LiveMask, View
from medapp.result import Result


class LesionPresenter(Presenter):
    """Lesions of one kind; see `Presenter`."""

    title = "Lesions"
    reference = SEGMENTATION.reference
    files: tuple[str, ...] = ("mask", "probability", AUTOMATIC, CORRECTION, AGREEMENT, CONSENSUS)
    mask_role = main_role = "mask"
    is_separable = True
    made: tuple[str, ...] = ("brain", *RATER_ROLES)
    table_name = "lesions"
    chart_titles: tuple[str, ...] = ("Volumes", "Probability")

    def brain(self, result: Result) -> Volume | None:
        """The brain mask on the grid of the image, None where the method has found none."""
        return result.volumes.get("brain")

    def sequences(self, result: Result) -> dict[str, Volume]:
        """Title to volume of the further images that were put in."""
        rest = {r: v for r, v in self.inputs(result).items() if r not in (self.image_role, "reference")}
        return {volume.name: volume for volume in rest.values()}

    def maps(self, result: Result) -> dict[str, Layer]:
        """Caption to layer of the maps beside the probability: here none."""
        return {}

    def layers(self, result: Result) -> dict[str, Layer]:
        """The images, each in the window of its brain, the probability, the mask and the reference."""
        volumes, brain, image = result.volumes, self.brain(result), self.image(result)
        layers = {image.name: Layer(image, window=find_brain_window(image, brain))}
        for title, volume in self.sequences(result).items():
            layers[title] = Layer(volume, window=find_brain_window(volume, brain), opacity=0.0)
        layers[get_layer_title("probability")] = Layer(volumes["probability"], "heat", opacity=0.0)
        layers |= self.maps(result)
        layers[get_layer_title("mask")] = Layer(volumes["mask"], "mask", opacity=0.9, contour=2)
        return layers | list_compared_layers(volumes)

    def live(self, result: Result) -> LiveMask:
        """The probability, which the page thresholds by itself."""
        title = get_layer_title("probability")
        return LiveMask(get_layer_title("mask"), {title: result.volumes["probability"]}, dict(result.settings))

    def view(self, result: Result) -> View:
        """The layers, the brain with the lesions shining through it, and the mask that follows its options."""
        layers = show_agreement(self.layers(result))
        lesion = layers[get_layer_title("mask")]
        surface = make_surface(lesion.volume, "Lesions", lesion.colours, is_seen_through=True)
        return View(
            layers,
            brain=self.brain(result),
            surfaces=[surface] if surface else [],
            live=self.live(result),
            kind=name_view(result),
        )

    def charts(self, result: Result) -> dict[str, Callable[[], Figure]]:
        """The volume by slice, and how the probability is distributed."""
        volumes = result.volumes
        return {
            "Volumes": partial(lesion_charts.plot_volume_by_slice, volumes["mask"], volumes.get("reference")),
            "Probability": partial(
                lesion_charts.plot_probability_histogram, volumes["probability"], result.settings["threshold"]
            ),
        }

    def recompute(self, result: Result, reference: Volume | None, settings: Settings) -> Result:
        """The mask and its measures at other live options or against another reference."""
        return measure_raters(self.measure(result.noting(reference), settings, reference), self.mask_role)

    def measure(self, result: Result, settings: Settings, reference: Volume | None) -> Result:
        """The mask, its table and its metrics."""
        return measure_lesions(result, settings["threshold"], settings["min_lesion_ml"], reference)

    def check_reference(self, reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
        """Raises InputError for what is no mask, or lies elsewhere than the image."""
        check_mask_reference(reference, volumes)

    def start(self, result: Result) -> np.ndarray:
        """In the largest lesion, else in the middle, (3,) RAS+ mm."""
        mask = result.volumes["mask"]
        return planes.find_best_position(mask) if mask.array.any() else super().start(result)

    def headline(self, result: Result) -> str:
        """How many lesions there are and how large, and how well they match the reference."""
        count, volume = result.metrics["lesions"].value, result.metrics["volume"].value
        least, left_out = result.settings["min_lesion_ml"], result.metrics["left_out"].value
        if not count and result.is_corrected:
            return "Nothing is left of the mask after the correction by hand."
        if not count and result.doubt:
            return "No lesion was found, which means little then."
        if not count:
            return "Nothing found at this threshold. That does not mean that nothing is there."
        plural = "s" if count != 1 else ""
        if "candidates" in result.metrics:
            sentence = f"{count} candidate{plural} below {least:g} ml ({volume:.2g} ml)"
        else:
            sentence = f"{volume:.1f} ml in {count} lesion{plural}"
            sentence += f"; {left_out} smaller than {least:g} ml left out" if left_out else ""
        sentence += describe_correction(result)
        if "dice" in result.metrics:
            sentence += f"; Dice {result.metrics['dice'].value:.2f} to the reference"
        return sentence + describe_agreement(result)

    def locate(self, result: Result, row: Sequence[Any]) -> np.ndarray:
        """The voxel of a lesion nearest to the centroid in its row, (3,) RAS+ mm."""
        mask = result.volumes["mask"]
        points = mask.grid.to_mm(np.argwhere(mask.array > 0))
        centroid = np.array([float(value) for value in row[3:6]])
        return points[np.argmin(((points - centroid) ** 2).sum(axis=1))] if len(points) else centroid

    def pictures(self, result: Result, radiological: bool = True) -> list[Picture]:
        """Three planes, slices through the lesions, and the volume by slice."""
        image, mask, reference = (result.volumes.get(role) for role in ("image", "mask", "reference"))
        assert image is not None
        lesion = mask if mask is not None and mask.array.any() else None
        flat = is_flat(image.grid)
        window = None if image.is_colour else colour.find_window(image.array, image.unit)
        layers, keys = [Layer(image, window=window)], []
        if AUTOMATIC in result.volumes:
            layers.append(Layer(result.volumes[AUTOMATIC], "mask", colour=colour.AUTOMATIC_COLOUR, contour=1))
            keys.append((colour.to_css(colour.AUTOMATIC_COLOUR), get_layer_title(AUTOMATIC)))
        if reference is not None:
            layers.append(Layer(reference, "mask", colour=colour.get_label_colour(2), contour=1))
            keys.append((colour.to_css(colour.get_label_colour(2)), "Reference"))
        if mask is not None:
            layers.append(Layer(mask, "mask", contour=2))
            keys.insert(0, (colour.to_css(colour.get_label_colour(1)), "Result"))
        where = "" if flat else f"Axial, coronal and sagittal through the {'largest lesion' if lesion else 'middle'}. "
        grey = f"Black is {window.low:.4g}, white {window.high:.4g} {image.unit}".rstrip() + "." if window else ""
        mm = planes.find_best_position(lesion or image.new_like(np.zeros(image.shape, np.uint8)))
        pixels = planes.draw_three_planes(layers, mm, height=420, radiological=radiological)
        caption = f"{where}{describe_side(radiological)} {grey}".strip()
        pictures = [Picture(pixels, caption, keys, f"The image with the outline of the result. {where}")]
        if lesion and not flat:
            pixels = planes.draw_montage([layers[0], layers[-1], *layers[1:-1]], 12, radiological=radiological)
            pictures.append(Picture(pixels, "Axial slices through the lesions, from foot to head."))
            at, ml, across = lesion_charts.measure_slice_volumes(lesion)
            other = None if reference is None else lesion_charts.measure_slice_volumes(reference)[1]
            title = "Lesion volume in each slice of the scan"
            drawing = svg.draw_bars(at, ml, across, "Volume (ml)", title=title, reference=other)
            pictures.append(Picture(drawing, f"{title}."))
        return pictures + picture_agreement(result, layers[0], mm, radiological)
