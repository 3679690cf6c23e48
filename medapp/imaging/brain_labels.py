"""Brain anatomy in 36 classes: their names, and the translation of other label maps into them.

The classes are those of the OASIS set of Learn2Reg, 0 for background and 1 to 35 for regions. FreeSurfer's aseg (also
as written by SynthSeg and FastSurfer, with aparc and wmparc on top) and the Neuromorphometrics numbers are translated:

- cortical parcels become cerebral cortex, hypointensities and corpus callosum cerebral white matter, the cerebellar
  vermis cerebellar cortex, basal forebrain cerebral cortex, a cavum septi ("5th ventricle") 3rd ventricle;
- structures without a side in their number are divided along a midplane fitted to those with one;
- cerebrospinal fluid outside the ventricles, optic chiasm, exterior and unknown become background.

Neuromorphometrics counts the choroid plexus to the lateral ventricles. `merge_plexus` does the same to any map, so that
all can be compared. Vessels (a few voxels in the putamen) are kept where a map has them.
"""

from collections.abc import Mapping

import numpy as np

_PAIRED_STRUCTURES = (
    "Cerebral-White-Matter",
    "Cerebral-Cortex",
    "Lateral-Ventricle",
    "Inf-Lat-Ventricle",
    "Cerebellum-White-Matter",
    "Cerebellum-Cortex",
    "Thalamus",
    "Caudate",
    "Putamen",
    "Pallidum",
    "Hippocampus",
    "Amygdala",
    "Accumbens",
    "Ventral-DC",
    "Vessel",
    "Choroid-Plexus",
)
_MIDLINE_STRUCTURES = ("3rd-Ventricle", "4th-Ventricle", "Brain-Stem")
_LEFT = tuple(f"Left-{name}" for name in _PAIRED_STRUCTURES)

CLASS_NAMES = (
    "Background",
    *_LEFT[:10],
    *_MIDLINE_STRUCTURES,
    *_LEFT[10:],
    *(f"Right-{name}" for name in _PAIRED_STRUCTURES),
)
"""The 36 classes in the order of their numbers."""

MIRROR_CLASSES = tuple(
    CLASS_NAMES.index({"Left": "Right", "Right": "Left"}.get(side, side) + dash + rest)
    for side, dash, rest in (name.partition("-") for name in CLASS_NAMES)
)
"""Class -> the same structure on the other side; midline structures map to themselves."""

PLEXUS_TO_VENTRICLE = {19: 3, 35: 22}
"""Class of each choroid plexus -> class of the lateral ventricle that contains it."""

_PAIRED_CLASSES = {
    name: (CLASS_NAMES.index(f"Left-{name}"), CLASS_NAMES.index(f"Right-{name}")) for name in _PAIRED_STRUCTURES
}
_MIDLINE_CLASSES = {name: (CLASS_NAMES.index(name),) * 2 for name in _MIDLINE_STRUCTURES}
_BACKGROUND = (0, 0)

ClassTable = Mapping[int, tuple[int, int]]
"""Number -> (class if on the left, class if on the right)."""


def _paired_table(names: Mapping[str, tuple[int, ...]]) -> dict[int, tuple[int, int]]:
    """Turn structure -> (left number, right number) into a table."""
    table = {}
    for name, (left, right) in names.items():
        table[left], table[right] = (_PAIRED_CLASSES[name][0],) * 2, (_PAIRED_CLASSES[name][1],) * 2
    return table


