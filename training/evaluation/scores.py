"""Metrics of one case, by kind of result: the rows that `training.evaluation.evaluate` writes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from medapp.analysis import mask_metrics, regional_volumes, stroke_ensemble
from medapp.analysis.brain_mask import measure_brain
from medapp.analysis.image_quality import compute_quality
from medapp.analysis.lesions import measure_lesions
from medapp.card import Card
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.index_maps import superpixels
from medapp.result import Provenance, Result
from training.core.case import Case
from training.evaluation import brain_peers, registration_metrics, restoration_peers
from training.evaluation.segmentation_peers import run_peers

Row = dict[str, Any]


class Scorer(NamedTuple):
    """`rows(case, result, settings, with_peers)`, the names of the figures, and those that the summary shows.

    `parts` are figures of which the summary shows the means alone, in one table; `methods` are figures by which the
    groups are compared with "ours", in another. `with_peers` names the peers, or is ("all",), or
    has the folders of those of a segmentation; none by default.
    """

    rows: Callable[[Case, Result, Mapping[str, Any], tuple[str, ...]], list[Row]]
    figures: tuple[str, ...]
    shown: tuple[str, ...]
    parts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()


def find_scorer(card: Card, with_peers: tuple[str, ...] = ()) -> Scorer:
    """Return the scorer for the results of a method, by the presenter on its card; that of masks by default."""
    if card.presenter in SCORERS:
        return SCORERS[card.presenter]
    return RIVALS if with_peers else SEGMENTER


def provenance_of(result: Result) -> Provenance:
    """Return how a result was made. Raises ValueError for one that no method made."""
    if result.provenance is None:
        raise ValueError("a result without provenance cannot be scored")
    return result.provenance


def score_regions(case: Case, result: Result, settings: Mapping[str, Any], with_peers: tuple[str, ...]) -> list[Row]:
    """Return metrics over the regions of the truth, choroid plexus joined to the ventricles, and Dice of each."""
    compared = regional_volumes.measure_regions(result, case.truth)
    table = compared.tables["regions"]
    dice, distance = (table.columns.index(name) for name in ("Dice", "HD95 (mm)"))
    row: Row = {name: compared.metrics[name].value for name in PARCELLATION if name in compared.metrics}
    solid = [line[dice] for line in table.rows if line[dice] is not None and "Vessel" not in line[0]]
    row["dice_no_vessel"] = round(float(np.mean(solid)), 4)
    brain, truth = result.volumes["brain"].array > 0, compared.volumes["reference"].array > 0
    row["dice_brain"] = round(mask_metrics.compute_dice(brain, truth), 4)
    row["seconds"] = round(provenance_of(result).seconds, 2)
    row["memory_mb"] = provenance_of(result).peak_memory_mb
    row |= dict.fromkeys(REGIONS) | dict.fromkeys(DISTANCES)
    for line in table.rows:
        row |= {f"dice {line[0]}": line[dice], f"hd95 {line[0]}": line[distance]}
    return [{"patient": case.patient, "group": case.group, "condition": case.condition, **row}]


def score_segmentation(
    case: Case, result: Result, settings: Mapping[str, Any], with_peers: tuple[str, ...]
) -> list[Row]:
    """Return a row, or one for ours and each peer."""
    seconds = provenance_of(result).seconds
    if not with_peers:
        return [score_mask(case, result, settings, case.group, seconds)]
    rows = [score_mask(case, result, settings, "ours", seconds)]
    for name, answer in run_peers(provenance_of(result).pipeline, case, settings, with_peers).items():
        rows.append(score_mask(case, answer.result, settings, name, answer.seconds))
    return rows


def score_mask(case: Case, result: Result, settings: Mapping[str, Any], group: str, seconds: float) -> Row:
    """Return a row of mask metrics; false positives are counted in ml on the slices (third axis) without truth."""
    compared = measure_lesions(result, settings["threshold"], settings["min_lesion_ml"], case.truth)
    truth, mask = compared.volumes["reference"].array > 0, compared.volumes["mask"].array > 0
    clean = ~truth.any(axis=(0, 1))
    row = {name: compared.metrics[name].value for name in SEGMENTATION if name in compared.metrics}
    row["false_positive_ml"] = round(float(mask[:, :, clean].sum()) * compared.volumes["mask"].grid.voxel_ml, 3)
    return {"patient": case.patient, "group": group, "condition": case.condition, **row, "seconds": round(seconds, 2)}


def score_brain(case: Case, result: Result, settings: Mapping[str, Any], with_peers: tuple[str, ...]) -> list[Row]:
    """Return a row, or one for ours and each peer that is installed."""
    brain, seconds = result.volumes["brain"], provenance_of(result).seconds
    answers = {"ours" if with_peers else case.group: (brain, seconds)}
    answers |= brain_peers.run_peers(result.volumes["image"]) if with_peers else {}
    rows = []
    for group, (mask, took) in answers.items():
        compared = measure_brain(Result({"brain": mask}), case.truth)
        row: Row = {name: compared.metrics[name].value for name in BRAIN if name in compared.metrics}
        row["seconds"] = round(took, 2)
        rows.append({"patient": case.patient, "group": group, "condition": case.condition, **row})
    return rows


def score_planes(case: Case, result: Result, settings: Mapping[str, Any], with_peers: tuple[str, ...]) -> list[Row]:
    """Return a row a mask: fused by the mean (ours), by vote, and each plane alone; overlap only where there is a
    lesion.
    """
    lines = {}
    for rule in ("vote", "mean"):
        table = stroke_ensemble.measure_ensemble(result, {**settings, "fusion": rule}, case.truth).tables["planes"]
        at = {name: n for n, name in enumerate(table.columns)}
        against = {row[0]: row for row in table.rows if row[1] == "reference"}
        lines["ours" if rule == "mean" else rule] = against["fusion"]
    lines |= {plane: against[plane] for plane in stroke_ensemble.PLANE_LETTERS}
    for name, answer in run_peers(provenance_of(result).pipeline, case, settings, with_peers).items():
        table = stroke_ensemble.measure_ensemble(answer.result, {**settings, "fusion": "mean"}, case.truth).tables[
            "planes"
        ]
        lines[f"{name}, {answer.part}"] = next(r for r in table.rows if (r[0], r[1]) == (answer.part, "reference"))
    truth = float((case.truth.array > 0).sum()) * case.truth.grid.voxel_ml
    rows = []
    for name, line in lines.items():
        row: Row = {"patient": case.patient, "group": name, "condition": case.condition, "reference_volume": truth}
        row["volume"] = line[at["volume (ml)"]]
        row |= {figure: line[at[column]] if truth else None for figure, column in PLANE_COLUMNS.items()}
        row["dice_small"] = row["dice"] if truth < SMALL_ML else None
        row["false_ml"] = None if truth else line[at["volume (ml)"]]
        row |= {
            f"dice_{plane}_slices": line[at[f"Dice, {plane} slices"]] if truth else None
            for plane in stroke_ensemble.PLANE_LETTERS
        }
        rows.append(row | {"seconds": round(provenance_of(result).seconds, 2) if name == "ours" else None})
    return rows


def score_restoration(
    case: Case, result: Result, settings: Mapping[str, Any], with_peers: tuple[str, ...]
) -> list[Row]:
    """Return a row a method: the input (enlarged if it is smaller), ours, and the peers on request; slice by slice."""
    given, restored = result.volumes["image"], result.volumes["restored"]
    truth = np.asarray(case.truth.array)
    answers: dict[str, list[np.ndarray]] = {}
    for k in range(truth.shape[2]):
        image, reference = given.array[:, :, k], truth[:, :, k]
        if given.is_colour:
            other = restoration_peers.enlarge_by_filters(np.asarray(image), len(reference) // len(image))
            answers_of_slice = {"input": other["bilinear"], "ours": restored.array[:, :, k]} | (
                other if with_peers else {}
            )
        else:
            image, reference = image.astype(np.float32), reference.astype(np.float32)
            answers_of_slice = {"input": image, "ours": restored.array[:, :, k]}
            if with_peers:
                span = float(reference.max() - reference.min())
                answers_of_slice |= restoration_peers.best_denoised(image, reference, span, slow=given.unit == "HU")
        for name, answer in answers_of_slice.items():
            answers.setdefault(name, []).append(answer)
    stacks = {name: np.stack(slices, 2) for name, slices in answers.items()}
    if with_peers and truth.shape[2] > 2 and given.unit != "HU" and not given.is_colour:
        span = float(truth.max() - truth.min())
        for name, answer in restoration_peers.best_denoised(
            given.array.astype(np.float32), truth, span, slow=False
        ).items():
            stacks[name] = min(stacks[name], answer, key=lambda a: float(((a - truth) ** 2).mean()))
    rows = []
    for name, answer in stacks.items():
        scored = compute_quality(answer, truth, case.truth.unit)
        row: Row = {"patient": case.patient, "group": name, "condition": case.condition}
        for metric in RESTORATION:
            if (value := scored.get(metric)) is not None:
                row[metric] = round(value, 5)
        if not given.is_colour and given.unit != "HU":
            row["regional_error"] = regional_error(answer, truth)
        rows.append(row | {"seconds": round(provenance_of(result).seconds, 2) if name == "ours" else None})
    return rows


def regional_error(answer: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean deviation in percent of the regional means of (I, J, K), over compact regions with uptake."""
    errors = []
    for k in range(truth.shape[2]):
        sharp = truth[:, :, k].astype(np.float64)
        labels = superpixels(sharp, max(4, sharp.size // 100))
        count = np.bincount(labels.ravel())[1:]
        mean, other = (np.bincount(labels.ravel(), a.ravel())[1:] / count for a in (sharp, answer[:, :, k]))
        active = mean > 0.2 * np.percentile(sharp, 99)
        errors += list(np.abs(other[active] / mean[active] - 1))
    return round(100 * float(np.mean(errors)), 3)


SEGMENTATION = ("dice", "hd95", "volume_difference", "lesion_f1", "false_positive_ml", "volume", "reference_volume")
BRAIN = ("dice", "hd95", "excess", "missed", "brain", "reference_volume", "seconds")
SMALL_ML = 5.0
PLANE_COLUMNS = {
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "hd95": "HD95 (mm)",
    "volume_difference": "volume difference (%)",
    "lesion_f1": "lesion-wise F1",
}
SLICES = tuple(f"dice_{plane}_slices" for plane in stroke_ensemble.PLANE_LETTERS)
RESTORATION = ("psnr", "ssim", "rmse", "bias")
PARCELLATION = ("dice", "dice_no_vessel", "hd95", "volume_error", "dice_brain", "brain", "seconds", "memory_mb")
REGIONS = tuple(f"dice {name}" for name in CLASS_NAMES[1:])
DISTANCES = tuple(f"hd95 {name}" for name in CLASS_NAMES[1:])
SEGMENTER = Scorer(
    score_segmentation,
    (*SEGMENTATION, "seconds"),
    ("dice", "hd95", "false_positive_ml", "lesion_f1", "volume_difference"),
)
RIVALS = SEGMENTER._replace(methods=SEGMENTER.figures)
PLANES = Scorer(
    score_planes,
    ("dice", "dice_small", "false_ml", *list(PLANE_COLUMNS)[1:], *SLICES, "seconds"),
    ("dice", "dice_small", "false_ml"),
    methods=("dice", "dice_small", "false_ml", *list(PLANE_COLUMNS)[1:], *SLICES),
)
PARCELLATOR = Scorer(
    score_regions, (*PARCELLATION, *REGIONS, *DISTANCES), PARCELLATION[:5] + ("seconds",), (*REGIONS, *DISTANCES)
)
BRAIN_EXTRACTOR = Scorer(score_brain, BRAIN, ("dice", "excess", "missed", "hd95", "seconds"))
RESTORER = Scorer(score_restoration, (*RESTORATION, "regional_error", "seconds"), (*RESTORATION, "regional_error"))
REGISTRAR = Scorer(
    registration_metrics.score_case,
    registration_metrics.FIELD_METRICS + registration_metrics.COST_METRICS,
    registration_metrics.FIELD_METRICS[:3],
    methods=registration_metrics.FIELD_METRICS + registration_metrics.COST_METRICS,
)
SCORERS = {
    "brain_mask": BRAIN_EXTRACTOR,
    "parcellation": PARCELLATOR,
    "registration": REGISTRAR,
    "restoration": RESTORER,
    "stroke": PLANES,
}
