"""Published scores: the figures that the documents print, kept in `weights/scores.json`.

For each method: the SHA-256 of the weights, the command that made the figures, a headline for the README, and the
scores by condition, group, metric and statistic, as text, rounded as they are printed. `commands` has weights and
command of conditions that are evaluated apart; `others` is the headline of real patients of sources that nothing was
learned from, if there are any; `people` says who was scored, by group or condition, "" for all that are not named.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medapp.presenters.catalogue import MetricDefinition, get_metric
from medapp.serving import runtime

STATISTICS = ("mean", "sd", "median")
EVALUATION_METRICS = {
    metric.key: metric
    for metric in (
        MetricDefinition("dice_no_vessel", "Dice without vessels"),
        MetricDefinition("dice_brain", "Dice of the whole brain"),
        MetricDefinition("dice_regions", "Dice, 35 regions"),
        MetricDefinition("dice_small", "Dice, lesions under 5 ml"),
        MetricDefinition("false_ml", "False positives without lesion", unit="ml"),
        MetricDefinition("false_positive_ml", "False positives on lesion-free slices", unit="ml"),
        MetricDefinition("regional_error", "Regional error", unit="%"),
        MetricDefinition("precision", "Precision"),
        MetricDefinition("recall", "Recall"),
        MetricDefinition("seconds", "Time", unit="s"),
    )
}

Scores = dict[str, dict[str, Any]]


def read_scores(file: Path) -> Scores:
    """Return the scores in a file that `format_scores` wrote."""
    return json.loads(file.read_text(encoding="utf-8"))


def format_scores(scores: Scores) -> str:
    """Return the published scores as JSON, one line for each group of a condition."""
    text = json.dumps(scores, indent=1, ensure_ascii=False)
    groups = r'\{\n {5,}"(?:[^{}]|\{[^{}]*\})*\}'
    return re.sub(groups, lambda group: json.dumps(json.loads(group[0]), ensure_ascii=False), text) + "\n"


def update_scores(scores: Scores, summary: Mapping[str, Any]) -> None:
    """Replace the figures of the method in `scores`, in place, with those of an evaluation's `summary.json`.

    They get as many decimals as those before. Raises ValueError if they are of other weights than the card names, or
    if a published figure is missing while the weights have changed.
    """
    name, card = summary["pipeline"], runtime.find_card(summary["pipeline"])
    sha256 = summary["weights"].get("sha256")
    if sha256 != card.weights.sha256:
        raise ValueError(f"The scores are of the weights {sha256}, but {name} has {card.weights.sha256}.")
    evaluated = summary["summary"]
    if name not in scores:
        scores[name] = _create_entry(evaluated)
    entry = scores[name]
    apart = entry.get("commands", {})
    for condition, groups in entry["scores"].items():
        if condition not in evaluated and (condition in apart or entry.get("weights") == sha256):
            continue  # evaluated apart, or before with the same weights
        for group, metrics in groups.items():
            for metric, values in metrics.items():
                try:
                    new = evaluated[condition][group][metric]
                    values.update({key: _round(new[key], old) for key, old in values.items()})
                except KeyError as error:
                    raise ValueError(f"{name}: no {metric} of {group} in {condition} was evaluated.") from error
    made = {"weights": sha256, "command": summary["command"]}
    apart.update({condition: made for condition in evaluated if condition in apart})
    if any(condition not in apart for condition in evaluated):
        entry.update(made)


def name_people(entry: Mapping[str, Any], condition: str, group: str) -> str:
    """Return who was scored under a condition and group, "" if it is not said."""
    people = entry.get("people", {})
    return people.get(group) or people.get(condition) or people.get("", "")


def _create_entry(evaluated: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """Return an entry for a new method with every metric that has values; its headline is the first of them."""
    published = {
        condition: {
            group: {
                metric: dict.fromkeys(STATISTICS, "0.0" if get_score_metric(metric).unit else "0.000")
                for metric, values in metrics.items()
                if values["n"]
            }
            for group, metrics in groups.items()
        }
        for condition, groups in evaluated.items()
    }
    condition, groups = next(iter(published.items()))
    group, metrics = next(iter(groups.items()))
    metric = next(iter(metrics))
    text = f"{get_score_metric(metric).title} {{{group}[{metric}][mean]:.2f}}"
    return {"headline": {"condition": condition, "text": text}, "scores": published}


def get_score_metric(key: str) -> MetricDefinition:
    """Return the definition of a metric: the catalogue's, or that of a metric which only evaluations have."""
    return EVALUATION_METRICS.get(key) or get_metric(key)


def _round(value: float, published: str) -> str:
    """Return the value with as many decimals as the published one."""
    return f"{value:.{len(published.partition('.')[2])}f}"
