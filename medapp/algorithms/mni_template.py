"""Template: the average brain in whose space some networks look, and where it lies in a head on any grid."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files as shipped
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.algorithms.affine_registration import align
from medapp.algorithms.brain_pair import bare, matched, middles
from medapp.algorithms.conformed_space import conformed
from medapp.algorithms.head_orientation import Found, find_regions
from medapp.algorithms.parcellation import working_grid
from medapp.algorithms.template_regions import REGIONS
from medapp.hardware import one_thread
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.volume import Grid, Volume
from medapp.io import files

RIM = 4  # mm around the brain, dark in a T1 scan with the skull or without
COARSE = 2.0  # mm, on which heads are compared
BRAIN = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"  # in nilearn, whose import takes seconds


class Laid(NamedTuple):
    """The template's voxels where they lie in the scan, the correlation of both in the brain, and the regions."""

    grid: Grid
    fit: float
    found: Found | None = None


@cache
def template() -> Volume:
    """The T1 average of 152 brains without skull, ICBM 152 nonlinear symmetric 2009a, (197, 233, 189) at 1 mm, RAS."""
    found = files.read([Path(str(shipped("nilearn") / BRAIN))], name="template")
    return found.new_like(found.array.astype(np.float32) / found.array.max())


@cache
def around() -> np.ndarray:
    """(197, 233, 189) bool: the template's brain and a rim of RIM mm."""
    return ndimage.binary_dilation(template().array > 0, iterations=RIM)


def lay(head: Volume, anatomy, progress: Callable[[float], None] = lambda share: None) -> Laid:
    """Find the template in a T1 scan, with or without the skull, by twelve parameters.

    The parcellation network `anatomy` takes the skull off and tells where the search starts; where it sees no brain, or
    not enough of one, the whole head is searched. A head that does not lie as its file says is found all the same.
    Raises InputError for an image that is empty.
    """
    found = find_regions(anatomy, head, progress=lambda share, stage: progress(share / 2))
    back = head.affine @ np.linalg.inv(found.affine)  # from where the head really lies to where the file has it
    head, regions = (v.new_like(v.array, affine=found.affine) for v in (head, found.regions.labels))
    start = matched(middles(regions), REGIONS) if regions.array.any() else None
    with one_thread():
        if start is None:
            seen = resample(head, with_isotropic_spacing(working_grid(head), COARSE), outside=float(head.array.min()))
        else:
            seen, _ = bare(head, regions, conformed(regions))
        affine = align(seen, template(), progress=lambda share: progress((1 + share) / 2), start=start, reach=RIM)
    grid = Grid(template().shape, affine @ template().affine)
    sparse = template().array[::2, ::2, ::2]
    inside = sparse > 0
    every = Grid(sparse.shape, grid.affine @ np.diag([2.0, 2, 2, 1]))
    ours, theirs = resample(seen, every).array[inside], sparse[inside]
    spread = ours.std() * theirs.std()
    fit = float(((ours - ours.mean()) * (theirs - theirs.mean())).mean() / spread) if spread else 0.0
    return Laid(Grid(grid.shape, back @ grid.affine), fit, found)
