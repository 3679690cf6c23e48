"""Stroke lesions from three networks that each see one plane: their fused mask, and how the planes compare."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medapp.analysis import ensemble, lesions, mask_metrics
from medapp.analysis.hand_correction import AUTOMATIC
from medapp.analysis.lesion_scatter import SCATTER_ADVICE, SCATTER_QUESTION, describe_scatter, measure_scatter
from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume
from medapp.result import Metric, Result, Table

PLANE_LETTERS = {"axial": "SI", "coronal": "AP", "sagittal": "LR"}  # the directions across its slices
FUSION_RULES = ("mean", "vote", "weighted")
FIXED_METRICS = ("fit",)  # which no setting changes
ENSEMBLE_COLUMNS = (
    "mask", "against", "volume (ml)", "Dice", "precision", "recall", "HD95 (mm)", "volume difference (%)",
    "lesion-wise F1", *(f"Dice, {plane} slices" for plane in PLANE_LETTERS),
)  # fmt: skip
ENSEMBLE_TABLE_HELP = (
    "Every mask is probability at or above {threshold:g} without lesions under {min_lesion_ml:g} ml. Dice, precision "
    "and recall are over all voxels, and empty where they are undefined. HD95 is weighted by surface area. Dice of "
    "slices is the mean over the slices along that axis in which either mask has lesion; the authors also count slices "
    "in which both are empty, each as 1, which raises their scores."
)


def measure_ensemble(result: Result, settings: Mapping[str, Any], reference: Volume | None = None) -> Result:
    """Return the result with everything that follows from its planes' probabilities and the settings.

    Needs the volumes `probability_axial`, `_coronal` and `_sagittal`. `settings` holds `fusion`, one of FUSION_RULES,
    `threshold`, `min_lesion_ml`, and for every plane whether it is on and its weight (`weight_axial`), which counts
    where the rule is "weighted". Adds `probability`, `agreement` (number of planes), `variance`, `entropy` (bits), the
    table `planes` and what `measure_lesions` adds. Raises InputError if no plane is left.
    """
    planes = _select_planes(settings)
    maps = {plane: result.volumes[f"probability_{plane}"] for plane in PLANE_LETTERS}
    first = maps[planes[0]]
    box = mask_metrics.find_bounding_box(np.logical_or.reduce([maps[plane].array > 0 for plane in planes]))
    stack = np.stack([maps[plane].array[box] for plane in planes])
    weights = [settings[f"weight_{plane}"] for plane in planes] if settings["fusion"] == "weighted" else None
    threshold, min_lesion_ml = settings["threshold"], settings["min_lesion_ml"]
    fused = {
        "probability": ensemble.compute_majority_probability(stack)
        if settings["fusion"] == "vote"
        else ensemble.average_probabilities(stack, weights),
        "agreement": ensemble.count_agreeing_planes(stack, threshold),
        "variance": ensemble.compute_variance(stack),
        "entropy": ensemble.compute_entropy(stack, weights) * (stack.max(0) > 0),
    }
    volumes = dict(result.volumes)
    for role, values in fused.items():
        array = np.zeros(first.shape, values.dtype)
        array[box] = values
        volumes[role] = first.new_like(array, name=role)
    names = {n: f"{n} plane{'s' if n > 1 else ''}" for n in range(1, len(planes) + 1)}
    volumes["agreement"] = volumes["agreement"].new_like(volumes["agreement"].array, labels=names, headers=())

    measured = lesions.measure_lesions(replace(result, volumes=volumes), threshold, min_lesion_ml, reference)
    fusion = measured.volumes.get(AUTOMATIC) or measured.volumes["mask"]
    masks = {"fusion": fusion.array > 0}
    masks |= {
        plane: remove_small_lesions(maps[plane].array >= threshold, min_lesion_ml, first.grid)
        for plane in PLANE_LETTERS
    }
    truth = measured.volumes["reference"].array > 0 if "reference" in measured.volumes else None
    table = Table(
        ENSEMBLE_COLUMNS,
        tuple(compare_planes(masks, truth, first.grid)),
        ENSEMBLE_TABLE_HELP.format(threshold=threshold, min_lesion_ml=min_lesion_ml),
    )
    counts = fused["agreement"]
    share = (counts == len(planes)).sum() / max(1, (counts > 0).sum())
    metrics = {**measured.metrics, **{name: result.metrics[name] for name in FIXED_METRICS if name in result.metrics}}
    if len(planes) > 1:
        metrics["agreed"] = Metric(round(100 * float(share), 1) if counts.any() else None, "%")
    return replace(
        doubt_scatter(measured),
        metrics=metrics,
        tables={**measured.tables, "planes": table},
        settings={**measured.settings, **dict(settings)},
    )


def doubt_scatter(measured: Result) -> Result:
    """Return a measured result that says whether its lesions are scattered as errors are, and no longer if not."""
    rows = measured.tables["lesions"].rows
    warning = describe_scatter(measure_scatter([row[1] for row in rows], [row[3:6] for row in rows]))
    others = tuple(each for each in measured.warnings if not each.endswith(SCATTER_ADVICE))
    doubt = "" if measured.doubt == SCATTER_QUESTION else measured.doubt
    if not warning:
        return replace(measured, warnings=others, doubt=doubt)
    return replace(measured, warnings=(*others, warning), doubt=doubt or SCATTER_QUESTION)


def _select_planes(settings: Mapping[str, Any]) -> list[str]:
    """The planes that are on, and where weights count have one above 0."""
    weighted = settings["fusion"] == "weighted"
    planes = [plane for plane in PLANE_LETTERS if settings[plane] and (settings[f"weight_{plane}"] or not weighted)]
    if not planes:
        raise InputError("No plane is left: switch one on and give it a weight above 0.")
    return planes


def remove_small_lesions(mask: np.ndarray, min_lesion_ml: float, grid: Grid) -> np.ndarray:
    """Return the mask (I, J, K) bool without components under `min_lesion_ml`; with them if all are."""
    if not min_lesion_ml:
        return mask
    labels, _ = mask_metrics.label_components(mask)
    kept = np.bincount(labels.ravel()) * grid.voxel_ml >= min_lesion_ml
    kept[0] = False
    return kept[labels] if kept.any() else mask


def compare_planes(masks: Mapping[str, np.ndarray], truth: np.ndarray | None, grid: Grid) -> list[tuple]:
    """Return rows of ENSEMBLE_COLUMNS: every mask against "fusion", and all against the reference, if there is one."""
    pairs = [(name, "fusion", masks["fusion"]) for name in masks if name != "fusion"]
    pairs += [(name, "reference", truth) for name in masks if truth is not None]
    return [
        (name, against, *compute_mask_metrics(masks[name], other, grid))
        for name, against, other in pairs
        if other is not None
    ]


def compute_mask_metrics(mask: np.ndarray, other: np.ndarray, grid: Grid) -> tuple:
    """Compute the values of ENSEMBLE_COLUMNS from the volume on, of one mask against another, both (I, J, K) bool."""
    box = mask_metrics.find_bounding_box(mask | other)
    mask, other = mask[box], other[box]
    ours, theirs, both = int(mask.sum()), int(other.sum()), int((mask & other).sum())
    hd95 = mask_metrics.compute_hd95(mask, other, grid)
    return (
        round(ours * grid.voxel_ml, 3),
        _divide(2 * both, ours + theirs),
        _divide(both, ours),
        _divide(both, theirs),
        None if hd95 is None or not theirs else round(hd95, 2),
        None if not theirs else round(100 * (ours - theirs) / theirs, 1),
        None if not ours + theirs else round(mask_metrics.compute_lesion_f1(mask, other), 4),
        *average_dice_by_slice(mask, other, grid),
    )


def _divide(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def average_dice_by_slice(mask: np.ndarray, other: np.ndarray, grid: Grid) -> tuple[float | None, ...]:
    """Average the Dice over the slices that are not both empty, along the grid's axis nearest to that of each plane."""
    axes = Volume(np.zeros((1, 1, 1)), grid.affine).axis_codes
    means = []
    for letters in PLANE_LETTERS.values():
        across = next(a for a, letter in enumerate(axes) if letter in letters)
        rest = tuple(a for a in range(3) if a != across)
        both, total = 2 * (mask & other).sum(rest), mask.sum(rest) + other.sum(rest)
        is_filled = total > 0
        means.append(round(float((both[is_filled] / total[is_filled]).mean()), 4) if is_filled.any() else None)
    return tuple(means)
