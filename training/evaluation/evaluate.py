"""Scores a pipeline as the app serves it.

`python -m training.evaluation.evaluate PIPELINE DATA --out DIR [--peers [NAMES]]`.

DATA is laid out as for the training, and `training.<pipeline>.cases` reads it; or it is anyone's folder, images beside
masks or BIDS, see `training.data.patient_folder`. Writes `cases.csv` (a row per image, condition and method),
`summary.json` and `summary.md` (mean, standard deviation, median, quartiles, and a bootstrap interval of the mean, over
patients and per group; where methods are compared, their means and Wilcoxon's signed-rank test against ours), and all
of it with pictures as one page, `report.html`.
"""

import argparse
import csv
import importlib
import json
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from medapp.card import Card
from medapp.errors import InputError, UserError
from medapp.result import Provenance
from medapp.serving import runtime
from training.core.case import Case
from training.data import patient_folder
from training.evaluation import report_page, scores
from training.evaluation.statistics import by_condition, by_group, differences, p_value, per_patient, summary, tests

AGAINST = "Difference from ours (p of Wilcoxon's signed-rank test, as if pairs that share a person were independent):"
NAMES = ("patient", "image", "group", "condition")


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
        found = [summary(per_patient([r for r in rows if r["condition"] == c], figure).values()) for c in conditions]
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
        found = [summary(per_patient(mine, figure).values()) for figure in figures]
        cells = [f"{digits(s['mean'])} ± {digits(s['sd'])}" if s["n"] else "" for s in found]
        means.append(f"| {name} | {max(s['n'] for s in found)} | {' | '.join(cells)} |")
        if name != "ours":
            pairs = [differences(mine, methods["ours"], figure) for figure in figures]
            cells = [f"{digits(d.mean(), '+')} ({p_value(d):.2g})" if len(d) else "" for d in pairs]
            tests.append(f"| {name} | {max(map(len, pairs))} | {' | '.join(cells)} |")
    return "\n".join([*means, "", AGAINST, "", *tests])


def digits(value: float, sign: str = "") -> str:
    return f"{value:{sign}.{3 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def which(row: dict) -> tuple:
    return tuple(row.get(name, "") for name in NAMES)


def earlier(path: Path) -> list[dict]:
    """The rows that an earlier run wrote, none if it wrote none."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        kept = list(csv.DictReader(file))
    return [{k: v if k in NAMES else float(v) if v else None for k, v in row.items()} for row in kept]


def keep(path: Path, rows: list[dict]) -> None:
    """Write the rows as `earlier` reads them."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def cases(card: Card, data: Path, part: str, subject: str) -> tuple[str, Iterator[Case]]:
    """The training's cases of a part where DATA is laid out as for it, else all of anyone's folder."""
    if find_spec(f"training.methods.{card.name}"):
        training = importlib.import_module(f"training.methods.{card.name}")
        if any(data.glob(training.LAYOUT)):
            return part, training.cases(data, part)
    return "all", patient_folder.cases(card, data, subject)


def origin(provenance: Provenance) -> dict:
    """Where figures come from: weights with their sha256, machine, versions, and the command."""
    machine = {"device": provenance.device, "engine": provenance.engine, "precision": provenance.precision}
    command = shlex.join(["python", "-m", "training.evaluation.evaluate", *sys.argv[1:]])
    return {"weights": dict(provenance.weights), **machine, "versions": dict(provenance.versions), "command": command}


def write(out: Path, rows: list[dict], scorer: scores.Scorer, about: dict) -> str:
    """Write the summaries and the page of all rows; the markdown is returned too."""
    numbers, compared = by_condition(rows, scorer.figures), tests(rows, scorer.methods or scorer.shown)
    text = "\n\n".join(f"### {figure}\n\n{table(rows, figure)}" for figure in scorer.shown)
    if scorer.methods:
        text = f"### methods\n\n{by_method(rows, scorer.methods)}\n\n{text}"
    if scorer.parts:
        text += "\n\n### parts\n\n" + means(rows, scorer.parts)
    (out / "summary.json").write_text(json.dumps({**about, "summary": numbers, "tests": compared}, indent=1))
    (out / "summary.md").write_text(text + "\n")
    shown = tuple(dict.fromkeys((*scorer.shown, *scorer.methods)))
    (out / "report.html").write_text(report_page.html(rows, shown, numbers, compared, about), encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--part", default="test", choices=["train", "validation", "test", "all"], help="of our own data"
    )
    parser.add_argument(
        "--subject", default=patient_folder.SUBJECT, help="pattern of the person in the names of your files"
    )
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
    try:
        print(evaluate(args))
    except UserError as error:
        parser.exit(1, f"{error}\n")


def evaluate(args: argparse.Namespace) -> str:
    """Score every case and write what there is of it. Raises UserError where nothing can be scored."""
    given = dict(pair.split("=", 1) for pair in args.set)
    card = runtime.card(args.pipeline)
    settings, patients, left = card.settings(given), set(), {}
    peers = tuple(filter(None, args.peers.split(",")))
    args.out.mkdir(parents=True, exist_ok=True)
    found = {which(row): row for row in earlier(args.out / "cases.csv")} if args.more else {}
    result = None
    part, chosen = cases(card, args.data, args.part, args.subject)
    for case in chosen:
        patients.add(case.patient)
        if args.pairs and len(patients) > args.pairs:
            break
        if args.condition not in (None, case.condition):
            continue
        try:
            result = runtime.run(args.pipeline, *case.volumes, **(dict(case.options) | given))
            scorer = scores.of(result, peers)
            more = [{"image": case.image} | row for row in scorer.rows(case, result, settings, peers)]
        except InputError as error:
            left[f"{case.image or case.patient}, {case.condition}"] = str(error)
            print(f"left out: {case.image or case.patient}: {error}", file=sys.stderr, flush=True)
            continue
        found |= {which(row): row for row in more}
        for row in more:
            print(row["patient"], row["condition"], row["group"], row[scorer.shown[0]], flush=True)
        keep(args.out / "cases.csv", list(found.values()))
    if result is None or not found:
        raise InputError(f"Nothing in {args.data} could be scored. {next(iter(left.values()), '')}".rstrip())
    about = {"pipeline": card.name, "part": part, **origin(result.provenance), "settings": settings, "left": left}
    return write(args.out, list(found.values()), scorer, about)


if __name__ == "__main__":
    main()