def _aseg_table() -> ClassTable:
    numbers: tuple[tuple[int, int], ...] = (
        (2, 41),
        (3, 42),
        (4, 43),
        (5, 44),
        (7, 46),
        (8, 47),
        (10, 49),
        (11, 50),
        (12, 51),
        (13, 52),
    )
    numbers += ((17, 53), (18, 54), (26, 58), (28, 60), (30, 62), (31, 63))
    table = _paired_table(dict(zip(_PAIRED_STRUCTURES, numbers, strict=True))) | _paired_table({"Thalamus": (9, 48)})
    table |= {
        14: _MIDLINE_CLASSES["3rd-Ventricle"],
        72: _MIDLINE_CLASSES["3rd-Ventricle"],
        15: _MIDLINE_CLASSES["4th-Ventricle"],
        16: _MIDLINE_CLASSES["Brain-Stem"],
    }
    white, grey = _PAIRED_CLASSES["Cerebral-White-Matter"], _PAIRED_CLASSES["Cerebral-Cortex"]
    for number in (77, 80, 192, *range(250, 256)):
        table[number] = white
    for left, right in ((78, 79), (81, 82), (5001, 5002), *((3000 + n, 4000 + n) for n in range(36))):
        table[left], table[right] = (white[0],) * 2, (white[1],) * 2
    for left, right in ((n, n + 1000) for n in (*range(1000, 1036), *range(11100, 11176))):
        table[left], table[right] = (grey[0],) * 2, (grey[1],) * 2
    table[172] = _PAIRED_CLASSES["Cerebellum-Cortex"]
    return table | dict.fromkeys((1, 6, 24, 29, 40, 45, 61, 85), _BACKGROUND)


def _neuromorphometrics_table() -> ClassTable:
    numbers: tuple[tuple[int, int], ...] = (
        (45, 44),
        (101, 100),
        (52, 51),
        (50, 49),
        (41, 40),
        (39, 38),
        (60, 59),
        (37, 36),
        (58, 57),
        (56, 55),
    )
    numbers += ((48, 47), (32, 31), (30, 23), (62, 61), (64, 63))
    table = _paired_table(dict(zip(_PAIRED_STRUCTURES[:-1], numbers, strict=True)))
    table |= {
        4: _MIDLINE_CLASSES["3rd-Ventricle"],
        15: _MIDLINE_CLASSES["3rd-Ventricle"],
        11: _MIDLINE_CLASSES["4th-Ventricle"],
        35: _MIDLINE_CLASSES["Brain-Stem"],
    }
    grey = _PAIRED_CLASSES["Cerebral-Cortex"]
    for left, right in ((75, 76), *((n + 1, n) for n in range(100, 207, 2))):
        table[left], table[right] = (grey[0],) * 2, (grey[1],) * 2
    for number in (71, 72, 73, 74):
        table[number] = _PAIRED_CLASSES["Cerebellum-Cortex"]
    return table | dict.fromkeys((42, 43, 46, 65, 66, 69), _BACKGROUND)


NUMBERINGS: Mapping[str, ClassTable] = {
    "OASIS-35": {number: (number, number) for number in range(1, 36)},
    "FreeSurfer aseg": _aseg_table(),
    "Neuromorphometrics": _neuromorphometrics_table(),
}
_REQUIRED_NUMBERS = {"OASIS-35": (1, 2, 20, 21), "FreeSurfer aseg": (2, 41), "Neuromorphometrics": (44, 45)}
MAX_UNKNOWN_FRACTION = 0.005  # of the labelled voxels


def identify_numbering(labels: np.ndarray) -> str:
    """Return which of `NUMBERINGS` a label map of any shape uses, by its numbers and how often they occur.

    Raises ValueError if none fits or several do.
    """
    values, counts = np.unique(labels, return_counts=True)
    counts = counts[values != 0].astype(float)
    values = values[values != 0]
    if not values.size:
        raise ValueError("The label map is empty.")
    matches = []
    for name, table in NUMBERINGS.items():
        known = np.isin(values, list(table))
        if (
            counts[~known].sum() <= MAX_UNKNOWN_FRACTION * counts.sum()
            and np.isin(_REQUIRED_NUMBERS[name], values).all()
        ):
            matches.append(name)
    if len(matches) != 1:
        numbers = ", ".join(f"{v:g}" for v in values[:12]) + (", …" if values.size > 12 else "")
        finding = f"It fits {' and '.join(matches)}" if matches else "Its numbers fit none of them"
        raise ValueError(f"The label map must be numbered as in {', '.join(NUMBERINGS)}. {finding}: {numbers}.")
    return matches[0]


