"""Template: the average brain in whose space some networks look, and where it lies in a head on any grid."""

from collections.abc import Callable
from functools import cache
from importlib.resources import files as shipped
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.brain_pair import find_centroids, match_centroids, skull_strip
from medapp.algorithms.conformed_space import make_conformed_grid
from medapp.algorithms.head_orientation import OrientedRegions, find_regions
from medapp.algorithms.parcellation import make_working_grid
from medapp.algorithms.template_regions import TEMPLATE_REGIONS
from medapp.hardware import limit_to_one_thread
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.volume import Grid, Volume
from medapp.io import files

TEMPLATE_MARGIN = 4  # mm around the brain, dark in a T1 scan with the skull or without
COARSE_SPACING = 2.0  # mm, on which heads are compared
TEMPLATE_FILE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"  # read from nilearn


class TemplatePlacement(NamedTuple):
    """The template's voxels where they lie in the scan, the correlation of both in the brain, and the regions."""

    grid: Grid
    fit: float
    found: OrientedRegions | None = None


@cache
def load_template() -> Volume:
    """The T1 average of 152 brains without skull, ICBM 152 nonlinear symmetric 2009a, (197, 233, 189) at 1 mm, RAS."""
    found = files.read([Path(str(shipped("nilearn") / TEMPLATE_FILE))], name="template")
    return found.new_like(found.array.astype(np.float32) / found.array.max())


@cache
def load_template_mask() -> np.ndarray:
    """(197, 233, 189) bool: the template's brain and a rim of RIM mm."""
    return ndimage.binary_dilation(load_template().array > 0, iterations=TEMPLATE_MARGIN)


def register_template(
    head: Volume, anatomy, progress: Callable[[float], None] = lambda share: None
) -> TemplatePlacement:
    """Find the template in a T1 scan, with or without the skull, by twelve parameters.

    The parcellation network `anatomy` takes the skull off and tells where the search starts; where it sees no brain, or
    not enough of one, the whole head is searched. A head that does not lie as its file says is found all the same.
    Raises InputError for an image that is empty.
    """
    found = find_regions(anatomy, head, progress=lambda share, stage: progress(share / 2))
    back = head.affine @ np.linalg.inv(found.affine)  # from where the head really lies to where the file has it
    head, regions = (v.new_like(v.array, affine=found.affine) for v in (head, found.regions.labels))
    start = match_centroids(find_centroids(regions), TEMPLATE_REGIONS) if regions.array.any() else None
    with limit_to_one_thread():
        if start is None:
            seen = resample(
                head, with_isotropic_spacing(make_working_grid(head), COARSE_SPACING), outside=float(head.array.min())
            )
        else:
            seen, _ = skull_strip(head, regions, make_conformed_grid(regions))
        affine = register_affine(
            seen, load_template(), progress=lambda share: progress((1 + share) / 2), start=start, margin=TEMPLATE_MARGIN
        )
    grid = Grid(load_template().shape, affine @ load_template().affine)
    sparse = load_template().array[::2, ::2, ::2]
    inside = sparse > 0
    every = Grid(sparse.shape, grid.affine @ np.diag([2.0, 2, 2, 1]))
    ours, theirs = resample(seen, every).array[inside], sparse[inside]
    spread = ours.std() * theirs.std()
    fit = float(((ours - ours.mean()) * (theirs - theirs.mean())).mean() / spread) if spread else 0.0
    return TemplatePlacement(Grid(grid.shape, back @ grid.affine), fit, found)
