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
from medapp.pipelines._anatomy import working_grid

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


def lay(head: Volume, progress: Callable[[float], None] = lambda share: None) -> Laid:
    """Find the template in a T1 scan, with or without the skull, by twelve parameters.

    Raises InputError for an image that is empty.
    """
    few = resample(head, isotropic(working_grid(head), COARSE), outside=float(head.array.min()))
    with one_thread():
        affine = align(few, template(), progress=progress, reach=RIM)
    grid = Grid(template().shape, affine @ template().affine)
    sparse = template().array[::2, ::2, ::2]
    inside = sparse > 0
    every = Grid(sparse.shape, grid.affine @ np.diag([2.0, 2, 2, 1]))
    ours, theirs = resample(few, every).array[inside], sparse[inside]
    spread = ours.std() * theirs.std()
    return Laid(grid, float(((ours - ours.mean()) * (theirs - theirs.mean())).mean() / spread) if spread else 0.0)
