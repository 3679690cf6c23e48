"""Template: the average brain in whose space some networks look, and where it lies in a head on any grid."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.imaging.geometry import isotropic, resample
from medapp.imaging.volume import Grid, Volume
from medapp.machine import one_thread
from medapp.pipelines._affine import align
from medapp.pipelines._anatomy import parcellate, working_grid
from medapp.pipelines._conform import conformed
from medapp.pipelines._pair import bare, matched

RIM = 4  # mm around the brain, dark in a T1 scan with the skull or without
COARSE = 2.0  # mm, on which heads are compared


class Laid(NamedTuple):
    """The template's voxels where they lie in the scan, and the correlation of both in the brain."""

    grid: Grid
    fit: float


@cache
def template() -> Volume:
    """The T1 average of 152 brains without skull, ICBM 152 nonlinear symmetric 2009a, (197, 233, 189) at 1 mm, RAS."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    return Volume(np.asarray(image.dataobj, np.float32), image.affine, name="template")


@cache
def around() -> np.ndarray:
    """(197, 233, 189) bool: the template's brain and a rim of RIM mm."""
    return ndimage.binary_dilation(template().array > 0, iterations=RIM)


@cache
def divided(anatomy) -> Volume:
    """The template's own regions, as the parcellation network `anatomy` sees them."""
    return parcellate(anatomy, template(), progress=lambda share, stage: None).labels


def lay(head: Volume, anatomy, progress: Callable[[float], None] = lambda share: None) -> Laid:
    """Find the template in a T1 scan, with or without the skull, by twelve parameters.

    The parcellation network `anatomy` takes the skull off and tells where the search starts; where it sees no brain, or
    not enough of one, the whole head is searched. Raises InputError for an image that is empty.
    """
    regions = parcellate(anatomy, head, progress=lambda share, stage: progress(share / 2)).labels
    start = matched(regions, divided(anatomy)) if regions.array.any() else None
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