def translate_labels(labels: np.ndarray, numbering: str | None = None) -> np.ndarray:
    """Translate a label map (I, J, K) in any of `NUMBERINGS` to the 36 classes, (I, J, K) uint8.

    Without a `numbering` it is identified from the numbers. The orientation does not matter, since the numbers tell the
    sides. Unknown numbers become background. Raises ValueError as `identify_numbering` does, and for a name that is not
    in `NUMBERINGS`.
    """
    numbering = numbering or identify_numbering(labels)
    if numbering not in NUMBERINGS:
        raise ValueError(f"There is no numbering {numbering!r}; choose from {', '.join(NUMBERINGS)}.")
    table = NUMBERINGS[numbering]
    values, index = np.unique(labels, return_inverse=True)
    classes = np.array([table.get(int(v), _BACKGROUND) if v == int(v) else _BACKGROUND for v in values], np.uint8)
    index = index.reshape(labels.shape)
    left, right = classes[:, 0][index], classes[:, 1][index]
    has_no_side = left != right
    if has_no_side.any():
        left[has_no_side] = np.where(_is_left(left, has_no_side), left[has_no_side], right[has_no_side])
    return left


def _is_left(classes: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Tell for each voxel of the mask `where` whether it is left of the plane that best separates the other classes."""
    side = np.array([name.startswith("Left") - name.startswith("Right") for name in CLASS_NAMES], np.int8)[classes]
    side[where] = 0
    points = np.argwhere(side)
    sample = points[:: max(1, len(points) // 50_000)]
    plane = np.linalg.lstsq(np.c_[sample, np.ones(len(sample))], side[tuple(sample.T)].astype(float), rcond=None)[0]
    return np.argwhere(where) @ plane[:3] + plane[3] > 0


def merge_plexus(classes: np.ndarray) -> np.ndarray:
    """Count the choroid plexus of a map of classes to the lateral ventricles; same shape, uint8."""
    table = np.arange(len(CLASS_NAMES), dtype=np.uint8)
    for plexus, ventricle in PLEXUS_TO_VENTRICLE.items():
        table[plexus] = ventricle
    return table[classes]


_STRUCTURE_COLOURS = {  # neighbours differ in lightness, not in hue alone
    "Cerebral-White-Matter": (110, 150, 200),
    "Cerebral-Cortex": (214, 120, 95),
    "Lateral-Ventricle": (40, 70, 200),
    "Inf-Lat-Ventricle": (150, 190, 255),
    "3rd-Ventricle": (0, 114, 178),
    "4th-Ventricle": (20, 40, 120),
    "Cerebellum-White-Matter": (250, 228, 170),
    "Cerebellum-Cortex": (222, 145, 20),
    "Thalamus": (0, 158, 115),
    "Caudate": (60, 225, 235),
    "Putamen": (225, 130, 185),
    "Pallidum": (95, 40, 130),
    "Hippocampus": (240, 228, 66),
    "Amygdala": (213, 70, 0),
    "Accumbens": (150, 220, 120),
    "Ventral-DC": (120, 95, 40),
    "Brain-Stem": (165, 165, 170),
    "Vessel": (150, 0, 40),
    "Choroid-Plexus": (0, 220, 200),
}


def split_side(region: str) -> tuple[str, str]:
    """Split a region's name into its side, "Left", "Right" or "", and the structure."""
    side, _, structure = region.partition("-")
    return (side, structure) if side in ("Left", "Right") else ("", region)


def region_colours(regions: Mapping[int, str]) -> dict[int, tuple[int, int, int]]:
    """Return red, green and blue, 0 to 255, by number: one colour per known structure, darker on the right."""
    result = {}
    for number, region in regions.items():
        side, structure = split_side(region)
        if structure in _STRUCTURE_COLOURS:
            red, green, blue = _STRUCTURE_COLOURS[structure]
            result[number] = (red * 4 // 5, green * 4 // 5, blue * 4 // 5) if side == "Right" else (red, green, blue)
    return result
