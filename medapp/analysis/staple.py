"""STAPLE: the consensus of several raters' masks, and how good each of them is.

Warfield et al. 2004, doi:10.1109/TMI.2004.828354. ITK's filter goes through all voxels at each step, which takes
seconds; the voxels that the same raters mark are all alike, so that these few kinds of voxels are gone through here.
The tests compare the two.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MIN_RATERS = 3  # of two, neither can be told to be the better one
MAX_STEPS = 1000
FIRST_RATE = 0.99999  # of sensitivity and specificity before the first step, as in ITK
TOLERANCE = 1e-7  # change of a rate below which the steps end
CONSENSUS_PROBABILITY = 0.5  # from which a voxel belongs to the consensus


class Consensus(NamedTuple):
    """The mask (I, J, K) bool that raters agree on, and the sensitivity and specificity of each, in their order."""

    mask: np.ndarray
    sensitivities: tuple[float, ...]
    specificities: tuple[float, ...]


def find_consensus(masks: Sequence[np.ndarray]) -> Consensus | None:
    """Return the consensus of masks (I, J, K) bool on one grid; None of fewer than MIN_RATERS, or if all are empty.

    The prior is the mean share of the whole grid that is marked, as in ITK.
    """
    if len(masks) < MIN_RATERS or not any(mask.any() for mask in masks):
        return None
    kinds = sum(mask.astype(np.uint32) << number for number, mask in enumerate(masks))
    counts = np.bincount(np.ravel(kinds), minlength=2 ** len(masks)).astype(float)
    marked = (np.arange(len(counts))[:, None] >> np.arange(len(masks))) & 1 > 0  # (kinds, raters)
    prior = float(counts @ marked.mean(axis=1) / counts.sum())
    sensitivity = specificity = np.full(len(masks), FIRST_RATE)
    for _ in range(MAX_STEPS):
        inside = prior * np.where(marked, sensitivity, 1 - sensitivity).prod(axis=1)
        outside = (1 - prior) * np.where(marked, 1 - specificity, specificity).prod(axis=1)
        total = inside + outside
        probability = np.divide(inside, total, out=np.full(len(total), prior), where=total > 0)
        before = sensitivity, specificity
        sensitivity = _average(marked, counts * probability)
        specificity = _average(~marked, counts * (1 - probability))
        if np.abs(np.subtract(before, (sensitivity, specificity))).max() < TOLERANCE:
            break
    is_inside = (probability >= CONSENSUS_PROBABILITY) & (counts > 0)
    return Consensus(is_inside[kinds], tuple(sensitivity.tolist()), tuple(specificity.tolist()))


def _average(shares: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean (raters,) of shares (kinds, raters) with weights (kinds,); 1 where there is nothing to weigh."""
    total = weights.sum()
    return weights @ shares / total if total > 0 else np.ones(shares.shape[1])
