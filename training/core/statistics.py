"""Statistics of scores: summaries over patients, and tests of methods against ours."""

from collections.abc import Iterable

import numpy as np
from scipy.stats import bootstrap, wilcoxon

Summary = dict[str, float]


def summarize(values: Iterable[float | None]) -> Summary:
    """Return count, mean, spread and quartiles, and a 95 % percentile bootstrap interval of the mean.

    None is left out. Without any value the count alone is returned.
    """
    v = np.array([x for x in values if x is not None], float)
    if not len(v):
        return {"n": 0}
    low, high = bootstrap_mean(v)
    q1, median, q3 = np.percentile(v, (25, 50, 75))
    metrics = {"mean": v.mean(), "sd": v.std(ddof=1) if len(v) > 1 else 0.0, "median": median, "q1": q1, "q3": q3}
    metrics |= {"min": v.min(), "max": v.max(), "low95": low, "high95": high}
    return {"n": len(v)} | {k: round(float(x), 4) for k, x in metrics.items()}


def bootstrap_mean(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of (N,); of one value, that value twice."""
    if len(values) == 1:
        return float(values[0]), float(values[0])
    rng = np.random.default_rng(0)
    result = bootstrap((values,), np.mean, n_resamples=2000, method="percentile", rng=rng)
    return result.confidence_interval.low, result.confidence_interval.high


def summarize_by_group(rows: list[dict], figures: tuple[str, ...]) -> dict[str, dict[str, Summary]]:
    """Return group to metric to summary; first over all patients, unless groups are methods on the same patients."""
    groups = list(dict.fromkeys(sorted(r["group"] for r in rows)))
    methods = "ours" in groups
    parts = {g: [r for r in rows if r["group"] == g] for g in groups}
    parts = parts if methods else {"all": rows} | parts
    return {g: {f: summarize(mean_per_patient(part, f).values()) for f in figures} for g, part in parts.items()}


def summarize_by_condition(rows: list[dict], figures: tuple[str, ...]) -> dict[str, dict[str, dict[str, Summary]]]:
    """Return condition to group to metric to summary."""
    conditions = dict.fromkeys(r["condition"] for r in rows)
    return {c: summarize_by_group([r for r in rows if r["condition"] == c], figures) for c in conditions}


def mean_per_patient(rows: list[dict], figure: str) -> dict[str, float]:
    """Return one value a patient, the mean over their images."""
    kept: dict[str, list[float]] = {}
    for row in rows:
        if row.get(figure) is not None:
            kept.setdefault(row["patient"], []).append(row[figure])
    return {patient: float(np.mean(values)) for patient, values in kept.items()}


def paired_differences(rows: list[dict], ours: list[dict], figure: str) -> np.ndarray:
    """Return (N,) a metric in `rows` minus that in `ours`, for every patient who has both."""
    mine, theirs = (mean_per_patient(part, figure) for part in (rows, ours))
    return np.array([value - theirs[patient] for patient, value in mine.items() if patient in theirs])


def wilcoxon_p(difference: np.ndarray) -> float:
    """Return the p-value of Wilcoxon's signed-rank test of the differences (N,) against zero."""
    return float(wilcoxon(difference).pvalue) if difference.any() else 1.0


def compare_methods(rows: list[dict], figures: tuple[str, ...]) -> list[dict]:
    """Compare every method with ours in the same condition, patient by patient: a row a metric that both have.

    A row holds the mean difference (method minus ours), its 95 % bootstrap interval, and the p-value of Wilcoxon's
    signed-rank test, not corrected for the number of tests.
    """
    lines = []
    for condition in dict.fromkeys(r["condition"] for r in rows):
        rows_here = [r for r in rows if r["condition"] == condition]
        ours = [r for r in rows_here if r["group"] == "ours"]
        for method in dict.fromkeys(r["group"] for r in rows_here if ours and r["group"] != "ours"):
            for figure in figures:
                d = paired_differences([r for r in rows_here if r["group"] == method], ours, figure)
                if len(d):
                    s = summarize(d.tolist())
                    line = {"condition": condition, "method": method, "figure": figure, "n": len(d)}
                    line |= {"difference": s["mean"], "low95": s["low95"], "high95": s["high95"]}
                    lines.append(line | {"p": float(f"{wilcoxon_p(d):.3g}")})
    return lines
