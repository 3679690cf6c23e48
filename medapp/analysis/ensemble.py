"""Fusion: what three networks, each looking along its own axis, say together, and where they disagree.

Every function takes the probabilities of lesion stacked along the first axis, (P, I, J, K) from 0 to 1, one volume a
plane; a plane that is switched off is left out of the stack, or weighs nothing.
"""

from collections.abc import Sequence

import numpy as np

LESION_THRESHOLD = 0.5


def average_probabilities(probabilities: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """(I, J, K) the mean, each plane counted by its weight: the authors' rule, where the mask is at or above 0.5.

    Raises ValueError if the weights are not one a plane, if one is negative, or all are zero.
    """
    share = np.ones(len(probabilities)) if weights is None else np.asarray(weights, float)
    if share.shape != (len(probabilities),) or (share < 0).any() or not share.any():
        raise ValueError(f"one weight a plane, none negative and not all zero, not {weights}")
    return np.tensordot((share / share.sum()).astype(np.float32), probabilities, 1)


def count_agreeing_planes(probabilities: np.ndarray, threshold: float = LESION_THRESHOLD) -> np.ndarray:
    """(I, J, K) uint8: how many planes see lesion here."""
    return (np.asarray(probabilities) >= threshold).sum(0, dtype=np.uint8)


def compute_majority_probability(probabilities: np.ndarray) -> np.ndarray:
    """(I, J, K) what more than half of the planes reach at least: at any threshold, its mask is that of `vote`."""
    return np.sort(probabilities, axis=0)[(len(probabilities) - 1) // 2]


def compute_variance(probabilities: np.ndarray) -> np.ndarray:
    """(I, J, K) from 0, where all planes say the same, to 0.25, where they contradict each other."""
    return np.var(probabilities, axis=0)


def compute_entropy(probabilities: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """(I, J, K) bits: how open the fused answer is, 1 where lesion is as likely as not."""
    p = np.clip(average_probabilities(probabilities, weights), 1e-7, 1 - 1e-7)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
