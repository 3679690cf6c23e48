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
    (-28.6, -17.8, 19.0, 315.1), (-32.3, -16.6, 16.0, 426.8), (-14.8, -16.2, 14.3, 10.2), (-32.2, -17.6, -15.5, 0.8),
    (-19.0, -51.7, -36.1, 17.8), (-23.8, -62.9, -36.8, 81.9), (-11.8, -18.2, 6.1, 11.6), (-13.6, 10.5, 10.1, 5.0),
    (-25.9, 2.1, 0.2, 6.8), (-20.2, -3.1, -1.5, 2.3), (-0.1, -9.0, -4.9, 0.8), (0.0, -44.5, -33.5, 2.5),
    (0.0, -30.9, -35.2, 27.1), (-26.0, -22.0, -14.0, 5.5), (-22.3, -4.8, -19.9, 1.5), (-9.4, 13.1, -7.7, 1.0),
    (-9.7, -16.0, -11.2, 6.7), (0, 0, 0, 0), (0, 0, 0, 0), (28.7, -17.9, 19.0, 314.5), (32.3, -16.6, 16.1, 427.9),
    (15.0, -17.1, 14.2, 10.2), (32.1, -16.2, -16.6, 0.7), (18.6, -52.1, -36.1, 18.6), (23.8, -63.0, -36.9, 81.6),
    (12.0, -18.5, 6.4, 11.7), (13.6, 10.5, 10.3, 5.5), (25.8, 1.8, 0.3, 6.7), (20.2, -3.4, -1.4, 2.5),
    (26.4, -21.9, -14.2, 5.3), (22.1, -4.8, -19.9, 1.4), (9.2, 13.0, -7.5, 0.9), (9.9, -15.6, -11.1, 6.7), (0, 0, 0, 0),
    (0, 0, 0, 0),
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
