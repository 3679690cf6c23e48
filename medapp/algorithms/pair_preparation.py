"""Pair preparation: from two uploads, with or without label maps of their own, to a prepared pair."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from nibabel.affines import from_matvec

from medapp.algorithms.brain_pair import Pair, prepare_pair
from medapp.algorithms.head_orientation import ORIENTATION_WARNING, describe_rotation, find_regions, find_rotation
from medapp.algorithms.input_checks import require_overlap, require_scan
from medapp.algorithms.scan_plausibility import Doubts, doubt_scan
from medapp.algorithms.uploaded_labels import LabelMap, parse_label_map
from medapp.analysis import region_overlap
from medapp.errors import InputError
from medapp.imaging.background import zero_background
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume


def prepare_brains(
    fixed: Volume,
    moving: Volume,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    *,
    get_network: Callable,
    progress: Callable[[float, str], None],
    device: str = "cpu",
) -> tuple[LabelMap, LabelMap, Pair]:
    """Return the label maps of both images on their own grids, and the skull-stripped, aligned pair on one grid.

    Label maps that are not given are predicted by the parcellation network, `get_network("anatomy")`. Raises InputError
    for an image in which no brain is found, and for a label map of an unknown numbering or that does not overlap its
    image.
    """
    uploads = ((fixed, fixed_labels), (moving, moving_labels))
    for image, labels in uploads:
        require_scan(image)
        if labels is not None:
            require_overlap(labels, image)
    fixed_map, moving_map = (
        find_label_map(
            image, labels, get_network, partial(scale_progress, progress, 0.4 * n, 0.4 * (n + 1), f"{image.name}: ")
        )
        for n, (image, labels) in enumerate(uploads)
    )
    rotation = match_orientation(fixed_map.classes, moving_map.classes)
    pair = prepare_pair(
        fixed,
        moving.new_like(moving.array, affine=rotation @ moving.affine),
        fixed_map.classes,
        moving_map.classes.new_like(moving_map.classes.array, affine=rotation @ moving_map.classes.affine),
        device=device,
        progress=lambda share: progress(0.8 + 0.2 * share, "Aligning the brains"),
    )
    return fixed_map, moving_map, replace(pair, affine=np.linalg.inv(rotation) @ pair.affine)


def match_orientation(fixed: Volume, moving: Volume) -> np.ndarray:
    """Return the affine (4, 4), RAS+ mm, that rotates the moving head to the orientation of the fixed one.

    It follows from their regions. The identity unless a header gives a wrong orientation.
    """
    rotation = find_rotation(fixed).T @ find_rotation(moving)
    centre = moving.grid.to_mm((np.array(moving.shape) - 1) / 2)
    return from_matvec(rotation, centre - rotation @ centre)


def find_label_map(
    image: Volume, labels: Volume | None, get_network: Callable, progress: Callable[[float, str], None]
) -> LabelMap:
    """Return the label map that came with the image, or the parcellation network's, computed now or before."""
    if labels is not None and labels.name != region_overlap.PREDICTED_SOURCE:
        return parse_label_map(labels)
    predicted = labels or replace(
        find_regions(get_network("anatomy"), image, progress=progress).regions.labels,
        name=region_overlap.PREDICTED_SOURCE,
    )
    if not predicted.array.any():
        raise InputError(f"No brain was found in the {image.name}.")
    return LabelMap(predicted, predicted, region_overlap.PREDICTED_SOURCE)


def describe_inputs(fixed: Volume, moving: Volume, fixed_map: LabelMap, moving_map: LabelMap) -> tuple[str, ...]:
    """List what the user should know of these inputs."""
    notes = [*fixed.remarks, *moving.remarks]
    for image, regions in ((fixed, fixed_map), (moving, moving_map)):
        if max(image.spacing) > 3:
            notes.append(f"{image.name}: voxels of {max(image.spacing):.1f} mm; finer detail is interpolated.")
        if regions.numbering != region_overlap.PREDICTED_SOURCE:
            notes.append(f"{image.name}: regions are those of the uploaded label map ({regions.numbering} numbering).")
    return tuple(notes)


def doubt_pair(fixed: Volume, moving: Volume, pair: Pair, fixed_map: LabelMap, moving_map: LabelMap) -> Doubts:
    """Look for reasons why the result may be wrong: orientation, contrast, and how well one head fits the other."""
    warnings, question = [], ""
    for image, regions in ((fixed, fixed_map), (moving, moving_map)):
        rotation = find_rotation(regions.classes)
        if not np.allclose(rotation, np.eye(3)):
            warnings.append(ORIENTATION_WARNING.format(name=image.name, how=describe_rotation(rotation)))
        scan = zero_background(image)
        if not regions.classes.grid.is_same(image.grid):
            scan = resample(scan, regions.classes.grid)
        doubts = doubt_scan(replace(scan, name=image.name), regions.classes, "T1")
        warnings += doubts.warnings
        question = question or doubts.question
    stretch = np.linalg.svd(pair.affine[:3, :3], compute_uv=False)
    if np.linalg.det(pair.affine[:3, :3]) < 0 or stretch.max() > 1.5 or stretch.min() < 0.67:
        warnings.append("The affine stretches the brain by more than a half: check that the preprocessed images match.")
    if not _brains_overlap(pair):
        warnings.append("The brains hardly overlap after the affine: check that the preprocessed images match.")
    return Doubts(question, tuple(warnings))


def _brains_overlap(pair: Pair) -> bool:
    """Whether the Dice coefficient of the two brains is above 0.8."""
    a, b = pair.fixed.array > 0, pair.moving.array > 0
    return bool(2 * (a & b).sum() > 0.8 * (a.sum() + b.sum()))


def measure_correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    """Return the Pearson correlation of two arrays within a mask, to four decimals."""
    return round(float(np.corrcoef(a[inside], b[inside])[0, 1]), 4)


def scale_progress(
    progress: Callable[[float, str], None], low: float, high: float, who: str, share: float, stage: str
) -> None:
    """Report the progress of a part, from `low` to `high`, as that of the whole, with `who` before the stage."""
    progress(low + (high - low) * share, f"{who}{stage}")
