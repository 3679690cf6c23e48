"""Parcellation: a label map of the brain's regions, and their volumes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.regional_volumes import measure_regions
from medapp.imaging.brain_labels import region_colours, split_side
from medapp.imaging.volume import Volume
from medapp.presenters.base import Picture, Presenter, Settings, describe_side, find_centre
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.mask_reference import check_mask_reference
from medapp.presenters.task import SEGMENTATION
from medapp.rendering import planes, region_charts
from medapp.rendering.brain_window import find_brain_window
from medapp.rendering.layers import Layer
from medapp.rendering.surfaces import make_surface
from medapp.rendering.view import View
from medapp.result import Result

FIRST_REGIONS = ("Left-Hippocampus", "Right-Hippocampus")  # where one looks first
INNER_STRUCTURES = (
    "Lateral-Ventricle", "Inf-Lat-Ventricle", "3rd-Ventricle", "4th-Ventricle", "Thalamus", "Caudate", "Putamen",
    "Pallidum", "Hippocampus", "Amygdala", "Accumbens", "Ventral-DC", "Brain-Stem",
)  # fmt: skip
MAX_SURFACE_TRIANGLES = 30_000  # of the border of all structures; those between them come on top
DISAGREEMENT_COLOUR = (255, 0, 200)


class ParcellationPresenter(Presenter):
    """The regions of a brain; see `Presenter`."""

    title = "Brain regions"
    reference = SEGMENTATION.reference
    files = ("labels", "brain")
    made = ("disagreement",)
    table_name = "regions"
    is_separable = True
    main_role = "labels"
    chart_titles = ("Volumes", "Dice")

    def layers(self, result: Result) -> dict[str, Layer]:
        """The image, the regions, and where the reference differs."""
        volumes = result.volumes
        labels = volumes["labels"]
        present = {n: labels.labels[n] for n in np.unique(labels.array).tolist() if n}
        regions = labels.new_like(labels.array, labels=present or dict(labels.labels))
        image = self.image(result)
        layers = {image.name: Layer(image, window=find_brain_window(image, volumes["brain"]))}
        layers[get_layer_title("labels")] = Layer(regions, "mask", colours=region_colours(present), opacity=0.45)
        if "disagreement" in volumes:
            layers["Differs from the reference"] = Layer(
                volumes["disagreement"], "mask", colour=DISAGREEMENT_COLOUR, opacity=0.4
            )
        return layers

    def view(self, result: Result) -> View:
        """The brain with its inner structures shining through it, in their colours."""
        layers, brain = self.layers(result), result.volumes["brain"]
        regions = layers[get_layer_title("labels")]
        names = regions.volume.labels
        inner = np.array(
            [split_side(names.get(n, ""))[1] in INNER_STRUCTURES for n in range(max(names, default=0) + 1)]
        )
        kept = regions.volume.array * inner[regions.volume.array]
        surface = make_surface(
            regions.volume.new_like(kept),
            "Inner structures",
            regions.colours,
            max_triangles=MAX_SURFACE_TRIANGLES,
            is_seen_through=True,
        )
        return View(layers, brain=brain, surfaces=[surface] if surface else [])

    def charts(self, result: Result) -> dict[str, Callable[[], Figure]]:
        """Volumes, and the overlap with the reference."""
        table = result.tables[self.table_name]
        return {
            "Volumes": partial(region_charts.plot_region_volumes, table),
            "Dice": partial(region_charts.plot_region_dice, table),
        }

    def recompute(self, result: Result, reference: Volume | None, settings: Settings) -> Result:
        """The result with another reference; there are no live options."""
        return measure_regions(result.noting(reference), reference)

    def check_reference(self, reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
        """Raises InputError for what is no label map, or lies elsewhere than the image."""
        check_mask_reference(reference, volumes)

    def start(self, result: Result) -> np.ndarray:
        """In the first hippocampus there is, else where there is brain, (3,) RAS+ mm."""
        centres = (_find_region(result.volumes["labels"], region) for region in FIRST_REGIONS)
        centre = next((point for point in centres if point is not None), None)
        return planes.find_best_position(result.volumes["brain"]) if centre is None else centre

    def headline(self, result: Result) -> str:
        """The volumes of the brain and of its hippocampi."""
        value = {name: metric.value for name, metric in result.metrics.items()}
        if not value["brain"]:
            return "No brain found."
        sentence = f"Brain {value['brain']:.0f} ml; {value['regions']} regions"
        if value["hippocampus_left"] and value["hippocampus_right"]:
            left, right = value["hippocampus_left"], value["hippocampus_right"]
            sentence += f"; hippocampi {left:.1f} left, {right:.1f} ml right"
        if "dice" in value:
            sentence += f"; mean Dice {value['dice']:.2f} to the reference"
        return sentence

    def locate(self, result: Result, row: Sequence[Any]) -> np.ndarray:
        """The middle of the region that the first cell names, (3,) RAS+ mm."""
        centre = _find_region(result.volumes["labels"], str(row[0]))
        return self.start(result) if centre is None else centre

    def pictures(self, result: Result, radiological: bool = True) -> list[Picture]:
        """Three planes, and slices through the brain."""
        layers = list(self.layers(result).values())
        pixels = planes.draw_three_planes(layers, self.start(result), height=420, radiological=radiological)
        caption = "The regions over the image; where there is a reference, what differs from it is pink."
        pictures = [Picture(pixels, f"{caption} {describe_side(radiological)}")]
        if result.volumes["labels"].array.any() and min(result.volumes["image"].shape) > 1:
            montage = planes.draw_montage(layers, 12, radiological=radiological)
            pictures.append(Picture(montage, "Axial slices through the brain, from foot to head."))
        return pictures


def _find_region(labels: Volume, region: str) -> np.ndarray | None:
    """The middle of a named region of a label map, (3,) RAS+ mm; None if it is not there."""
    number = next((n for n, name in labels.labels.items() if name == region), None)
    return None if number is None else find_centre(labels, number)
