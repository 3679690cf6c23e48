"""Presenter: what one kind of result shows, and what can be done with it once it has been computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.hand_correction import CORRECTION
from medapp.analysis.rater_agreement import PAIRS, PERFORMANCE, place_raters
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.presenters.task import ReferenceInput
from medapp.rendering import planes
from medapp.rendering.layers import Layer
from medapp.rendering.view import View
from medapp.result import Result, Table

Settings = Mapping[str, Any]


class Picture(NamedTuple):
    """A picture of a report: pixels, uint8 (H, W, 3), or a drawing as SVG; `keys` are colours (CSS) and their names."""

    content: np.ndarray | str
    caption: str
    keys: Sequence[tuple[str, str]] = ()
    alt: str = ""


class Presenter:
    """What a kind of result shows; each kind derives its own, and overrides what it has more to show than an image.

    Presenters only read results and know no network. `title` names the kind of result; `reference` says what it can be
    compared with, None for nothing; `files` are the roles of the volumes that are written, `made` further roles that
    the method made (all others were put in); `table_name` is the table with a row for each thing found, "" for none;
    `unshown_tables` are only written; `chart_titles` are the titles of all charts there may be; `image_role` is the
    volume that the others lie on; `mask_role` that of the mask that can be corrected by hand, "" for none; `main_role`
    that of the mask, label map or image that a result is about, "" for none; `is_separable`: the result can be kept
    without the images that were put in, since it is none itself.
    """

    title = "Result"
    reference: ReferenceInput | None = None
    files: tuple[str, ...] = ()
    made: tuple[str, ...] = ()
    table_name = ""
    unshown_tables: tuple[str, ...] = ()
    chart_titles: tuple[str, ...] = ()
    image_role = "image"
    mask_role = ""
    is_separable = False
    main_role = ""

    @property
    def has_label_reference(self) -> bool:
        """Whether its results are compared with a mask or a label map."""
        return self.reference is not None and self.reference.labels

    def image(self, result: Result) -> Volume:
        """The image that the other layers lie on."""
        return result.volumes[self.image_role]

    def brain(self, result: Result) -> Volume | None:
        """The brain mask on the grid of the image, None where the method has found none: here none."""
        return None

    def inputs(self, result: Result) -> dict[str, Volume]:
        """All volumes but those of `files` and `made`."""
        made = {*self.files, *self.made}
        return {role: volume for role, volume in result.volumes.items() if role not in made}

    def without_image(self, result: Result) -> Result:
        """The result without the images that were put in; see `is_separable`."""
        images = [role for role, volume in self.inputs(result).items() if not volume.labels]
        return replace(result, volumes={role: v for role, v in result.volumes.items() if role not in images})

    def with_image(self, result: Result, image: Volume) -> Result:
        """What `without_image` has given, with the image that the others lie on."""
        return replace(result, volumes={self.image_role: image, **result.volumes})

    def layers(self, result: Result) -> dict[str, Layer]:
        """Caption to layer, from the bottom up, the first the image: here it alone."""
        image = self.image(result)
        return {image.name: Layer(image)}

    def document_layers(self, result: Result) -> dict[str, Layer]:
        """What a file for other viewers holds, the image first: here the layers."""
        return self.layers(result)

    def view(self, result: Result) -> View:
        """What the stage of the page shows: here the layers."""
        return View(self.layers(result))

    def table(self, result: Result) -> Table | None:
        """A row for each lesion or region; None where there is no such table."""
        return result.tables.get(self.table_name)

    def further_tables(self, result: Result) -> list[Table]:
        """All tables but the first one, those that are only written, and those of raters."""
        apart = (self.table_name, *self.unshown_tables, PAIRS, PERFORMANCE)
        return [table for name, table in result.tables.items() if name not in apart]

    def charts(self, result: Result) -> dict[str, Callable[[], Figure]]:
        """Title to a function that draws the chart, so that only what is looked at is drawn: here none."""
        return {}

    def pictures(self, result: Result, radiological: bool = True) -> list[Picture]:
        """What a report shows: here the layers in three planes. `radiological`: the patient's right is on the left."""
        shown = list(self.layers(result).values())
        pixels = planes.draw_three_planes(shown, self.start(result), height=420, radiological=radiological)
        return [Picture(pixels, f"{' and '.join(self.layers(result))}. {describe_side(radiological)}")]

    def headline(self, result: Result) -> str:
        """One sentence for the top of the page."""
        return self.title

    def start(self, result: Result) -> np.ndarray:
        """Where the crosshair stands first, (3,) RAS+ mm: here in the middle of the image."""
        image = self.image(result)
        return image.grid.to_mm((np.array(image.shape) - 1) / 2)

    def locate(self, result: Result, row: Sequence[Any]) -> np.ndarray:
        """The place of a row of the table, (3,) RAS+ mm."""
        return self.start(result)

    def recompute(self, result: Result, reference: Volume | None, settings: Settings) -> Result:
        """The result with other live options or another reference; no network is asked again.

        Here there is neither. Raises InputError for a reference or an option that does not suit the result.
        """
        return result

    def require_mask_role(self) -> str:
        """The role of the mask that can be corrected. Raises InputError where there is none."""
        if not self.mask_role:
            raise InputError("The results of this method cannot be corrected by hand.")
        return self.mask_role

    def correct(self, result: Result, correction: Volume | None, reference: Volume | None) -> Result:
        """The result with another correction by hand of its mask, None for none; see `analysis.hand_correction`.

        Raises InputError where there is no such mask.
        """
        self.require_mask_role()
        volumes = {role: volume for role, volume in result.volumes.items() if role != CORRECTION}
        if correction is not None and correction.array.any():
            volumes[CORRECTION] = correction
        return self.recompute(replace(result, volumes=volumes), reference, result.settings)

    def rate(self, result: Result, raters: Sequence[Volume], reference: Volume | None) -> Result:
        """The result compared with the masks of other raters, none any more if there are none.

        See `analysis.rater_agreement`. Raises InputError where there is no mask, or there are too many raters.
        """
        role = self.require_mask_role()
        return self.recompute(place_raters(result, raters, result.volumes[role]), reference, result.settings)

    def check_reference(self, reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
        """Raises InputError for what the result of these inputs, by name, can never be compared with."""


def describe_side(radiological: bool) -> str:
    """The sentence that says which side of a picture is the patient's right."""
    return f"The patient's right is on the {'left' if radiological else 'right'} of the picture."


def find_centre(volume: Volume, number: int) -> np.ndarray | None:
    """The voxel with that number nearest to the middle of all of them, (3,) RAS+ mm; None if there is none."""
    index = np.argwhere(volume.array == number)
    if not len(index):
        return None
    points = volume.grid.to_mm(index)
    return points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
