"""Frequency map: in which share of people each voxel of the template has a lesion."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medapp.algorithms.mni_template import load_template
from medapp.cohorts.group_table import GroupRow
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.rendering import planes
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer


class FrequencyMap(NamedTuple):
    """The share of people with a lesion, from 0 to 1, on the template's grid, how many people, and which were left out.

    A person with several scans counts once, by the mean of their masks.
    """

    share: Volume
    people: int
    unread: list[str]


def compute_frequency(rows: Sequence[GroupRow], dataset: Path) -> FrequencyMap | None:
    """Return the map of all rows with a mask in the space of the template; None where there is none."""
    masks: dict[str, list[GroupRow]] = {}
    for row in rows:
        if row.is_used and row.record.template_mask:
            masks.setdefault(row.person, []).append(row)
    template, people, unread = load_template(), 0, []
    total = np.zeros(template.shape, np.float32)
    for own in masks.values():
        read = []
        for row in own:
            try:
                mask = files.read([dataset / row.record.template_mask], labels=True)
                if mask.shape != template.shape:
                    raise InputError("The mask does not lie on the template.")
                read.append(mask.array > 0)
            except InputError:
                unread.append(row.name)
        for mask_array in read:
            total[mask_array] += 1 / len(read)
        people += bool(read)
    return FrequencyMap(Volume(total / people, template.affine, name="frequency"), people, unread) if people else None


def draw_frequency(frequency: FrequencyMap) -> np.ndarray:
    """Draw the map over the template in three planes through its maximum, uint8 (H, W, 3)."""
    template, share = load_template(), frequency.share
    top = np.unravel_index(int(share.array.argmax()), share.shape)
    window = Window(0, max(float(share.array.max()), 1e-6))
    layers = [Layer(template), Layer(share, "heat", window=window, opacity=0.8)]
    return planes.draw_three_planes(layers, share.grid.to_mm(np.array(top)), height=420)
