"""Scatter: whether what was found lies in many places far apart, as errors do.

The limits were chosen on masks of real strokes, of which few are scattered like that (emboli; no chronic one), and on
painted old heads of the validation part, in which mistakes are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

LINK_MM = 25.0  # centroids no further apart belong to one place
MANY_PLACES, MAX_SHARE = 5, 0.9  # so many places, of which none holds nearly all: errors look like that
SCATTER_QUESTION = "Can this outline be trusted?"
SCATTER_ADVICE = (
    "Mistakes often look like that, for example wide sulci, white-matter disease or noise taken for lesions: do not "
    "trust this outline before you have checked every piece on the scan."
)


class Scatter(NamedTuple):
    """In how many `places` lesions lie, and the `share` of the volume, 0 to 1, that the fullest place holds."""

    places: int
    share: float


def measure_scatter(ml: Sequence[float], centroids: Sequence[Sequence[float]]) -> Scatter:
    """Return the scatter of lesions of `ml` millilitres about their centroids (N, 3) in millimetres."""
    if not len(ml):
        return Scatter(0, 1.0)
    if len(ml) == 1:
        return Scatter(1, 1.0)
    place = fcluster(linkage(np.asarray(centroids, float), "single"), LINK_MM, "distance")
    held = np.bincount(place, np.asarray(ml, float))
    return Scatter(int(place.max()), float(held.max() / held.sum()))


def describe_scatter(scatter: Scatter) -> str:
    """Return a warning, which ends with SCATTER_ADVICE, where lesions are scattered as errors are; else ""."""
    if scatter.places < MANY_PLACES or scatter.share > MAX_SHARE:
        return ""
    held = f"the largest of them holds {100 * scatter.share:.0f} % of the volume"
    return f"The lesions lie in {scatter.places} places far apart, and {held}. {SCATTER_ADVICE}"
