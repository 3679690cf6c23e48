"""Volumes and asymmetries of brain regions, and their comparison with a reference label map."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from medapp.analysis import mask_metrics
from medapp.errors import InputError
from medapp.imaging.brain_labels import (
    CLASS_NAMES,
    MIRROR_CLASSES,
    identify_numbering,
    merge_plexus,
    split_side,
    translate_labels,
)
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.result import Metric, Result, Table

REGION_TABLE_HELP = (
    "Volumes count voxels of {spacing} mm. Share: of all regions together. Asymmetry: left minus right, as a "
    "percentage of their mean. The largest structure comes first."
)
REFERENCE_HELP = (
    " Dice, HD95 (weighted by surface area) and the difference in volume are to the reference ({numbering}), with the "
    "choroid plexus counted to the lateral ventricles in both."
)
REGION_COLUMNS = ("region", "volume (ml)", "share of brain (%)", "asymmetry (%)")
REFERENCE_COLUMNS = ("Dice", "HD95 (mm)", "reference (ml)", "difference (%)")
STRUCTURE_GROUPS = {  # metric -> the structures that it sums up
    "cortex": ("Cerebral-Cortex",),
    "white_matter": ("Cerebral-White-Matter",),
    "ventricles": ("Lateral-Ventricle", "Inf-Lat-Ventricle", "3rd-Ventricle", "4th-Ventricle", "Choroid-Plexus"),
    "cerebellum": ("Cerebellum-Cortex", "Cerebellum-White-Matter"),
    "hippocampus_left": ("Left-Hippocampus",),
    "hippocampus_right": ("Right-Hippocampus",),
}


def measure_regions(result: Result, reference: Volume | None = None) -> Result:
    """Return the result with all that is derived from its `labels` (classes of `imaging.brain_labels`) and `brain`.

    Adds the metrics and the table `regions`, a row for every region in the labels, left beside right. A reference is a
    label map in any numbering that is recognised, on any grid; it is resampled by nearest voxel and adds `reference`,
    `disagreement` (1 = another region than the reference), columns and metrics. Raises InputError if its numbering is
    not recognised.
    """
    labels, grid = result.volumes["labels"], result.volumes["labels"].grid
    ml = np.bincount(labels.array.ravel(), minlength=len(CLASS_NAMES)) * grid.voxel_ml
    ml[0] = 0
    metrics = {
        "brain": Metric(round(float((result.volumes["brain"].array > 0).sum()) * grid.voxel_ml, 2), "ml"),
        "regions": Metric(int((ml > 0).sum())),
    }
    for name, parts in STRUCTURE_GROUPS.items():
        inside = [n for n, region in enumerate(CLASS_NAMES) if region in parts or split_side(region)[1] in parts]
        metrics[name] = Metric(round(float(ml[inside].sum()), 3), "ml")

    spacing = " × ".join(f"{s:.3g}" for s in grid.spacing)
    about = REGION_TABLE_HELP.format(spacing=spacing)
    volumes = {role: v for role, v in result.volumes.items() if role not in ("reference", "disagreement")}
    order = sorted(
        np.flatnonzero(ml).tolist(), key=lambda n: (-max(ml[n], ml[MIRROR_CLASSES[n]]), min(n, MIRROR_CLASSES[n]), n)
    )
    shares = 100 * ml / max(ml.sum(), 1e-9)
    rows = {
        n: (CLASS_NAMES[n], round(float(ml[n]), 3), round(float(shares[n]), 3), _compute_asymmetry(ml, n))
        for n in order
    }
    columns: tuple[str, ...] = REGION_COLUMNS
    if reference is not None:
        truth, numbering = translate_reference(reference)
        truth = resample(truth, grid)
        volumes["reference"] = truth
        ours = merge_plexus(labels.array)
        different = (ours != truth.array).astype(np.uint8)
        volumes["disagreement"] = labels.new_like(
            different, labels={1: "another region"}, name="disagreement", headers=()
        )
        figures = compare_regions(labels.new_like(ours), truth)
        metrics |= average_regions(figures)
        columns += REFERENCE_COLUMNS
        rows = {
            n: (*rows.get(n, (CLASS_NAMES[n], 0.0, 0.0, None)), *figures.get(n, (None,) * 4))
            for n in (*order, *figures)
        }
        about += REFERENCE_HELP.format(numbering=numbering)
    return replace(
        result,
        volumes=volumes,
        metrics=metrics,
        tables={**result.tables, "regions": Table(columns, tuple(rows.values()), about)},
    )


def translate_reference(reference: Volume) -> tuple[Volume, str]:
    """Translate a label map to classes without choroid plexus; return it with the name of its numbering.

    Raises InputError if the numbering is not recognised.
    """
    try:
        numbering = identify_numbering(reference.array)
    except ValueError as error:
        raise InputError(f"The reference cannot be compared. {error}") from error
    classes = merge_plexus(translate_labels(reference.array, numbering))
    names = {n: name for n, name in enumerate(CLASS_NAMES) if n}
    return replace(reference, array=classes, labels=names, name="reference", unit=""), numbering


def compare_regions(labels: Volume, truth: Volume) -> dict[int, tuple[float | None, ...]]:
    """Compare every class of `truth`: Dice, HD95 (mm), volume of the truth (ml), difference in volume (%).

    Both lie on one grid. HD95 is None where the class is missing in `labels`.
    """
    figures: dict[int, tuple[float | None, ...]] = {}
    for number in np.unique(truth.array[truth.array > 0]).tolist():
        ours, theirs = labels.array == number, truth.array == number
        box = mask_metrics.find_bounding_box(ours | theirs)
        ours, theirs = ours[box], theirs[box]
        distance = mask_metrics.compute_hd95(ours, theirs, labels.grid)
        volume, other = (float(m.sum()) * labels.grid.voxel_ml for m in (ours, theirs))
        figures[number] = (
            round(mask_metrics.compute_dice(ours, theirs), 4),
            None if distance is None else round(distance, 2),
            round(other, 3),
            round(100 * (volume - other) / other, 2),
        )
    return figures


def average_regions(figures: Mapping[int, tuple[float | None, ...]]) -> dict[str, Metric]:
    """Average the columns of `compare_regions` over the regions; of the difference in volume, its absolute value."""
    dice, distance, _, difference = (
        [v for v in column if v is not None] for column in zip(*figures.values(), strict=True)
    )
    return {
        "dice": Metric(round(float(np.mean(dice)), 4)),
        "hd95": Metric(round(float(np.mean(distance)), 2) if distance else None, "mm"),
        "volume_error": Metric(round(float(np.mean(np.abs(difference))), 2), "%"),
    }


def _compute_asymmetry(ml: np.ndarray, number: int) -> float | None:
    """Left minus right as a percentage of their mean; None without another side."""
    if MIRROR_CLASSES[number] == number or not ml[number] or not ml[MIRROR_CLASSES[number]]:
        return None
    left, right = (ml[n] for n in sorted((number, MIRROR_CLASSES[number])))
    return round(200 * float(left - right) / float(left + right), 2)
