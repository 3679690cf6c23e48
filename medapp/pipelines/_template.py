"""Template: the average brain in whose space some networks look, and where it lies in a head on any grid."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files as shipped
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.imaging import files
from medapp.imaging.geometry import isotropic, resample
from medapp.imaging.volume import Grid, Volume
from medapp.machine import one_thread
from medapp.pipelines._affine import align
from medapp.pipelines._anatomy import parcellate, working_grid
from medapp.pipelines._conform import conformed
from medapp.pipelines._pair import Middles, bare, matched, middles

RIM = 4  # mm around the brain, dark in a T1 scan with the skull or without
COARSE = 2.0  # mm, on which heads are compared
BRAIN = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"  # in nilearn, whose import takes seconds
# Where the parcellation network sees the template's regions, and how large: RAS+ mm, ml; 0 where it sees none. From
# `middles(parcellate(anatomy, template()).labels)`, which takes longer than a scan's own.
# fmt: off
REGIONS = Middles(*np.split(np.array((
    (-28.5, -17.9, 18.3, 310.3), (-32.3, -16.9, 16.5, 419.9), (-14.7, -15.6, 14.0, 10.7), (-31.8, -16.3, -16.4, 0.8),
    (-18.8, -52.5, -36.1, 19.4), (-23.7, -62.9, -36.9, 78.2), (-11.8, -18.1, 6.1, 11.7), (-13.7, 10.0, 10.2, 4.8),
    (-25.7, 2.3, 0.2, 6.7), (-20.0, -3.0, -1.4, 2.2), (-0.1, -9.4, -4.6, 0.8), (-0.2, -44.6, -33.8, 2.5),
    (0.1, -30.8, -35.0, 27.1), (-25.9, -22.0, -14.0, 5.1), (-22.4, -4.8, -19.8, 1.3), (-9.2, 12.8, -7.8, 0.9),
    (-10.0, -15.7, -11.2, 6.6), (0, 0, 0, 0), (0, 0, 0, 0), (28.7, -18.1, 18.5, 314.6), (32.3, -16.8, 16.3, 415.1),
    (14.9, -17.0, 14.0, 10.7), (32.0, -16.3, -16.4, 0.8), (19.1, -53.1, -36.7, 19.6), (23.9, -63.0, -36.8, 77.8),
    (12.2, -18.4, 6.3, 12.1), (13.4, 10.7, 9.9, 5.0), (25.6, 2.3, 0.2, 6.2), (20.0, -2.9, -1.5, 2.4),
    (26.3, -22.2, -14.0, 4.9), (22.4, -5.2, -19.8, 1.2), (9.1, 13.0, -7.5, 0.8), (9.8, -15.5, -11.0, 7.0),
    (0, 0, 0, 0), (0, 0, 0, 0),
)), [3], axis=1))
# fmt: on


class Laid(NamedTuple):
    """The template's voxels where they lie in the scan, and the correlation of both in the brain."""

    grid: Grid
    fit: float


@cache
def template() -> Volume:
    """The T1 average of 152 brains without skull, ICBM 152 nonlinear symmetric 2009a, (197, 233, 189) at 1 mm, RAS."""
    found = files.read([Path(str(shipped("nilearn") / BRAIN))], name="template")
    return found.like(found.array.astype(np.float32) / found.array.max())


@cache
def around() -> np.ndarray:
    """(197, 233, 189) bool: the template's brain and a rim of RIM mm."""
    return ndimage.binary_dilation(template().array > 0, iterations=RIM)


def lay(head: Volume, anatomy, progress: Callable[[float], None] = lambda share: None) -> Laid:
    """Find the template in a T1 scan, with or without the skull, by twelve parameters.

    The parcellation network `anatomy` takes the skull off and tells where the search starts; where it sees no brain, or
    not enough of one, the whole head is searched. Raises InputError for an image that is empty.
    """
    regions = parcellate(anatomy, head, progress=lambda share, stage: progress(share / 2)).labels
    start = matched(middles(regions), REGIONS) if regions.array.any() else None
    with one_thread():
        if start is None:
            seen = resample(head, isotropic(working_grid(head), COARSE), outside=float(head.array.min()))
        else:
            seen, _ = bare(head, regions, conformed(regions))
        affine = align(seen, template(), progress=lambda share: progress((1 + share) / 2), start=start, reach=RIM)
    grid = Grid(template().shape, affine @ template().affine)
    sparse = template().array[::2, ::2, ::2]
    inside = sparse > 0
    every = Grid(sparse.shape, grid.affine @ np.diag([2.0, 2, 2, 1]))
    ours, theirs = resample(seen, every).array[inside], sparse[inside]
    spread = ours.std() * theirs.std()
    return Laid(grid, float(((ours - ours.mean()) * (theirs - theirs.mean())).mean() / spread) if spread else 0.0)
