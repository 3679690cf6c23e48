"""Uploaded label maps of the brain, in their own numbers and in the 36 classes."""

from typing import NamedTuple

import numpy as np

from medapp.errors import InputError
from medapp.imaging.brain_labels import CLASS_NAMES, NUMBERINGS, identify_numbering, translate_labels
from medapp.imaging.volume import Volume

REGION_NAMES = {number: name for number, name in enumerate(CLASS_NAMES) if number}
OASIS_NUMBERING = "OASIS-35"


class LabelMap(NamedTuple):
    """A label map twice on its grid: in its `own` numbers, as `numbering` has them, and in the 36 `classes`."""

    own: Volume
    classes: Volume
    numbering: str


def parse_label_map(upload: Volume) -> LabelMap:
    """Read a brain's label map in any of `imaging.brain_labels.NUMBERINGS`. Raises InputError for anything else."""
    array = upload.array
    if upload.is_colour or not np.array_equal(array, np.rint(array)):
        raise InputError(f"{upload.name} must be a label map, with a whole number at every voxel.")
    array = np.rint(array).astype(np.int32)
    try:
        numbering = identify_numbering(array)
        classes = translate_labels(array, numbering)
    except ValueError as error:
        raise InputError(f"{upload.name}: {error}") from error
    own = upload.new_like(array, labels=name_labels(array, numbering), headers=())
    return LabelMap(own, upload.new_like(classes, labels=REGION_NAMES, headers=()), numbering)


def name_labels(array: np.ndarray, numbering: str) -> dict[int, str]:
    """Name the numbers in a map; where several share a class the number is put before the name."""
    table = NUMBERINGS[numbering]
    names_by_number = {}
    for number in np.unique(array[array != 0]).tolist():
        class_names = {CLASS_NAMES[c] for c in table.get(number, (0, 0)) if c}
        name = " or ".join(sorted(class_names)) or "other"
        names_by_number[number] = name if numbering == OASIS_NUMBERING else f"{number} {name}"
    return names_by_number
