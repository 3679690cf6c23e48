"""Label codes: several masks as one label map, in which every overlap has a code of its own.

The browser can then hide, fill or outline each region without asking the server again.
"""

from collections.abc import Sequence

import numpy as np

MAX_CODES = 255  # the rarest overlaps beyond these are left out


def encode_labels(masks: Sequence[np.ndarray], values: Sequence[Sequence[int]]) -> tuple[np.ndarray, list[list[int]]]:
    """Combine label maps (I, J, K) of equal shape into codes (I, J, K) uint8, 0 where all are 0.

    `values` are the labels that count, for each map. Code c stands for the regions `members[c - 1]`, bottom first; the
    regions are all values, in their order.
    """
    combined, base = np.zeros(1, np.uint16), 1  # mixed-radix numbers with one digit for each mask
    digits: list[list[int]] = []  # for each mask: from the digit, less one, to the region
    count = 0
    for mask, labels in zip(masks, values, strict=True):
        digits.append(list(range(count, count + len(labels))))
        count += len(labels)
        fits = base * (len(labels) + 1) < 65536
        table = np.zeros(max(int(mask.max()), *labels, 0) + 1, np.uint16 if fits else np.int64)
        table[list(labels)] = base * np.arange(1, len(labels) + 1)
        combined = combined + _look_up(table, mask)
        base *= len(labels) + 1
    return _renumber(combined, digits)


def to_unsigned(labels: np.ndarray) -> np.ndarray:
    """Return labels as unsigned integers in as few bytes as possible; negative ones become 0."""
    if labels.dtype == bool:
        return labels.view(np.uint8)
    if labels.dtype.kind != "u":
        labels = np.maximum(labels, 0).astype(np.uint32)
    return labels


def _look_up(table: np.ndarray, array: np.ndarray) -> np.ndarray:
    is_identity = np.array_equal(table, np.arange(len(table)))
    return array.astype(table.dtype) if is_identity else table[array]


def _renumber(combined: np.ndarray, digits: list[list[int]]) -> tuple[np.ndarray, list[list[int]]]:
    """Number the combinations (I, J, K) from 1 without gaps, and list the regions of each."""
    if combined.dtype == np.uint16:
        counts = np.bincount(combined.ravel())
        present, counts, index = np.flatnonzero(counts), counts[counts > 0], combined
    else:
        present, index, counts = np.unique(combined, return_inverse=True, return_counts=True)
    kept = np.argsort(-np.where(present > 0, counts, 0), kind="stable")[:MAX_CODES]
    kept = np.sort(kept[present[kept] > 0])
    kept_numbers = present[kept] if index is combined else kept
    table = np.zeros(max([*kept_numbers.tolist(), int(index.max())]) + 1, np.uint8)
    table[kept_numbers] = np.arange(1, len(kept) + 1)
    members = []
    for number in present[kept].tolist():
        regions = []
        for mask_regions in digits:
            number, digit = divmod(number, len(mask_regions) + 1)
            regions += [mask_regions[digit - 1]] if digit else []
        members.append(regions)
    return _look_up(table, index.reshape(combined.shape)), members
