"""Label descriptions hold numbers, colours and names as ITK-SNAP reads them."""

from pathlib import Path

import numpy as np

from medapp.imaging.brain_labels import region_colours
from medapp.imaging.volume import Volume
from medapp.io.itksnap import DEFAULT_COLOUR, write_label_table


def test_every_label_has_its_number_colour_and_name(tmp_path: Path) -> None:
    labels = {2: "Left-Hippocampus", 1: "lesion"}
    path = write_label_table(Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4), labels=labels), tmp_path / "a.label")
    rows = [line.split(maxsplit=7) for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [(int(row[0]), row[7].strip('"')) for row in rows] == [
        (0, "Clear Label"),
        (1, "lesion"),
        (2, "Left-Hippocampus"),
    ]
    assert [tuple(map(int, row[1:4])) for row in rows[1:]] == [DEFAULT_COLOUR, region_colours(labels)[2]]
