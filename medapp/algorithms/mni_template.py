"""MNI template: the average brain in whose space some networks work, and its registration to a head on any grid."""

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

TEMPLATE_MARGIN = 4  # mm around the brain, dark in T1 with or without the skull
COARSE_SPACING = 2.0  # mm, on which whole heads are registered
TEMPLATE_FILE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"  # read from nilearn


class TemplatePlacement(NamedTuple):
    """The template's grid placed in the scan, its correlation with the scan in the brain, and the scan's regions."""

    grid: Grid
    correlation: float
    oriented: OrientedRegions | None = None


@cache
def load_template() -> Volume:
    """Load ICBM 152 nonlinear symmetric 2009a, T1 without skull, (197, 233, 189) at 1 mm, RAS, from 0 to 1."""
    template = files.read([Path(str(shipped("nilearn") / TEMPLATE_FILE))], name="template")
    return template.new_like(template.array.astype(np.float32) / template.array.max())


@cache
def load_template_mask() -> np.ndarray:
    """Return (197, 233, 189) bool: the template's brain and TEMPLATE_MARGIN around it."""
    return ndimage.binary_dilation(load_template().array > 0, iterations=TEMPLATE_MARGIN)


def align_regions(regions: Volume) -> np.ndarray | None:
    """Fit the affine (4, 4) from points of a head to those of the template, RAS+ mm, by the centroids of its regions.

    For scans of any contrast. None if there are too few regions, or the fit is not plausible.
    """
    affine = match_centroids(find_centroids(regions), TEMPLATE_REGIONS) if regions.array.any() else None
    return None if affine is None else np.linalg.inv(affine)


def register_template(
    head: Volume, anatomy, brain_net=None, progress: Callable[[float], None] = lambda share: None
) -> TemplatePlacement:
    """Register the template to a T1 scan, with or without the skull, with twelve parameters.

    The parcellation network `anatomy`, within what `brain_net` takes for brain if it is given, strips the skull and
    gives the start; where it finds no brain, or not enough of one, the whole head is registered. A wrong orientation in
    the header is corrected on the way. Raises InputError for an image that is empty.
    """
    oriented = find_regions(anatomy, head, brain_net=brain_net, progress=lambda share, stage: progress(share / 2))
    back = head.affine @ np.linalg.inv(oriented.affine)  # from where the head really lies to where the file has it
    head, regions = (v.new_like(v.array, affine=oriented.affine) for v in (head, oriented.regions.labels))
    start = match_centroids(find_centroids(regions), TEMPLATE_REGIONS) if regions.array.any() else None
    with limit_to_one_thread():
        if start is None:
            brain = resample(
                head, with_isotropic_spacing(make_working_grid(head), COARSE_SPACING), outside=float(head.array.min())
            )
        else:
            brain, _ = skull_strip(head, regions, make_conformed_grid(regions))
        affine = register_affine(
            brain,
            load_template(),
            progress=lambda share: progress((1 + share) / 2),
            start=start,
            margin=TEMPLATE_MARGIN,
        )
    grid = Grid(load_template().shape, affine @ load_template().affine)
    sparse_template = load_template().array[::2, ::2, ::2]
    inside = sparse_template > 0
    sparse_grid = Grid(sparse_template.shape, grid.affine @ np.diag([2.0, 2, 2, 1]))
    scan_values, template_values = resample(brain, sparse_grid).array[inside], sparse_template[inside]
    spread = scan_values.std() * template_values.std()
    fit = (
        float(((scan_values - scan_values.mean()) * (template_values - template_values.mean())).mean() / spread)
        if spread
        else 0.0
    )
    return TemplatePlacement(Grid(grid.shape, back @ grid.affine), fit, oriented)
