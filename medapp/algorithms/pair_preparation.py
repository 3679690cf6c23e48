"""Brains: two uploads become a prepared pair, with or without label maps of their own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from nibabel.affines import from_matvec

from medapp.algorithms.brain_pair import Pair, prepare_pair
from medapp.algorithms.head_orientation import TURNED_WARNING, describe_rotation, find_regions, find_rotation
from medapp.algorithms.input_checks import require_grey, require_mr, require_overlap
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
    given = ((fixed, fixed_labels), (moving, moving_labels))
    for image, labels in given:
        require_grey(image)
        require_mr(image)
        if labels is not None:
            require_overlap(labels, image)
    here, there = (
        find_label_map(
            image, labels, get_network, partial(scale_progress, progress, 0.4 * n, 0.4 * (n + 1), f"{image.name}: ")
        )
        for n, (image, labels) in enumerate(given)
    )
    by = match_orientation(here.classes, there.classes)
    pair = prepare_pair(
        fixed,
        moving.new_like(moving.array, affine=by @ moving.affine),
        here.classes,
        there.classes.new_like(there.classes.array, affine=by @ there.classes.affine),
        device=device,
        progress=lambda share: progress(0.8 + 0.2 * share, "Aligning the brains"),
    )
    return here, there, replace(pair, affine=np.linalg.inv(by) @ pair.affine)


def match_orientation(fixed: Volume, moving: Volume) -> np.ndarray:
    """(4, 4) that turns the moving head, RAS+ millimetres, so that it lies as the fixed one does, by their regions.

    The unit matrix but where one of the files says wrongly how its head lies.
    """
    turn = find_rotation(fixed).T @ find_rotation(moving)
    middle = moving.grid.to_mm((np.array(moving.shape) - 1) / 2)
    return from_matvec(turn, middle - turn @ middle)


def find_label_map(
    image: Volume, labels: Volume | None, get_network: Callable, progress: Callable[[float, str], None]
) -> LabelMap:
    """The label map that came with the image, or the one that the parcellation network makes, or has made, of it."""
    if labels is not None and labels.name != region_overlap.PREDICTED_SOURCE:
        return parse_label_map(labels)
    found = labels or replace(
        find_regions(get_network("anatomy"), image, progress=progress).regions.labels,
        name=region_overlap.PREDICTED_SOURCE,
    )
    if not found.array.any():
        raise InputError(f"No brain was found in the {image.name}.")
    return LabelMap(found, found, region_overlap.PREDICTED_SOURCE)


def describe_inputs(fixed: Volume, moving: Volume, here: LabelMap, there: LabelMap) -> tuple[str, ...]:
    """What the user should know of these inputs."""
    said = [*fixed.remarks, *moving.remarks]
    for image, regions in ((fixed, here), (moving, there)):
        if max(image.spacing) > 3:
            said.append(f"{image.name}: voxels of {max(image.spacing):.1f} mm; what lies between them is guessed.")
        if regions.numbering != region_overlap.PREDICTED_SOURCE:
            said.append(
                f"{image.name}: its regions come from the uploaded label map, numbered as in {regions.numbering}."
            )
    return tuple(said)


def doubt_pair(fixed: Volume, moving: Volume, pair: Pair, here: LabelMap, there: LabelMap) -> Doubts:
    """Why the result may be wrong: how the heads lie, what they are, and whether one fits the other."""
    said, question = [], ""
    for image, regions in ((fixed, here), (moving, there)):
        turn = find_rotation(regions.classes)
        if not np.allclose(turn, np.eye(3)):
            said.append(TURNED_WARNING.format(name=image.name, how=describe_rotation(turn)))
        scan = zero_background(image)
        if not regions.classes.grid.is_same(image.grid):
            scan = resample(scan, regions.classes.grid)
        found = doubt_scan(replace(scan, name=image.name), regions.classes, "T1")
        said += found.warnings
        question = question or found.question
    stretch = np.linalg.svd(pair.affine[:3, :3], compute_uv=False)
    if np.linalg.det(pair.affine[:3, :3]) < 0 or stretch.max() > 1.5 or stretch.min() < 0.67:
        said.append("The affine stretches the brain by more than a half: look whether the prepared pair fits.")
    if not _brains_overlap(pair):
        said.append("The brains hardly overlap after the affine: look whether the prepared pair fits.")
    return Doubts(question, tuple(said))


def _brains_overlap(pair: Pair) -> bool:
    a, b = pair.fixed.array > 0, pair.moving.array > 0
    return bool(2 * (a & b).sum() > 0.8 * (a.sum() + b.sum()))


def measure_correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    return round(float(np.corrcoef(a[inside], b[inside])[0, 1]), 4)


def scale_progress(
    progress: Callable[[float, str], None], low: float, high: float, who: str, share: float, stage: str
) -> None:
    """Progress of a part as that of the whole."""
    progress(low + (high - low) * share, f"{who}{stage}")
