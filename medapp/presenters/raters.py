"""Other raters' masks: how they are checked, and how their agreement with a result is shown."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from medapp.analysis.rater_agreement import AGREEMENT, BOTH, CONSENSUS, list_raters
from medapp.analysis.reference import binarize_soft_mask, describe_misplacement, has_lost_header
from medapp.card import VOLUME_FILES
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.presenters.base import Picture
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.mask_reference import check_mask_reference
from medapp.rendering import colour, planes
from medapp.rendering.layers import Layer
from medapp.result import Result

RATERS_HELP = "masks of other raters, a file each, to compare with each other and with the result"
BOTH_COLOUR, FIRST_COLOUR, SECOND_COLOUR = colour.LABEL_COLOURS[2], colour.LABEL_COLOURS[0], colour.LABEL_COLOURS[1]
RATER_COLOURS = colour.LABEL_COLOURS[3:]
CONSENSUS_COLOUR = (255, 255, 255)
AGREEMENT_OPACITY = 0.5
MAX_NAME_LENGTH = 24  # characters
MANY_LABELS_REMARK = "it holds {} labels; all of them count as marked."


def check_rater(mask: Volume, volumes: Mapping[str, Volume | None]) -> Volume:
    """Return a rater's mask, of fractions from 0 to 1 those of 0.5 or more.

    Raises InputError for what is no mask, or lies elsewhere than the image. `volumes` are the inputs of the method, by
    name. What is odd about the mask is among its remarks.
    """
    image = next(volume for volume in volumes.values() if volume is not None)
    given = replace(mask, remarks=())
    checked = binarize_soft_mask(given)
    if has_lost_header(checked, image):
        raise InputError(describe_misplacement(checked, image, "mask"))
    check_mask_reference(checked, volumes, noun="mask")
    remarks = tuple(remark.removeprefix("Reference: ") for remark in checked.remarks)
    values = np.unique(checked.array)
    if np.count_nonzero(values > 0) > 1:
        remarks += (MANY_LABELS_REMARK.format(np.count_nonzero(values > 0)),)
    if not checked.grid.is_same(image.grid):
        remarks += ("it lies on another grid than the image, and was resampled by nearest voxel.",)
    return replace(checked, remarks=remarks)


def name_rater(path: str | Path) -> str:
    """Return what the rater of a mask is called: the name of the file without its ending."""
    name = Path(path).name
    ending = next((each for each in sorted(VOLUME_FILES, key=len, reverse=True) if name.lower().endswith(each)), "")
    name = name[: len(name) - len(ending)] or name
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"


def list_colours(agreement: Volume) -> dict[int, tuple[int, int, int]]:
    """Return the colours of an agreement, by label: those of two raters, or from dark to bright by their number.

    They are Okabe and Ito's, and a map that darkens evenly, which the colour-blind can tell apart.
    """
    if agreement.labels.get(1) == BOTH:
        return {1: BOTH_COLOUR, 2: FIRST_COLOUR, 3: SECOND_COLOUR}
    shares = np.linspace(0.3, 0.95, len(agreement.labels))
    tints = colour.apply_colour_map(shares, "plasma").astype(int)
    return {number: tuple(tint) for number, tint in zip(sorted(agreement.labels), tints.tolist(), strict=True)}


def list_rater_layers(volumes: Mapping[str, Volume]) -> dict[str, Layer]:
    """Return caption to layer: the masks of the raters and their consensus, not shown at first, and their agreement."""
    layers = {}
    for number, rater in enumerate(list_raters(volumes)):
        tint = RATER_COLOURS[number % len(RATER_COLOURS)]
        layers[rater.name] = Layer(rater, "mask", colour=tint, opacity=0.0, contour=2)
    if CONSENSUS in volumes:
        layers[get_layer_title(CONSENSUS)] = Layer(volumes[CONSENSUS], "mask", colour=CONSENSUS_COLOUR, opacity=0.0)
    if AGREEMENT in volumes:
        tints = list_colours(volumes[AGREEMENT])
        layers[get_layer_title(AGREEMENT)] = Layer(volumes[AGREEMENT], "mask", colours=tints, opacity=AGREEMENT_OPACITY)
    return layers


def show_agreement(layers: Mapping[str, Layer]) -> dict[str, Layer]:
    """Return the layers with the agreement of raters as the only mask that is shown at first, if it is among them."""
    title = get_layer_title(AGREEMENT)
    if title not in layers:
        return dict(layers)
    return {
        caption: replace(layer, opacity=0.0) if layer.kind == "mask" and caption != title else layer
        for caption, layer in layers.items()
    }


def name_view(result: Result) -> str:
    """Return the kind of the view of a result: one with raters is another than one without."""
    return "raters" if AGREEMENT in result.volumes else ""


def picture_agreement(result: Result, image: Layer, mm: np.ndarray, radiological: bool) -> list[Picture]:
    """Return the picture of a report: the agreement over the image through `mm` (3,) RAS+; none without raters."""
    agreement = result.volumes.get(AGREEMENT)
    if agreement is None:
        return []
    tints = list_colours(agreement)
    layer = Layer(agreement, "mask", colours=tints, opacity=AGREEMENT_OPACITY)
    pixels = planes.draw_three_planes([image, layer], mm, height=420, radiological=radiological)
    keys = [(colour.to_css(tints[number]), name) for number, name in agreement.labels.items()]
    return [Picture(pixels, "Which voxels the raters mark.", keys)]
