"""Label maps of the brain that a visitor brings, in their own numbers and in the 36 classes."""

from typing import NamedTuple

import numpy as np

from medapp.errors import InputError
from medapp.imaging.brain_labels import CLASS_NAMES, NUMBERINGS, identify_numbering, translate_labels
from medapp.imaging.volume import Volume

REGION_NAMES = {number: name for number, name in enumerate(CLASS_NAMES) if number}
OASIS_NUMBERING = "OASIS-35"


class LabelMap(NamedTuple):
    """A label map twice on its grid: `own` numbers, as `numbering` has them, and the 36 `classes`."""

    own: Volume
    classes: Volume
    numbering: str


def parse_label_map(upload: Volume) -> LabelMap:
    """A brain's label map in any of `imaging.anatomy.NUMBERINGS`. Raises InputError for anything else."""
    array = upload.array
    if upload.is_colour or not np.array_equal(array, np.rint(array)):
        raise InputError(f"{upload.name} must be a label map: whole numbers, one a voxel.")
    array = np.rint(array).astype(np.int32)
    try:
        numbering = identify_numbering(array)
        classes = translate_labels(array, numbering)
    except ValueError as error:
        raise InputError(f"{upload.name}: {error}") from error
    own = upload.new_like(array, labels=name_labels(array, numbering), headers=())
    return LabelMap(own, upload.new_like(classes, labels=REGION_NAMES, headers=()), numbering)


def name_labels(array: np.ndarray, numbering: str) -> dict[int, str]:
    """Number to name for the numbers in a map; where several share a class the number is put before it."""
    table = NUMBERINGS[numbering]
    found = {}
    for number in np.unique(array[array != 0]).tolist():
        both = {CLASS_NAMES[c] for c in table.get(number, (0, 0)) if c}
        name = " or ".join(sorted(both)) or "other"
        found[number] = name if numbering == OASIS_NUMBERING else f"{number} {name}"
    return found
