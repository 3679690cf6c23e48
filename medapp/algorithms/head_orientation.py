"""Head orientation: find the regions of a head, also where its header gives a wrong orientation."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
from nibabel.affines import from_matvec
from scipy.linalg import polar

from medapp.algorithms.brain_extraction import predict_distance
from medapp.algorithms.brain_pair import MIN_COMMON_REGIONS, find_centroids
from medapp.algorithms.parcellation import REGION_NAMES as LABELS
from medapp.algorithms.parcellation import Parcellation, classify_voxels, make_working_grid, parcellate
from medapp.algorithms.template_regions import TEMPLATE_REGIONS
from medapp.imaging.background import zero_background
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.intensity import clip_bright, standardize
from medapp.imaging.volume import Grid, Volume

COARSE_SPACING = 1.5  # mm, where the right orientation still shows nearly all regions, and a wrong one few
MAX_VOLUME_RATIO = 3.0  # of a region to the template's, or its inverse, up to which the volume is plausible
ENOUGH_REGIONS = 21  # plausible regions of the 31 of the template; correctly oriented scans have 23 or more
MIN_GAIN = 6  # plausible regions by which another orientation must exceed that of the header
MIN_CORRELATION = 0.75  # of the centroids with the template's, from which they tell the orientation
MIN_HEAD_SIZE = 100.0  # mm along every axis, below which an image is not a whole head, and is not rotated
ORIENTATION_WARNING = (
    "{name}: the head does not lie as the file's header says ({how}). It was rotated for the computation; results lie "
    "on the file's own voxels. Left and right cannot be told from the image: check them, and correct the header."
)


class OrientedRegions(NamedTuple):
    """The regions on the input's grid.

    `affine` is where its voxels really lie; `rotation_text` describes how the head was rotated, and is empty if it was
    not.
    """

    regions: Parcellation
    affine: np.ndarray
    plausible: int
    rotation_text: str = ""

    def warnings(self, name: str) -> tuple[str, ...]:
        """Return the warning about the rotation of the image of that name, if there was one."""
        return (ORIENTATION_WARNING.format(name=name, how=self.rotation_text),) if self.rotation_text else ()


def find_regions(net, head: Volume, *, brain_net=None, progress: Callable[[float, str], None]) -> OrientedRegions:
    """Segment the regions of a head; where few have a plausible volume, try all 24 orientations.

    `net` and errors are those of `parcellate`; `brain_net` is that of `extract_brain`, and tells brain from neck and
    face where it is given. A head is only rotated, never mirrored.
    """
    regions, plausible = _find_regions_as_given(net, brain_net, head, progress)
    if plausible >= ENOUGH_REGIONS or min(np.array(head.shape) * head.spacing) < MIN_HEAD_SIZE:
        return OrientedRegions(regions, head.affine, plausible)
    progress(0.5, "Checking the orientation of the head")
    scan, best, best_count = zero_background(head), None, 0
    initial_count = _count_coarse_regions(net, scan)
    for rotation in list_rotations():
        progress(0.5, "Checking the orientation of the head")
        count = _count_coarse_regions(net, scan.new_like(scan.array, affine=rotate_affine(scan.grid, rotation)))
        if count > best_count:
            best, best_count = rotation, count
        if count >= ENOUGH_REGIONS:
            break
    if best is None or best_count < initial_count + MIN_GAIN:
        return OrientedRegions(regions, head.affine, plausible)
    rotated = find_rotated_regions(net, head, best, brain_net=brain_net, progress=progress)
    return rotated if rotated.plausible >= plausible + MIN_GAIN else OrientedRegions(regions, head.affine, plausible)


def find_rotated_regions(
    net, head: Volume, rotation: np.ndarray, *, brain_net=None, progress: Callable[[float, str], None]
) -> OrientedRegions:
    """Segment the regions of a head that really lies rotated by (3, 3), one of 24, from what its header says."""
    affine = rotate_affine(head.grid, rotation)
    rotated, count = _find_regions_as_given(net, brain_net, head.new_like(head.array, affine=affine), progress)
    regions = Parcellation(*(replace(volume, affine=head.affine) for volume in rotated))
    return OrientedRegions(regions, affine, count, describe_rotation(rotation))


def _find_regions_as_given(
    net, brain_net, head: Volume, progress: Callable[[float, str], None]
) -> tuple[Parcellation, int]:
    """Return the regions and how many are plausible, by the header's orientation.

    They are those of the extracted brain, unless it is missing or the whole head gives more plausible ones.
    """

    def find(inwards: Volume | None) -> tuple[Parcellation, int]:
        regions = parcellate(net, head, inwards=inwards, progress=progress)
        return regions, count_plausible_regions(measure_region_volumes(regions.labels))

    inwards = None if brain_net is None else predict_distance(brain_net, zero_background(head)).inwards
    if inwards is None or not (inwards.array > 0).any():
        return find(None)
    regions, plausible = find(inwards)
    if plausible >= ENOUGH_REGIONS:
        return regions, plausible
    return max((regions, plausible), find(None), key=lambda each: each[1])


def find_rotation(regions: Volume) -> np.ndarray:
    """Return the rotation (3, 3), one of 24, from the orientation of the file to the real one.

    It follows from regions that are already known. The identity where too few regions (classes) are there to tell.
    """
    rotation, correlation = _best_rotation(regions)
    return rotation if correlation > MIN_CORRELATION else np.eye(3)


def has_head_layout(regions: Volume) -> bool:
    """Whether regions (classes) lie to each other as in the template, in any orientation; True where there are few."""
    return _best_rotation(regions)[1] > MIN_CORRELATION


def _best_rotation(regions: Volume) -> tuple[np.ndarray, float]:
    """Return the best of 24 rotations (3, 3) and the correlation of the centroids with the template's, 1 if there are
    few.
    """
    centroids = find_centroids(regions)
    weight = np.sqrt(np.minimum(centroids.ml, TEMPLATE_REGIONS.ml)).ravel()
    known = weight > 0
    if known.sum() < MIN_COMMON_REGIONS:
        return np.eye(3), 1.0
    weight = weight[known] / weight[known].sum()
    points = centroids.mm[known] - weight @ centroids.mm[known]
    targets = TEMPLATE_REGIONS.mm[known] - weight @ TEMPLATE_REGIONS.mm[known]
    rotation = max((np.eye(3), *list_rotations()), key=lambda each: float(weight @ (points @ each.T * targets).sum(1)))
    covariance = weight @ (points @ rotation.T * targets).sum(1)
    size = np.sqrt((weight @ (points**2).sum(1)) * (weight @ (targets**2).sum(1)))
    return rotation, float(covariance / size) if size > 0 else 0.0


def find_nearest_rotation(affine: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3), one of 24, that is nearest to that of an affine (4, 4)."""
    return max((np.eye(3), *list_rotations()), key=lambda each: float((each * polar(affine[:3, :3])[0]).sum()))


