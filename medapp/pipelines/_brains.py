"""Brains: two uploads become a prepared pair, with or without label maps of their own."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from medapp import overlap
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.pipelines._anatomy import parcellate
from medapp.pipelines._checks import require_grey, require_mr, require_overlap
from medapp.pipelines._labels import Labelled, labelled
from medapp.pipelines._pair import Pair, prepare


def brains(
    fixed: Volume,
    moving: Volume,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    *,
    aid: Callable,
    progress: Callable[[float, str], None],
    device: str = "cpu",
) -> tuple[Labelled, Labelled, Pair]:
    """The regions of both images on their own grids, and the pair without skull, aligned, on one grid.

    Regions come from the label maps where they are given, else from the parcellation network `aid("anatomy")`. Raises
    InputError for images in which no brain is found, and for label maps that are not of a known numbering or do not lie
    on their image.
    """
    given = ((fixed, fixed_labels), (moving, moving_labels))
    for image, labels in given:
        require_grey(image)
        require_mr(image)
        if labels is not None:
            require_overlap(labels, image)
    here, there = (
        regions_of(image, labels, aid, partial(within, progress, 0.4 * n, 0.4 * (n + 1), f"{image.name}: "))
        for n, (image, labels) in enumerate(given)
    )
    pair = prepare(
        fixed,
        moving,
        here.classes,
        there.classes,
        device=device,
        progress=lambda share: progress(0.8 + 0.2 * share, "Aligning the brains"),
    )
    return here, there, pair


def regions_of(image: Volume, labels: Volume | None, aid: Callable, progress: Callable[[float, str], None]) -> Labelled:
    """The label map that came with the image, or the one that the parcellation network makes, or has made, of it."""
    if labels is not None and labels.name != overlap.PREDICTED:
        return labelled(labels)
    found = labels or replace(parcellate(aid("anatomy"), image, progress=progress).labels, name=overlap.PREDICTED)
    if not found.array.any():
        raise InputError(f"No brain was found in the {image.name}.")
    return Labelled(found, found, overlap.PREDICTED)


def remarks(fixed: Volume, moving: Volume, pair: Pair, here: Labelled, there: Labelled) -> tuple[str, ...]:
    """What the user should know of these inputs before trusting the result."""
    said = [*fixed.remarks, *moving.remarks]
    for image, regions in ((fixed, here), (moving, there)):
        if max(image.spacing) > 3:
            said.append(f"{image.name}: voxels of {max(image.spacing):.1f} mm; what lies between them is guessed.")
        if regions.numbering != overlap.PREDICTED:
            said.append(
                f"{image.name}: its regions come from the uploaded label map, numbered as in {regions.numbering}."
            )
        volume = float((regions.classes.array > 0).sum()) * regions.classes.grid.voxel_ml
        if not 700 < volume < 2200:
            said.append(f"{image.name}: the brain measures {volume:.0f} ml, odd for an adult; is all of it there?")
    stretch = np.linalg.svd(pair.affine[:3, :3], compute_uv=False)
    if np.linalg.det(pair.affine[:3, :3]) < 0 or stretch.max() > 1.5 or stretch.min() < 0.67:
        said.append("The affine stretches the brain by more than a half: look whether the prepared pair fits.")
    if not _overlapping(pair):
        said.append("The brains hardly overlap after the affine: look whether the prepared pair fits.")
    return tuple(said)


def _overlapping(pair: Pair) -> bool:
    a, b = pair.fixed.array > 0, pair.moving.array > 0
    return bool(2 * (a & b).sum() > 0.8 * (a.sum() + b.sum()))


def correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    return round(float(np.corrcoef(a[inside], b[inside])[0, 1]), 4)


def within(progress: Callable[[float, str], None], low: float, high: float, who: str, share: float, stage: str) -> None:
    """Progress of a part as that of the whole."""
    progress(low + (high - low) * share, f"{who}{stage}")
