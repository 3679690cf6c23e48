"""A test case for `training.evaluation.evaluate`: a patient in one condition, with the truth."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from medapp.imaging.volume import Volume

PREDICTED_REGIONS, TRUE_REGIONS = (
    "predicted",
    "true-labels",
)  # conditions of a registration: where the fixed image's regions come from


class Case(NamedTuple):
    """A patient in one condition, with the truth.

    `volumes` are in the order of the card's inputs, None where absent; `truth` is a label map, or the clean image.
    `options` are those that the condition needs. `moving_truth` is the label map of the second image of a pair. `image`
    tells several images of one patient apart.
    """

    patient: str
    group: str
    condition: str
    volumes: tuple[Volume | None, ...]
    truth: Volume
    options: Mapping[str, str] = MappingProxyType({})
    moving_truth: Volume | None = None
    image: str = ""
