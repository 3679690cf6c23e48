"""Tables of scores as CSV and Markdown."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from training.core.statistics import mean_per_patient, paired_differences, summarize, summarize_by_group, wilcoxon_p

DIFFERENCE_NOTE = (
    "Difference from ours (p of Wilcoxon's signed-rank test, as if pairs that share a person were independent):"
)
ROW_KEYS = ("patient", "image", "group", "condition", "weights")


def group_table(rows: list[dict], figure: str) -> str:
    """Return Markdown: a row per condition and, within it, per group."""
    lines = ["| condition | group | n | mean ± sd | median (quartiles) | 95 % of mean |", "|---|---|---|---|---|---|"]
    for condition in dict.fromkeys(r["condition"] for r in rows):
        rows_here = [r for r in rows if r["condition"] == condition]
        for group, s in ((group, s[figure]) for group, s in summarize_by_group(rows_here, (figure,)).items()):
            if s["n"]:
                lines.append(
                    f"| {condition} | {group} | {s['n']} | {s['mean']:.3f} ± {s['sd']:.3f} | "
                    f"{s['median']:.3f} ({s['q1']:.3f} to {s['q3']:.3f}) | {s['low95']:.3f} to {s['high95']:.3f} |"
                )
    return "\n".join(lines)


def condition_table(rows: list[dict], figures: tuple[str, ...]) -> str:
    """Return Markdown: a row per metric, its mean ± standard deviation over patients in every condition."""
    conditions = list(dict.fromkeys(r["condition"] for r in rows))
    lines = [f"| | {' | '.join(conditions)} |", "|---" * (len(conditions) + 1) + "|"]
    for figure in figures:
        summaries = [
            summarize(mean_per_patient([r for r in rows if r["condition"] == c], figure).values()) for c in conditions
        ]
        if any(s["n"] for s in summaries):
            cells = [f"{s['mean']:.3f} ± {s['sd']:.3f}" if s["n"] else "" for s in summaries]
            lines.append(f"| {figure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def method_table(rows: list[dict], figures: tuple[str, ...]) -> str:
    """Return Markdown: a row per method with the mean ± standard deviation of each metric over patients, and a second
    table of differences.

    The second table holds the mean difference from ours, patient by patient, and the p-value of Wilcoxon's signed-rank
    test. A method in another than the first condition is named with it.
    """
    first = rows[0]["condition"]
    methods: dict[str, list[dict]] = {}
    for row in rows:
        name = row["group"] if row["condition"] == first else f"{row['group']}, {row['condition']}"
        methods.setdefault(name, []).append(row)
    head = f"| {' | '.join(figures)} |\n" + "|---" * (len(figures) + 2) + "|"
    means, tests = [f"| method | n {head}"], [f"| method | n {head}"]
    for name, mine in methods.items():
        summaries = [summarize(mean_per_patient(mine, figure).values()) for figure in figures]
        cells = [f"{format_number(s['mean'])} ± {format_number(s['sd'])}" if s["n"] else "" for s in summaries]
        means.append(f"| {name} | {max(s['n'] for s in summaries)} | {' | '.join(cells)} |")
        if name != "ours":
            pairs = [paired_differences(mine, methods["ours"], figure) for figure in figures]
            cells = [f"{format_number(d.mean(), '+')} ({wilcoxon_p(d):.2g})" if len(d) else "" for d in pairs]
            tests.append(f"| {name} | {max(map(len, pairs))} | {' | '.join(cells)} |")
    return "\n".join([*means, "", DIFFERENCE_NOTE, "", *tests])


def format_number(value: float, sign: str = "") -> str:
    """Return the number with three digits after the point, fewer if it is large."""
    return f"{value:{sign}.{3 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def row_key(row: dict) -> tuple:
    """Return what tells a row from others: those of `ROW_KEYS` that it has."""
    return tuple(row.get(name, "") for name in ROW_KEYS)


def read_rows(path: Path) -> list[dict]:
    """Return the rows that an earlier run wrote, none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        kept = list(csv.DictReader(file))
    return [{k: v if k in ROW_KEYS else float(v) if v else None for k, v in row.items()} for row in kept]


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write rows as CSV, as `read_rows` reads them."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def collect_scores(out: Path, rows: Iterable[dict], render: Callable[[list[dict]], str]) -> None:
    """Write each row to `cases.csv` in the folder `out` as soon as it is there, and at last `summary.md`."""
    out.mkdir(parents=True, exist_ok=True)
    done: list[dict] = []
    for row in rows:
        print(row, flush=True)
        done.append(row)
        write_rows(out / "cases.csv", done)
    (out / "summary.md").write_text(render(done))
    print(render(done))
