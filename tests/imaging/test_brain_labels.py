"""Label maps of three numberings come out as the same 36 classes, left as left and right as right."""

import numpy as np
import pytest

from medapp.imaging.brain_labels import (
    CLASS_NAMES,
    MIRROR_CLASSES,
    NUMBERINGS,
    identify_numbering,
    merge_plexus,
    translate_labels,
)

ASEG = {2: 1, 41: 20, 3: 2, 42: 21, 17: 14, 53: 30, 16: 13, 31: 19, 63: 35, 1023: 2, 2023: 21, 77: 20, 24: 0}
NEURO = {45: 1, 44: 20, 101: 2, 100: 21, 48: 14, 47: 30, 35: 13, 75: 2, 76: 21, 207: 2, 206: 21, 69: 0, 46: 0}
OASIS = {n: n for n in (1, 2, 13, 14, 19, 20, 21, 30, 35)}


def head(numbers):
    """Blocks of the given numbers, left ones at low x, one after another along y."""
    labels = np.zeros((20, 4 * len(numbers), 6), np.int32)
    for place, (number, known) in enumerate(numbers.items()):
        side = slice(12, 18) if CLASS_NAMES[known].startswith("Right") else slice(2, 8)
        labels[side, 4 * place : 4 * place + 4, 1:5] = number
    return labels


@pytest.mark.parametrize(
    ("numbering", "numbers"), [("FreeSurfer aseg", ASEG), ("Neuromorphometrics", NEURO), ("OASIS-35", OASIS)]
)
def test_numberings_are_identified_and_translated(numbering, numbers):
    labels = head(numbers)
    assert identify_numbering(labels) == identify_numbering(labels.astype(np.float32)) == numbering
    classes = translate_labels(labels)
    assert classes.dtype == np.uint8 and classes.shape == labels.shape
    for number, known in numbers.items():
        assert set(np.unique(classes[labels == number])) == {known}, number


def test_structures_without_a_side_are_divided_at_the_midplane():
    labels = head({k: NEURO[k] for k in (45, 44, 101, 100)} | {39: 6, 38: 25})
    labels[5:15, :, 5] = 72  # vermis, across the middle at x = 9.5
    classes = translate_labels(labels)
    assert set(np.unique(classes[5:10, :, 5])) == {CLASS_NAMES.index("Left-Cerebellum-Cortex")}
    assert set(np.unique(classes[10:15, :, 5])) == {CLASS_NAMES.index("Right-Cerebellum-Cortex")}
    assert (translate_labels(labels[::-1]) == classes[::-1]).all()  # by the numbers, whatever the orientation


def test_a_few_stray_voxels_do_not_matter_and_become_background():
    labels = np.repeat(head(ASEG), 5, axis=2)
    labels[0, 0, 0] = 999
    assert identify_numbering(labels) == "FreeSurfer aseg" and translate_labels(labels)[0, 0, 0] == 0


@pytest.mark.parametrize("numbers", [{1: 1, 2: 1, 3: 1}, {500: 1, 45: 1, 44: 1}, {}])
def test_other_maps_are_refused(numbers):
    labels = head(numbers) if numbers else np.zeros((4, 4, 4), np.uint8)
    with pytest.raises(ValueError, match=r"label map"):
        translate_labels(labels)


def test_unknown_numbering_is_refused():
    with pytest.raises(ValueError, match="no numbering"):
        translate_labels(head(ASEG), "Brodmann")


def test_the_names_are_those_of_oasis():
    assert len(CLASS_NAMES) == 36 and len(set(CLASS_NAMES)) == 36
    known = {1: "Left-Cerebral-White-Matter", 10: "Left-Pallidum", 11: "3rd-Ventricle", 13: "Brain-Stem"}
    known |= {14: "Left-Hippocampus", 19: "Left-Choroid-Plexus", 20: "Right-Cerebral-White-Matter"}
    known |= {30: "Right-Hippocampus", 34: "Right-Vessel", 35: "Right-Choroid-Plexus"}
    assert {n: CLASS_NAMES[n] for n in known} == known
    assert all(MIRROR_CLASSES[MIRROR_CLASSES[n]] == n for n in range(36))
    assert [n for n in range(36) if MIRROR_CLASSES[n] == n] == [0, 11, 12, 13]
    for table in NUMBERINGS.values():
        assert {n for pair in table.values() for n in pair} <= set(range(36))


def test_plexus_counts_to_the_ventricle():
    assert merge_plexus(np.array([[19, 35, 3, 22, 1]])).tolist() == [[3, 22, 3, 22, 1]]
