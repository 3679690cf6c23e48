"""Scores a pipeline as the app serves it: `python -m training.evaluate PIPELINE DATA --out DIR [--peers [NAMES]]`.

Writes `cases.csv` (a row per patient and condition), `summary.json` and `summary.md` (mean, standard deviation, median,
quartiles, and a bootstrap interval of the mean, over patients and per group; where methods are compared, their means
and Wilcoxon's signed-rank test against ours). `training.<pipeline>.cases` reads DATA.
"""

import argparse
import csv
import importlib
import json
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from medapp import runtime
from training import scores

AGAINST = "Difference from ours (p of Wilcoxon's signed-rank test, as if pairs that share a person were independent):"


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


def by_method(rows: list[dict], figures: tuple[str, ...]) -> str:
    """Markdown: a row per method, mean ± standard deviation of each figure over patients, then what tells it from ours.

    The second table holds the mean difference from ours, patient by patient, and the p of Wilcoxon's signed-rank test.
    A method in a condition other than the first is named with it.
    """
    first = rows[0]["condition"]
    methods: dict[str, list[dict]] = {}
    for row in rows:
        name = row["group"] if row["condition"] == first else f"{row['group']}, {row['condition']}"
        methods.setdefault(name, []).append(row)
    head = f"| {' | '.join(figures)} |\n" + "|---" * (len(figures) + 2) + "|"
    means, tests = [f"| method | n {head}"], [f"| method | n {head}"]
    for name, mine in methods.items():
        found = [summary(per_patient(mine, figure)) for figure in figures]
        cells = [f"{digits(s['mean'])} ± {digits(s['sd'])}" if s["n"] else "" for s in found]
        means.append(f"| {name} | {max(s['n'] for s in found)} | {' | '.join(cells)} |")
        if name != "ours":
            pairs = [differences(mine, methods["ours"], figure) for figure in figures]
            cells = [f"{digits(d.mean(), '+')} ({tested(d)})" if len(d) else "" for d in pairs]
            tests.append(f"| {name} | {max(map(len, pairs))} | {' | '.join(cells)} |")
    return "\n".join([*means, "", AGAINST, "", *tests])


def differences(rows: list[dict], ours: list[dict], figure: str) -> np.ndarray:
    """(N,) a figure in `rows` less that in `ours`, for every patient who has it in both."""
    mine, theirs = ({r["patient"]: r[figure] for r in part if r.get(figure) is not None} for part in (rows, ours))
    return np.array([value - theirs[patient] for patient, value in mine.items() if patient in theirs])


def tested(difference: np.ndarray) -> str:
    """p of Wilcoxon's signed-rank test of (N,) against nothing."""
    return f"{wilcoxon(difference).pvalue:.2g}" if difference.any() else "1"


def digits(value: float, sign: str = "") -> str:
    return f"{value:{sign}.{3 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def which(row: dict) -> tuple[str, str, str]:
    return row["patient"], row["condition"], row["group"]


def earlier(path: Path) -> list[dict]:
    """The rows that an earlier run wrote, none if it wrote none."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        kept = list(csv.DictReader(file))
    names = ("patient", "group", "condition")
    return [{k: v if k in names else float(v) if v else None for k, v in row.items()} for row in kept]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="test", choices=["train", "validation", "test", "all"])
    parser.add_argument("--condition", help="only this one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--pairs", type=int, help="only so many patients, or pairs of them")
    parser.add_argument(
        "--peers", nargs="?", const="all", default="", metavar="NAMES", help="score also what a user would pick instead"
    )
    parser.add_argument(
        "--more", action="store_true", help="keep what DIR holds of other patients, conditions, methods"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    given = dict(pair.split("=", 1) for pair in args.set)
    card = runtime.card(args.pipeline)
    settings, patients = card.settings(given), set()
    peers = tuple(filter(None, args.peers.split(",")))
    found = {which(row): row for row in earlier(args.out / "cases.csv")} if args.more else {}
    for case in importlib.import_module(f"training.{args.pipeline}").cases(args.data, args.part):
        patients.add(case.patient)
        if args.pairs and len(patients) > args.pairs:
            break
        if args.condition in (None, case.condition):
            result = runtime.run(args.pipeline, *case.volumes, **(dict(case.options) | given))
            scorer = scores.of(result)
            more = scorer.rows(case, result, settings, peers)
            found |= {which(row): row for row in more}
            for row in more:
                print(row["patient"], row["condition"], row["group"], row[scorer.shown[0]], flush=True)
            with (args.out / "cases.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, more[0].keys())
                writer.writeheader()
                writer.writerows(found.values())
    rows = list(found.values())
    conditions = dict.fromkeys(r["condition"] for r in rows)
    numbers = {c: by_group([r for r in rows if r["condition"] == c], scorer.figures) for c in conditions}
    weights = dict(result.provenance.weights)
    (args.out / "summary.json").write_text(
        json.dumps({"part": args.part, "weights": weights, "settings": settings, "summary": numbers}, indent=1)
    )
    text = "\n\n".join(f"### {figure}\n\n{table(rows, figure)}" for figure in scorer.shown)
    if scorer.methods:
        text = f"### methods\n\n{by_method(rows, scorer.methods)}\n\n{text}"
    if scorer.parts:
        text += "\n\n### parts\n\n" + means(rows, scorer.parts)
    (args.out / "summary.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
