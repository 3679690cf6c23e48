"""Pair preparation: from two uploads, with or without label maps of their own, to a prepared pair."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from nibabel.affines import from_matvec

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.brain_pair import MIN_AGREEMENT, Pair, measure_agreement, prepare_pair, transform_header
from medapp.algorithms.head_orientation import (
    ORIENTATION_WARNING,
    count_plausible_regions,
    describe_rotation,
    find_nearest_rotation,
    find_regions,
    find_rotated_regions,
    find_rotation,
    measure_region_volumes,
)
from medapp.algorithms.input_checks import require_overlap, require_scan
from medapp.algorithms.lesion_masks import parse_lesion
from medapp.algorithms.scan_plausibility import Doubts, doubt_scan, guess_contrast
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
    fixed_lesion: Volume | None = None,
    moving_lesion: Volume | None = None,
    *,
    get_network: Callable,
    progress: Callable[[float, str], None],
    device: str = "cpu",
) -> tuple[LabelMap, LabelMap, Pair]:
    """Return the label maps of both images on their own grids, and the skull-stripped, aligned pair on one grid.

    Label maps that are not given are predicted by the parcellation network, `get_network("anatomy")`, within the brain
    that `get_network("brain")` finds. Where the regions hardly overlap afterwards, a head that lies in another
    orientation is looked for once more. Raises InputError for an image in which no brain is found, for a label map of
    an unknown numbering or that does not overlap its image, and for a mask of a lesion that is none, does not overlap
    its image, or leaves little of the brain.
    """
    uploads = ((fixed, fixed_labels), (moving, moving_labels))
    for image, labels in uploads:
        require_scan(image)
        if labels is not None:
            require_overlap(labels, image)
    lesions = tuple(
        None if upload is None else parse_lesion(upload, image)
        for upload, image in ((fixed_lesion, fixed), (moving_lesion, moving))
    )
    maps = [
        find_label_map(
            image, labels, get_network, partial(scale_progress, progress, 0.4 * n, 0.4 * (n + 1), f"{image.name}: ")
        )
        for n, (image, labels) in enumerate(uploads)
    ]

    align = partial(
        align_brains,
        fixed,
        moving,
        lesions=(lesions[0], lesions[1]),
        device=device,
        progress=lambda share: progress(0.8 + 0.2 * share, "Aligning the brains"),
    )
    pair = align(*maps)
    if measure_agreement(pair) < MIN_AGREEMENT:
        progress(0.8, "Checking the orientation of the heads")
        rotated_maps = search_orientation((fixed, moving), maps, get_network, device)
        rotated_pair = align(*rotated_maps)
        if measure_agreement(rotated_pair) > measure_agreement(pair):
            maps, pair = rotated_maps, rotated_pair
    return maps[0], maps[1], pair


def align_brains(
    fixed: Volume,
    moving: Volume,
    fixed_map: LabelMap,
    moving_map: LabelMap,
    *,
    lesions: tuple[Volume | None, Volume | None],
    device: str,
    progress: Callable[[float], None],
) -> Pair:
    """Prepare the pair, the moving head first rotated by 90° or 180° where the regions say that it lies so.

    Where the contrasts differ, one image is made like the other; like the T1, if there is one.
    """
    contrasts = [find_contrast(*each) for each in ((fixed, fixed_map), (moving, moving_map))]
    imitating = ""
    if all(contrasts) and contrasts[0] != contrasts[1]:
        imitating = "fixed" if contrasts[1] == "T1" else "moving"
    rotation = match_orientation(fixed_map.classes, moving_map.classes)
    moving_lesion = lesions[1] and transform_header(lesions[1], np.linalg.inv(rotation))
    pair = prepare_pair(
        fixed,
        moving.new_like(moving.array, affine=rotation @ moving.affine),
        fixed_map.classes,
        moving_map.classes.new_like(moving_map.classes.array, affine=rotation @ moving_map.classes.affine),
        device=device,
        progress=progress,
        imitating=imitating,
        lesions=(lesions[0], moving_lesion),
    )
    return replace(pair, affine=np.linalg.inv(rotation) @ pair.affine)


def find_contrast(image: Volume, regions: LabelMap) -> str:
    """Return "T1", "T2", "FLAIR" or "" for an image, by the brightness of its tissues."""
    return guess_contrast(bring_to_regions(image, regions).array, regions.classes.array)


def bring_to_regions(image: Volume, regions: LabelMap) -> Volume:
    """Return the image with a background of 0 on the grid of its label map."""
    scan, grid = zero_background(image), regions.classes.grid
    return scan if grid.is_same(image.grid) else resample(scan, grid)


def search_orientation(
    images: tuple[Volume, Volume], maps: list[LabelMap], get_network: Callable, device: str
) -> list[LabelMap]:
    """Return the label maps of the fixed and the moving head, one predicted anew in the orientation of the other head.

    The images alone tell how one lies to the other; the head whose predicted regions are less plausible is the one that
    is rotated. The maps are returned as they are if the heads lie alike or both maps were uploaded.
    """
    predicted = [n for n, each in enumerate(maps) if each.numbering == region_overlap.PREDICTED_SOURCE]
    if not predicted:
        return maps
    doubtful = min(predicted, key=lambda n: count_plausible_regions(measure_region_volumes(maps[n].classes)))
    doubted, trusted = images[doubtful], images[1 - doubtful]
    affine = register_affine(zero_background(trusted), zero_background(doubted), device, in_any_orientation=True)
    rotation = find_rotation(maps[1 - doubtful].classes) @ find_nearest_rotation(affine).T
    if np.allclose(rotation, np.eye(3)):
        return maps
    found = find_rotated_regions(
        get_network("anatomy"), doubted, rotation, brain_net=get_network("brain"), progress=lambda *_: None
    ).regions.labels
    renewed = list(maps)
    renewed[doubtful] = make_predicted_map(found)
    return renewed


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
    predicted = make_predicted_map(
        labels
        or find_regions(get_network("anatomy"), image, brain_net=get_network("brain"), progress=progress).regions.labels
    )
    if not predicted.own.array.any():
        raise InputError(f"No brain was found in the {image.name}.")
    return predicted


def make_predicted_map(regions: Volume) -> LabelMap:
    """Return the label map of regions (classes) that the parcellation network found."""
    named = replace(regions, name=region_overlap.PREDICTED_SOURCE)
    return LabelMap(named, named, region_overlap.PREDICTED_SOURCE)


def describe_inputs(
    fixed: Volume, moving: Volume, pair: Pair, fixed_map: LabelMap, moving_map: LabelMap
) -> tuple[str, ...]:
    """List what the user should know of these inputs."""
    notes = [*fixed.remarks, *moving.remarks]
    for image, regions in ((fixed, fixed_map), (moving, moving_map)):
        if max(image.spacing) > 3:
            notes.append(f"{image.name}: voxels of {max(image.spacing):.1f} mm; finer detail is interpolated.")
        if regions.numbering != region_overlap.PREDICTED_SOURCE:
            notes.append(f"{image.name}: regions are those of the uploaded label map ({regions.numbering} numbering).")
    if pair.imitating:
        name = fixed.name if pair.imitating == "fixed" else moving.name
        notes.append(f"{name}: its contrast differs from the other's; for the matching alone it was made like that.")
    return tuple(notes)


def doubt_pair(fixed: Volume, moving: Volume, pair: Pair, fixed_map: LabelMap, moving_map: LabelMap) -> Doubts:
    """Look for reasons why the result may be wrong: orientation, contrast, and how well one head fits the other."""
    warnings, question = [], ""
    for image, regions in ((fixed, fixed_map), (moving, moving_map)):
        rotation = find_rotation(regions.classes)
        if not np.allclose(rotation, np.eye(3)):
            warnings.append(ORIENTATION_WARNING.format(name=image.name, how=describe_rotation(rotation)))
        doubts = doubt_scan(replace(bring_to_regions(image, regions), name=image.name), regions.classes)
        warnings += doubts.warnings
        question = question or doubts.question
    stretch = np.linalg.svd(pair.affine[:3, :3], compute_uv=False)
    if np.linalg.det(pair.affine[:3, :3]) < 0 or stretch.max() > 1.5 or stretch.min() < 0.67:
        warnings.append("The affine stretches the brain by more than a half: check that the preprocessed images match.")
    agreement = measure_agreement(pair)
    if agreement < MIN_AGREEMENT:
        question = question or "Brains not aligned?"
        warnings.append(
            f"After the affine the regions of the two brains hardly overlap (median Dice {agreement:.2f}): do not use "
            "the result. Check that both images show a whole head, and how the head lies in them."
        )
    return Doubts(question, tuple(warnings))


def measure_correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    """Return the Pearson correlation of two arrays within a mask, to four decimals."""
    return round(float(np.corrcoef(a[inside], b[inside])[0, 1]), 4)


def scale_progress(
    progress: Callable[[float, str], None], low: float, high: float, who: str, share: float, stage: str
) -> None:
    """Report the progress of a part, from `low` to `high`, as that of the whole, with `who` before the stage."""
    progress(low + (high - low) * share, f"{who}{stage}")
