"""Lesions of a probability map at a threshold: mask, volume, table, comparison with a reference."""

from dataclasses import replace

import numpy as np

from medapp.analysis import mask_metrics
from medapp.analysis.hand_correction import CORRECTION, correct_mask, record_correction
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.result import Metric, Result, Table

LESION_TABLE_HELP = (
    "Lesions are connected components at connectivity {connectivity} of probability at or above {threshold:g}, "
    "of at least {min_lesion_ml:g} ml or, where none is so large, of any size, on voxels of {spacing} mm, largest "
    "first. Diameter: the longest between two voxel centres. Centroid: right, front, head (RAS) in millimetres."
)
LESION_COLUMNS = (
    "lesion", "volume (ml)", "diameter (mm)", "x (mm)", "y (mm)", "z (mm)", "mean probability", "max probability",
)  # fmt: skip


def measure_lesions(
    result: Result, threshold: float, min_lesion_ml: float = 0.0, reference: Volume | None = None
) -> Result:
    """Return the result with the mask at `threshold`, without lesions under `min_lesion_ml`, and all derived from it.

    Needs `probability` among the volumes; adds `mask` (1 = lesion), the metrics and the table `lesions`. Where all are
    smaller than that, none is left out, and the metric `candidates` counts them. A volume `correction` is laid on that
    mask, whatever the size of what is painted; see `analysis.hand_correction`. A reference is any volume with values
    above 0 where the lesion is; on another grid it is taken to the image's by nearest voxel.
    Comparison figures: Dice, HD95, relative volume difference, lesion-wise F1.
    """
    probability = result.volumes["probability"]
    grid = probability.grid
    labels, count = mask_metrics.label_components(probability.array >= threshold)
    large = int((np.bincount(labels.ravel(), minlength=1)[1:] * grid.voxel_ml >= min_lesion_ml).sum())
    kept = large or count  # what is all that was found is shown
    labels[labels > kept] = 0  # they are sorted by size
    left_out, are_candidates = count - kept, kept > large
    mask, correction = labels > 0, result.volumes.get(CORRECTION)
    automatic = probability.new_like(mask.astype(np.uint8), labels={1: "lesion"}, name="mask", unit="")
    if correction is not None:
        mask = correct_mask(mask, correction)
        labels, kept = mask_metrics.label_components(mask)
        are_candidates = False
    components = mask_metrics.measure_components(labels, kept, probability.array, grid)

    metrics = {
        "volume": Metric(round(float(mask.sum()) * grid.voxel_ml, 3), "ml"),
        "lesions": Metric(kept),
        "left_out": Metric(left_out),
        "threshold": Metric(threshold),
    }
    if are_candidates:
        metrics["candidates"] = Metric(kept)
    volumes = {k: v for k, v in result.volumes.items() if k != "reference"}
    volumes["mask"] = automatic if correction is None else automatic.new_like(mask.astype(np.uint8))
    if reference is not None:
        truth = resample(
            replace(reference, array=(reference.array > 0).astype(np.uint8), labels={1: "reference"}), grid
        )
        volumes["reference"] = replace(truth, name="reference")
        metrics |= compare_masks(mask, truth.array > 0, grid)
        metrics["lesion_f1"] = Metric(round(mask_metrics.compute_lesion_f1(mask, truth.array > 0), 4))
    spacing = " × ".join(f"{s:.3g}" for s in grid.spacing)
    about = LESION_TABLE_HELP.format(
        connectivity=mask_metrics.CONNECTIVITY, threshold=threshold, min_lesion_ml=min_lesion_ml, spacing=spacing
    )
    table = Table(LESION_COLUMNS, tuple(_lesion_row(lesion) for lesion in components), about)
    settings = {**result.settings, "threshold": threshold, "min_lesion_ml": min_lesion_ml}
    measured = replace(
        result, volumes=volumes, metrics=metrics, tables={**result.tables, "lesions": table}, settings=settings
    )
    return record_correction(measured, automatic, mask)


def compare_masks(mask: np.ndarray, truth: np.ndarray, grid: mask_metrics.Grid) -> dict[str, Metric]:
    """Compare a mask with the reference, both (I, J, K) bool: Dice, HD95, volumes."""
    hd95 = mask_metrics.compute_hd95(mask, truth, grid)
    volume = float(truth.sum()) * grid.voxel_ml
    difference = (float(mask.sum()) * grid.voxel_ml - volume) / volume * 100 if volume else None
    return {
        "dice": Metric(round(mask_metrics.compute_dice(mask, truth), 4)),
        "hd95": Metric(None if hd95 is None else round(hd95, 2), "mm"),
        "reference_volume": Metric(round(volume, 3), "ml"),
        "volume_difference": Metric(None if difference is None else round(difference, 2), "%"),
    }


def _lesion_row(lesion: mask_metrics.Lesion) -> tuple:
    centre = (round(c, 1) for c in lesion.centroid)
    p = (round(lesion.mean_probability, 3), round(lesion.max_probability, 3))
    return (lesion.label, round(lesion.volume_ml, 3), round(lesion.diameter_mm, 1), *centre, *p)
