"""Scores a pipeline as the app serves it: `python -m training.evaluate PIPELINE DATA --out DIR [--peers]`.

Writes `cases.csv` (a row per patient and condition), `summary.json` and `summary.md` (mean, standard deviation, median,
quartiles, and a bootstrap interval of the mean, over patients and per group). `training.<pipeline>.cases` reads DATA.
"""

import argparse
import csv
import importlib
import json
from pathlib import Path

import numpy as np

from medapp import runtime
from training import scores


def summary(values: list[float]) -> dict[str, float]:
    """Mean, spread and a 95 % bootstrap interval of the mean."""
    v = np.array([x for x in values if x is not None], float)
    if not len(v):
        return {"n": 0}
    draws = np.random.default_rng(0).choice(v, (2000, len(v))).mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5))
    q1, median, q3 = np.percentile(v, (25, 50, 75))
    figures = {"mean": v.mean(), "sd": v.std(ddof=1) if len(v) > 1 else 0.0, "median": median, "q1": q1, "q3": q3}
    figures |= {"min": v.min(), "max": v.max(), "low95": low, "high95": high}
    return {"n": len(v)} | {k: round(float(x), 4) for k, x in figures.items()}


def by_group(rows: list[dict], figures: tuple[str, ...]) -> dict[str, dict[str, dict[str, float]]]:
    """Group to figure to summary; first over all patients, unless the groups are methods on the same patients."""
    groups = list(dict.fromkeys(sorted(r["group"] for r in rows)))
    methods = "ours" in groups
    parts = {g: [r for r in rows if r["group"] == g] for g in groups}
    parts = parts if methods else {"all": rows} | parts
    return {g: {f: summary(per_patient(part, f)) for f in figures} for g, part in parts.items()}


def per_patient(rows: list[dict], figure: str) -> list[float]:
    """One value a patient, the mean over their images."""
    kept: dict[str, list[float]] = {}
    for row in rows:
        if row.get(figure) is not None:
            kept.setdefault(row["patient"], []).append(row[figure])
    return [float(np.mean(values)) for values in kept.values()]


def table(rows: list[dict], figure: str) -> str:
    """Markdown: a row per condition and, within it, per group."""
    lines = ["| condition | group | n | mean ± sd | median (quartiles) | 95 % of mean |", "|---|---|---|---|---|---|"]
    for condition in dict.fromkeys(r["condition"] for r in rows):
        here = [r for r in rows if r["condition"] == condition]
        for group, s in ((group, s[figure]) for group, s in by_group(here, (figure,)).items()):
            if s["n"]:
                lines.append(
                    f"| {condition} | {group} | {s['n']} | {s['mean']:.3f} ± {s['sd']:.3f} | "
                    f"{s['median']:.3f} ({s['q1']:.3f} to {s['q3']:.3f}) | {s['low95']:.3f} to {s['high95']:.3f} |"
                )
    return "\n".join(lines)


def means(rows: list[dict], figures: tuple[str, ...]) -> str:
    """Markdown: a row per figure, its mean ± standard deviation over patients in every condition."""
    conditions = list(dict.fromkeys(r["condition"] for r in rows))
    lines = [f"| | {' | '.join(conditions)} |", "|---" * (len(conditions) + 1) + "|"]
    for figure in figures:
        found = [summary(per_patient([r for r in rows if r["condition"] == c], figure)) for c in conditions]
        if any(s["n"] for s in found):
            cells = [f"{s['mean']:.3f} ± {s['sd']:.3f}" if s["n"] else "" for s in found]
            lines.append(f"| {figure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="test", choices=["train", "validation", "test", "all"])
    parser.add_argument("--condition", help="only this one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--peers", action="store_true", help="score also what a user would pick instead")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    given = dict(pair.split("=", 1) for pair in args.set)
    card = runtime.card(args.pipeline)
    settings, rows = card.settings(given), []
    for case in importlib.import_module(f"training.{args.pipeline}").cases(args.data, args.part):
        if args.condition in (None, case.condition):
            result = runtime.run(args.pipeline, *case.volumes, **(dict(case.options) | given))
            scorer = scores.of(result)
            more = scorer.rows(case, result, settings, args.peers)
            rows += more
            for row in more:
                print(row["patient"], row["condition"], row["group"], row[scorer.shown[0]], flush=True)
    with (args.out / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    conditions = dict.fromkeys(r["condition"] for r in rows)
    numbers = {c: by_group([r for r in rows if r["condition"] == c], scorer.figures) for c in conditions}
    weights = dict(result.provenance.weights)
    (args.out / "summary.json").write_text(
        json.dumps({"part": args.part, "weights": weights, "settings": settings, "summary": numbers}, indent=1)
    )
    text = "\n\n".join(f"### {figure}\n\n{table(rows, figure)}" for figure in scorer.shown)
    if scorer.parts:
        text += "\n\n### parts\n\n" + means(rows, scorer.parts)
    (args.out / "summary.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