def measure_region_volumes(labels: Volume) -> np.ndarray:
    """Measure the regions from 1, (35,) in ml."""
    return np.bincount(labels.array.ravel(), minlength=len(CLASS_NAMES))[1:] * labels.grid.voxel_ml


def count_plausible_regions(ml: np.ndarray) -> int:
    """Count the regions of the template whose volume, of (35,) in ml, is within MAX_VOLUME_RATIO of the template's."""
    usual = TEMPLATE_REGIONS.ml.ravel()
    return int(((ml > usual / MAX_VOLUME_RATIO) & (ml < usual * MAX_VOLUME_RATIO)).sum())


def parcellate_coarsely(net, head: Volume) -> tuple[Volume, Volume]:
    """Resample a head to COARSE_SPACING and segment its regions there: volumes are about right, outlines are not."""
    grid = with_isotropic_spacing(make_working_grid(head), COARSE_SPACING)
    resampled = resample(head, grid, outside=float(head.array.min()))
    classes = classify_voxels(net, standardize(clip_bright(resampled.array)))
    return resampled, Volume(classes, grid.affine, labels=LABELS)


def _count_coarse_regions(net, head: Volume) -> int:
    return count_plausible_regions(measure_region_volumes(parcellate_coarsely(net, head)[1]))


def rotate_affine(grid: Grid, rotation: np.ndarray) -> np.ndarray:
    """Return the affine (4, 4) of a grid rotated by (3, 3) about the centre of its box, RAS+ mm."""
    centre = grid.to_mm((np.array(grid.shape) - 1) / 2)
    return from_matvec(rotation, centre - rotation @ centre) @ grid.affine


def list_rotations() -> Iterator[np.ndarray]:
    """Yield the 23 rotations that map axes onto axes, the half turns and those that keep the left-right axis first."""
    rotations = []
    for order in permutations(range(3)):
        for signs in product((1, -1), repeat=3):
            rotation = np.zeros((3, 3))
            rotation[range(3), order] = signs
            if np.linalg.det(rotation) > 0:
                rotations.append(rotation)
    ordered = sorted(
        rotations, key=lambda rotation: (-abs(np.diag(rotation)).sum(), -abs(rotation[0, 0]), -np.trace(rotation))
    )
    yield from ordered[1:]


def describe_rotation(rotation: np.ndarray) -> str:
    """Say where the top and the front of the head, as the file has them, really lie."""
    ends = ("right", "left"), ("front", "back"), ("top", "foot")
    descriptions = []
    for axis, name in ((2, "top"), (1, "front")):
        to = int(np.abs(rotation[:, axis]).argmax())
        end = ends[to][int(rotation[to, axis] < 0)]
        if end != name:
            descriptions.append(f"its {name} is the {end}")
    return ", ".join(descriptions) or "it is rotated"
