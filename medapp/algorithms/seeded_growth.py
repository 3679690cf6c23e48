"""Seeded growth: the regions around a few voxels that a score falls away from, and how one is cut between clicks."""

import numpy as np
from scipy import ndimage
from skimage.morphology import reconstruction
from skimage.segmentation import random_walker

NEIGHBOURS = np.ones((3, 3, 3), bool)
MAX_CUT_VOXELS = 15_000  # that the random walker is asked about; larger regions are cut on a coarser grid
WANTED, UNWANTED = 1, 2


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

    All arrays are (I, J, K), `spacing` (3,) is in mm. The border is that of Grady's random walker on the image, 2006,
    doi:10.1109/TPAMI.2006.233.
    """
    if not (region & unwanted).any() or not (region & wanted).any():
        return region & ~unwanted
    step = int(np.ceil((np.count_nonzero(region) / MAX_CUT_VOXELS) ** (1 / 3)))
    labels = np.where(region, 0, -1)
    coarse = labels[::step, ::step, ::step].copy()
    for label, seeds in ((WANTED, wanted), (UNWANTED, unwanted)):
        at = tuple((np.argwhere(seeds & region) // step).T)
        coarse[at] = label
    walked = coarse.copy()
    if (coarse == 0).any() and (coarse == WANTED).any():
        with np.errstate(divide="ignore"):  # where a voxel has no neighbour in the region
            image = image[::step, ::step, ::step]
            walked = random_walker(image, coarse, spacing=spacing / min(spacing), prob_tol=1.0)  # only compared
    near = np.ix_(*(np.minimum(np.arange(n) // step, m - 1) for n, m in zip(region.shape, walked.shape, strict=True)))
    return keep_seeded_parts(region & (walked[near] != UNWANTED) & ~unwanted, wanted)
