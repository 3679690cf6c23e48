"""Scores a pipeline as the app serves it: `python -m training.evaluate PIPELINE DATA --out DIR [--part test]`.

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
from medapp.lesions import measured
from medapp.result import Result
from training.case import Case

FIGURES = (
    "dice",
    "hd95",
    "volume_difference",
    "lesion_f1",
    "false_positive_ml",
    "volume",
    "reference_volume",
    "seconds",
)


def score(case: Case, result: Result, settings: dict) -> dict[str, object]:
    """The figures of one case; false positives are counted in ml on the slices (third axis) that hold no truth."""
    compared = measured(result, settings["threshold"], settings["smallest"], case.truth)
    truth, mask = compared.volumes["reference"].array > 0, compared.volumes["mask"].array > 0
    clean = ~truth.any(axis=(0, 1))
    row = {name: compared.metrics[name].value for name in FIGURES if name in compared.metrics}
    row["false_positive_ml"] = round(float(mask[:, :, clean].sum()) * compared.volumes["mask"].grid.voxel_ml, 3)
    row["seconds"] = round(result.provenance.seconds, 2)
    return {"patient": case.patient, "group": case.group, "condition": case.condition, **row}


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


def table(rows: list[dict], figure: str) -> str:
    """Markdown: a row per condition and, within it, per group."""
    lines = ["| condition | group | n | mean ± sd | median (quartiles) | 95 % of mean |", "|---|---|---|---|---|---|"]
    for condition in dict.fromkeys(r["condition"] for r in rows):
        here = [r for r in rows if r["condition"] == condition]
        for group in ["all", *sorted({r["group"] for r in here})]:
            s = summary([r[figure] for r in here if group in ("all", r["group"])])
            if s["n"]:
                lines.append(
                    f"| {condition} | {group} | {s['n']} | {s['mean']:.3f} ± {s['sd']:.3f} | "
                    f"{s['median']:.3f} ({s['q1']:.3f} to {s['q3']:.3f}) | {s['low95']:.3f} to {s['high95']:.3f} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="test", choices=["train", "validation", "test", "all"])
    parser.add_argument("--condition", help="only this one")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    given = dict(pair.split("=", 1) for pair in args.set)
    settings = runtime.cards()[args.pipeline].settings(given)
    rows = []
    for case in importlib.import_module(f"training.{args.pipeline}").cases(args.data, args.part):
        if args.condition in (None, case.condition):
            result = runtime.run(args.pipeline, *case.volumes, **given)
            rows.append(score(case, result, settings))
            print(rows[-1]["patient"], rows[-1]["condition"], rows[-1]["dice"], flush=True)
    with (args.out / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    conditions = dict.fromkeys(r["condition"] for r in rows)
    numbers = {c: {f: summary([r[f] for r in rows if r["condition"] == c]) for f in FIGURES} for c in conditions}
    weights = dict(result.provenance.weights)
    (args.out / "summary.json").write_text(
        json.dumps({"part": args.part, "weights": weights, "settings": settings, "summary": numbers}, indent=1)
    )
    text = "\n\n".join(
        f"### {figure}\n\n{table(rows, figure)}"
        for figure in ("dice", "hd95", "false_positive_ml", "lesion_f1", "volume_difference")
    )
    (args.out / "summary.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
