"""Seeded growth: the regions around a few voxels that a score falls away from, and how one is cut between clicks."""

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.morphology import reconstruction

NEIGHBOURS = np.ones((3, 3, 3), bool)
MAX_CUT_VOXELS = 200_000  # of a region that is cut as it is; larger ones are cut on a coarser grid
CONTRAST_WEIGHT = 3.0  # of a step in brightness by the spread of the region, beside a way of one mm


def find_joining_levels(score: np.ndarray, seeds: np.ndarray, domain: np.ndarray) -> np.ndarray:
    """Return at which level of the score each voxel joins the seeds, (I, J, K) float32; -inf outside the domain.

    `score` is (I, J, K), `seeds` and `domain` are bool. Where the result is at or above a level lies the connected part
    (26 neighbours) of all that is at or above it which holds a seed: the morphological reconstruction by dilation of
    Vincent 1993, doi:10.1109/83.217222.
    """
    lowest = np.float32(score.min() - 1)
    inside = np.where(domain, score, lowest).astype(np.float32)
    levels = reconstruction(np.where(seeds & domain, inside, lowest), inside, footprint=NEIGHBOURS)
    return np.where(levels > lowest, levels, -np.inf).astype(np.float32)


def keep_seeded_parts(region: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Return the connected parts (26 neighbours) of a region (I, J, K) bool that hold a seed."""
    labels, _ = ndimage.label(region, NEIGHBOURS)
    kept = np.unique(labels[seeds & region])
    return np.isin(labels, kept[kept > 0])


def cut_region(
    region: np.ndarray, wanted: np.ndarray, unwanted: np.ndarray, image: np.ndarray, spacing: np.ndarray
) -> np.ndarray:
    """Return the part of a region that belongs to the wanted seeds rather than to the unwanted ones.

    All arrays are (I, J, K), `spacing` (3,) is in mm. A voxel belongs to the seeds from which the way to it through the
    region is cheaper, where each mm costs the more, the less the image there is like the seeds: the geodesic distances
    of Criminisi 2008, doi:10.1007/978-3-540-88682-2_9.
    """
    if not (region & unwanted).any() or not (region & wanted).any():
        return region & ~unwanted
    step = int(np.ceil((np.count_nonzero(region) / MAX_CUT_VOXELS) ** (1 / 3)))
    read = (slice(None, None, step),) * 3
    low, high = np.percentile(image[region], (10, 90))
    values = image[read] / max(high - low, 1e-6)
    starts = [np.argwhere(region & seeds) // step for seeds in (wanted, unwanted)]
    ways = [_measure_ways(region[read], start, values, spacing * step) for start in starts]
    near = np.ix_(*(np.arange(n) // step for n in region.shape))
    return keep_seeded_parts(region & (ways[0] <= ways[1])[near] & ~unwanted, wanted)


def _measure_ways(region: np.ndarray, starts: np.ndarray, image: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the cost of the cheapest way from the indices `starts` (N, 3) to each voxel of the region, else inf."""
    unlike = np.abs(image - np.median(image[tuple(starts.T)]))
    costs = np.where(region, 1 + CONTRAST_WEIGHT * unlike, np.inf)
    costs[tuple(starts.T)] = 1.0
    return MCP_Geometric(costs, sampling=tuple(spacing)).find_costs(starts)[0]
