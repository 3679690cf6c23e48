"""Case: one patient in one condition, with the truth, for `training.evaluate`."""

from typing import NamedTuple

from medapp.imaging.volume import Volume


class Case(NamedTuple):
    """`volumes` are in the order of the card's inputs, None where absent; `truth` is a label map on any grid."""

    patient: str
    group: str
    condition: str
    volumes: tuple[Volume | None, ...]
    truth: Volume
