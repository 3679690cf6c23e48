"""Region map: the regions that Segment Anything finds in an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medapp.presenters.base import Presenter, find_centre
from medapp.presenters.catalogue import get_layer_title
from medapp.rendering.layers import Layer
from medapp.result import Result


class RegionMapPresenter(Presenter):
    """Regions with a number each; see `Presenter`."""

    title = "Regions"
    files = ("regions",)
    made = ("candidates",)
    table_name = "regions"
    is_separable = True
    main_role = "regions"

    def layers(self, result: Result) -> dict[str, Layer]:
        """The image and its regions."""
        regions = Layer(result.volumes["regions"], "mask", opacity=0.4)
        return super().layers(result) | {get_layer_title("regions"): regions}

    def headline(self, result: Result) -> str:
        """How many regions there are."""
        count = result.metrics["regions"].value
        return f"{count} region{'' if count == 1 else 's'}"

    def locate(self, result: Result, row: Sequence[Any]) -> np.ndarray:
        """The middle of the region that the first cell numbers, (3,) RAS+ mm."""
        centre = find_centre(result.volumes["regions"], int(float(row[0])))
        return self.start(result) if centre is None else centre
