"""Scan plausibility: whether an image is the scan that a method needs, by its regions and tissue intensities."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from medapp.algorithms.head_orientation import count_plausible_regions, measure_region_volumes
from medapp.imaging.brain_labels import CLASS_NAMES, split_side
from medapp.imaging.volume import Volume

MIN_REGIONS = 12  # of plausible volume, of 31, below which there is no brain or only part of one
MIN_BRAIN_ML = 600  # of an adult
MAX_BRAIN_ML = 2200
MAX_T1_RATIO = 0.93  # grey over white matter, below which a scan is T1
MIN_T2_RATIO = 1.0  # grey over white matter, above which it is T2 or FLAIR
MIN_T2_FLUID_RATIO = 1.2  # ventricular fluid over white matter, above which it is T2
MIN_TISSUE_VOXELS = 100  # below which the intensity of a tissue is not estimated
MIN_CUT_AREA = 8.0  # cm² of brain in an outermost slice, from which the image ends within the brain
END_NAMES = {"R": "right", "L": "left", "A": "front", "P": "back", "S": "top", "I": "foot"}


class Doubts(NamedTuple):
    """A question for the headline, or "", and the warnings behind it."""

    question: str = ""
    warnings: tuple[str, ...] = ()


def doubt_scan(image: Volume, regions: Volume, wanted: str = "", *, cut: bool = False) -> Doubts:
    """Look for reasons to doubt that `image` shows a whole head in the contrast `wanted`.

    `wanted` is "T1", "FLAIR" or "" for any. `regions` (classes) lie on the grid of the image, and may be those of
    another scan of the head. `cut` says that regions may be few and small, since the image ends within the brain or has
    thick slices.
    """
    name, kind = image.name, f"{wanted} scan" if wanted else "scan"
    ml = measure_region_volumes(regions)
    whole, plausible = float(ml.sum()), count_plausible_regions(ml)
    if plausible < MIN_REGIONS and not cut:
        finding = "no brain was found" if whole < 1 else f"only {plausible} of 31 brain regions have a plausible size"
        return Doubts(
            f"Not a {kind} of a whole head?",
            (f"{name}: {finding}. Check that this is a {kind} of a head, its voxel size and its orientation.",),
        )
    warnings, question = [], ""
    if not MIN_BRAIN_ML < whole < MAX_BRAIN_ML and not (cut and whole < MAX_BRAIN_ML):
        question = f"Not a {kind} of a whole head?"
        warnings.append(
            f"{name}: the regions of the brain measure {whole:.0f} ml, unusual for an adult. Check the voxel size in "
            "the header, and whether the whole head is in view."
        )
    contrast = guess_contrast(image.array, regions.array) if wanted else ""
    if contrast and contrast != wanted:
        other = doubt_kind(name, contrast, wanted)
        return Doubts(other.question, (*warnings, *other.warnings))
    return Doubts(question, tuple(warnings))


def doubt_kind(name: str, kind: str, wanted: str) -> Doubts:
    """Return what is to be said of a scan that looks like one kind where another is `wanted`."""
    return Doubts(
        f"Not a {wanted} scan of a brain?",
        (f"{name}: it looks like {kind}, and this method needs {wanted}. Upload the {wanted} scan.",),
    )


def find_cut_ends(brain: Volume) -> list[str]:
    """List the ends of the image, in words, at which the brain is cut."""
    cut_ends = []
    for axis, letter in enumerate(brain.axis_codes):
        area = brain.grid.voxel_ml / brain.spacing[axis] * 10  # cm² of a voxel's face
        opposite = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}[letter]
        for end, name in ((-1, letter), (0, opposite)):
            if brain.shape[axis] > 1 and np.take(brain.array, end, axis).sum() * area > MIN_CUT_AREA:
                cut_ends.append(END_NAMES[name])
    return cut_ends


def guess_contrast(array: np.ndarray, regions: np.ndarray) -> str:
    """Return "T1", "T2", "FLAIR" or "" for a scan and its classes, both (I, J, K), by its tissue intensities."""
    white, grey, fluid = (
        _median_intensity(array, regions, structure)
        for structure in ("Cerebral-White-Matter", "Cerebral-Cortex", "Lateral-Ventricle")
    )
    low = float(array.min())
    if white is None or grey is None or white <= low:
        return ""
    ratio = (grey - low) / (white - low)
    if ratio < MAX_T1_RATIO:
        return "T1"
    if ratio > MIN_T2_RATIO and fluid is not None:
        return "T2" if fluid - low > MIN_T2_FLUID_RATIO * (white - low) else "FLAIR"
    return ""


def _median_intensity(array: np.ndarray, regions: np.ndarray, structure: str) -> float | None:
    """Return the median within a structure, in fluid away from its edge; None where there is too little of it."""
    numbers = [n for n, name in enumerate(CLASS_NAMES) if split_side(name)[1] == structure]
    inside = np.isin(regions, numbers)
    if inside.sum() < MIN_TISSUE_VOXELS:
        return None
    deep = ndimage.binary_erosion(inside) if structure == "Lateral-Ventricle" else inside
    return float(np.median(array[deep if deep.sum() >= MIN_TISSUE_VOXELS else inside]))
