"""Label maps that are brought along: known numberings are taken, others refused in words."""

import numpy as np
import pytest

from medapp.algorithms.uploaded_labels import parse_label_map
from medapp.errors import InputError
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume


def row(*numbers: float, kind=np.float32) -> Volume:
    return Volume(np.array(numbers, kind)[:, None, None], np.eye(4), name="Labels")


def test_aseg_keeps_its_own_numbers_and_gets_the_classes():
    found = parse_label_map(row(0, 2, 41, 3, 17, 53))
    assert found.numbering == "FreeSurfer aseg"
    assert found.own.array.ravel().tolist() == [0, 2, 41, 3, 17, 53] and found.own.labels[17] == "17 Left-Hippocampus"
    said = [CLASS_NAMES[n] for n in found.classes.array.ravel()]
    assert said[1:3] == ["Left-Cerebral-White-Matter", "Right-Cerebral-White-Matter"] and said[5] == "Right-Hippocampus"


def test_neuromorphometrics_parcels_stay_apart():
    found = parse_label_map(row(0, 44, 45, 100, 102, 104))
    assert found.numbering == "Neuromorphometrics" and set(found.own.labels) == {44, 45, 100, 102, 104}
    assert len(set(found.own.labels.values())) == 5
    assert {CLASS_NAMES[n] for n in found.classes.array.ravel()[3:]} == {"Right-Cerebral-Cortex"}


@pytest.mark.parametrize("numbers", [(0, 0, 0), (0, 1, 2), (0, 900, 901, 902), (0, 2, 41, 0.5)])
def test_what_is_no_brain_map_is_refused(numbers):
    with pytest.raises(InputError, match="Labels"):
        parse_label_map(row(*numbers))
