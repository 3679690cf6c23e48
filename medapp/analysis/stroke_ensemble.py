"""Strokes: what three networks see along three axes becomes one mask, again and again as the settings move."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medapp.analysis import ensemble, lesions, mask_metrics
from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume
from medapp.result import Metric, Result, Table

PLANE_LETTERS = {"axial": "SI", "coronal": "AP", "sagittal": "LR"}  # and the letters of the axis across its slices
FUSION_RULES = ("mean", "vote", "weighted")
FIXED_METRICS = ("fit",)  # figures that no setting moves
ENSEMBLE_COLUMNS = (
    "mask", "against", "volume (ml)", "Dice", "precision", "recall", "HD95 (mm)", "volume difference (%)",
    "lesion-wise F1", *(f"Dice, {plane} slices" for plane in PLANE_LETTERS),
)  # fmt: skip
ENSEMBLE_TABLE_HELP = (
    "Every mask is probability at or above {threshold:g} without lesions under {min_lesion_ml:g} ml. Dice, precision "
    "and recall are over all voxels at once, and left empty where they would divide by nothing. Dice of slices is the "
    "mean over those slices along that axis of the scan in which either mask has lesion: slices in which both are "
    "empty are not counted, while the authors count each of them as 1, which lifts their figures."
)


def measure_ensemble(result: Result, settings: Mapping[str, Any], reference: Volume | None = None) -> Result:
    """The result with everything that follows from its planes' probabilities and the settings.

    Needs `probability_axial`, `_coronal` and `_sagittal` among the volumes. `settings` holds `fusion`, one of RULES,
    `threshold`, `min_lesion_ml` (ml), and for every plane whether it is on and its weight, `weight_axial`, which counts
    where the rule is "weighted". Adds `probability`, `agreement` (how many planes), `variance`, `entropy` (bits), the
    table `planes` and what `lesions.measured` adds. Raises InputError if no plane is left.
    """
    chosen = _select_planes(settings)
    seen = {plane: result.volumes[f"probability_{plane}"] for plane in PLANE_LETTERS}
    first = seen[chosen[0]]
    box = mask_metrics.find_bounding_box(np.logical_or.reduce([seen[plane].array > 0 for plane in chosen]))
    stack = np.stack([seen[plane].array[box] for plane in chosen])
    weights = [settings[f"weight_{plane}"] for plane in chosen] if settings["fusion"] == "weighted" else None
    threshold, min_lesion_ml = settings["threshold"], settings["min_lesion_ml"]
    made = {
        "probability": ensemble.compute_majority_probability(stack)
        if settings["fusion"] == "vote"
        else ensemble.average_probabilities(stack, weights),
        "agreement": ensemble.count_agreeing_planes(stack, threshold),
        "variance": ensemble.compute_variance(stack),
        "entropy": ensemble.compute_entropy(stack, weights) * (stack.max(0) > 0),
    }
    volumes = dict(result.volumes)
    for role, part in made.items():
        array = np.zeros(first.shape, part.dtype)
        array[box] = part
        volumes[role] = first.new_like(array, name=role)
    count = {n: f"{n} plane{'s' if n > 1 else ''}" for n in range(1, len(chosen) + 1)}
    volumes["agreement"] = volumes["agreement"].new_like(volumes["agreement"].array, labels=count, headers=())

    out = lesions.measure_lesions(replace(result, volumes=volumes), threshold, min_lesion_ml, reference)
    masks = {"fusion": out.volumes["mask"].array > 0}
    masks |= {
        plane: remove_small_lesions(seen[plane].array >= threshold, min_lesion_ml, first.grid)
        for plane in PLANE_LETTERS
    }
    truth = out.volumes["reference"].array > 0 if "reference" in out.volumes else None
    table = Table(
        ENSEMBLE_COLUMNS,
        tuple(compare_planes(masks, truth, first.grid)),
        ENSEMBLE_TABLE_HELP.format(threshold=threshold, min_lesion_ml=min_lesion_ml),
    )
    agreed = made["agreement"]
    share = (agreed == len(chosen)).sum() / max(1, (agreed > 0).sum())
    metrics = {**out.metrics, **{name: result.metrics[name] for name in FIXED_METRICS if name in result.metrics}}
    if len(chosen) > 1:
        metrics["agreed"] = Metric(round(100 * float(share), 1) if agreed.any() else None, "%")
    return replace(
        out, metrics=metrics, tables={**out.tables, "planes": table}, settings={**out.settings, **dict(settings)}
    )


def _select_planes(settings: Mapping[str, Any]) -> list[str]:
    """The planes that are on, and weigh something where weights count."""
    weighted = settings["fusion"] == "weighted"
    chosen = [plane for plane in PLANE_LETTERS if settings[plane] and (settings[f"weight_{plane}"] or not weighted)]
    if not chosen:
        raise InputError("No plane is left: switch one on, and give it a weight.")
    return chosen


def remove_small_lesions(mask: np.ndarray, min_lesion_ml: float, grid: Grid) -> np.ndarray:
    """(I, J, K) bool without components under `min_lesion_ml` ml."""
    if not min_lesion_ml:
        return mask
    labels, _ = mask_metrics.label_components(mask)
    kept = np.bincount(labels.ravel()) * grid.voxel_ml >= min_lesion_ml
    kept[0] = False
    return kept[labels]


def compare_planes(masks: Mapping[str, np.ndarray], truth: np.ndarray | None, grid: Grid) -> list[tuple]:
    """Of the table `planes`: every mask but "fusion" against it, and all against the reference, if there is one."""
    pairs = [(name, "fusion", masks["fusion"]) for name in masks if name != "fusion"]
    pairs += [(name, "reference", truth) for name in masks if truth is not None]
    return [
        (name, against, *compute_mask_metrics(masks[name], other, grid))
        for name, against, other in pairs
        if other is not None
    ]


def compute_mask_metrics(mask: np.ndarray, other: np.ndarray, grid: Grid) -> tuple:
    """The values of COLUMNS from the volume on, of one mask against another, both (I, J, K) bool."""
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
    """The mean Dice over the slices that are not both empty, along the grid's axis nearest to that of each plane."""
    axes = Volume(np.zeros((1, 1, 1)), grid.affine).axis_codes
    found = []
    for letters in PLANE_LETTERS.values():
        across = next(a for a, letter in enumerate(axes) if letter in letters)
        rest = tuple(a for a in range(3) if a != across)
        both, total = 2 * (mask & other).sum(rest), mask.sum(rest) + other.sum(rest)
        there = total > 0
        found.append(round(float((both[there] / total[there]).mean()), 4) if there.any() else None)
    return tuple(found)
