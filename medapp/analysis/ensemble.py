"""Ensemble of networks that each see one plane: their fused probability, agreement and uncertainty.

Every function takes lesion probabilities stacked along the first axis, (P, I, J, K) from 0 to 1, one volume a plane; a
plane that is switched off is left out of the stack or has weight 0.
"""

from collections.abc import Sequence

import numpy as np

LESION_THRESHOLD = 0.5


def average_probabilities(probabilities: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """Average the probabilities to (I, J, K), weighted; the authors' mask is where the mean is at or above 0.5.

    Raises ValueError unless there is one weight a plane, none negative and not all zero.
    """
    factors = np.ones(len(probabilities)) if weights is None else np.asarray(weights, float)
    if factors.shape != (len(probabilities),) or (factors < 0).any() or not factors.any():
        raise ValueError(f"one weight a plane, none negative and not all zero, not {weights}")
    return np.tensordot((factors / factors.sum()).astype(np.float32), probabilities, 1)


def count_agreeing_planes(probabilities: np.ndarray, threshold: float = LESION_THRESHOLD) -> np.ndarray:
    """Count at every voxel the planes with a probability at or above the threshold: (I, J, K) uint8."""
    return (np.asarray(probabilities) >= threshold).sum(0, dtype=np.uint8)


def compute_majority_probability(probabilities: np.ndarray) -> np.ndarray:
    """Compute (I, J, K) whose mask at any threshold is the majority vote of the planes' masks at that threshold."""
    return np.sort(probabilities, axis=0)[(len(probabilities) - 1) // 2]


def compute_variance(probabilities: np.ndarray) -> np.ndarray:
    """Compute the variance over the planes, (I, J, K): 0 where all agree, at most 0.25."""
    return np.var(probabilities, axis=0)


def compute_entropy(probabilities: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """Compute the entropy of the mean probability in bits, (I, J, K): at most 1, where it is 0.5."""
    p = np.clip(average_probabilities(probabilities, weights), 1e-7, 1 - 1e-7)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
