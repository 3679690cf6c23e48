"""Score a pipeline as the app serves it.

`python -m training.evaluation.evaluate PIPELINE DATA --out DIR [--peers [NAMES]]`.

DATA is laid out as for the training, and `training.<pipeline>.cases` reads it; or it is anyone's folder, images beside
masks or BIDS, see `training.data.patient_folder`. Writes `cases.csv` (a row per image, condition and method),
`summary.json` and `summary.md` (mean, standard deviation, median, quartiles, and a bootstrap interval of the mean, over
patients and per group; where methods are compared, their means and Wilcoxon's signed-rank test against ours), and all
of it with pictures as one page, `report.html`.
"""

import argparse
import importlib
import json
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medapp.card import Card
from medapp.errors import InputError, UserError
from medapp.result import Provenance
from medapp.serving import runtime
from training.core.case import Case
from training.core.score_tables import condition_table, group_table, method_table, read_rows, row_key, write_rows
from training.core.statistics import compare_methods, summarize_by_condition
from training.data import patient_folder
from training.evaluation import report_page, scores


def select_cases(card: Card, data: Path, part: str, subject: str) -> tuple[str, Iterator[Case]]:
    """Return the part and its cases if DATA is laid out as for the training, else "all" and those of any folder."""
    if find_spec(f"training.methods.{card.name}"):
        training = importlib.import_module(f"training.methods.{card.name}")
        if any(data.glob(training.LAYOUT)):
            return part, training.read_cases(data, part)
    return "all", patient_folder.read_cases(card, data, subject)


def describe_origin(provenance: Provenance) -> dict:
    """Return where scores come from: weights with their sha256, device, versions, and the command."""
    machine = {"device": provenance.device, "engine": provenance.engine, "precision": provenance.precision}
    command = shlex.join(["python", "-m", "training.evaluation.evaluate", *sys.argv[1:]])
    return {"weights": dict(provenance.weights), **machine, "versions": dict(provenance.versions), "command": command}


def write_summaries(out: Path, rows: list[dict], scorer: scores.Scorer, about: dict) -> str:
    """Write summary.json, summary.md and report.html of all rows; return the Markdown."""
    numbers, compared = (
        summarize_by_condition(rows, scorer.figures),
        compare_methods(rows, scorer.methods or scorer.shown),
    )
    text = "\n\n".join(f"### {figure}\n\n{group_table(rows, figure)}" for figure in scorer.shown)
    if scorer.methods:
        text = f"### methods\n\n{method_table(rows, scorer.methods)}\n\n{text}"
    if scorer.parts:
        text += "\n\n### parts\n\n" + condition_table(rows, scorer.parts)
    (out / "summary.json").write_text(json.dumps({**about, "summary": numbers, "tests": compared}, indent=1))
    (out / "summary.md").write_text(text + "\n")
    metrics = tuple(dict.fromkeys((*scorer.shown, *scorer.methods)))
    (out / "report.html").write_text(report_page.render_html(rows, metrics, numbers, compared, about), encoding="utf-8")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--part",
        default="test",
        choices=["train", "validation", "test", "all"],
        help="part of the split, for data laid out as for the training",
    )
    parser.add_argument(
        "--subject", default=patient_folder.SUBJECT, help="regular expression that finds the person in file names"
    )
    parser.add_argument("--condition", help="score this condition alone")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--pairs", type=int, help="number of patients, or pairs, to score")
    parser.add_argument("--peers", nargs="?", const="all", default="", metavar="NAMES", help="score other tools too")
    parser.add_argument("--more", action="store_true", help="add to the scores that DIR holds")
    args = parser.parse_args()
    try:
        print(evaluate(args))
    except UserError as error:
        parser.exit(1, f"{error}\n")


def evaluate(args: argparse.Namespace) -> str:
    """Score every case and write the results. Raises UserError if nothing can be scored."""
    given: dict[str, Any] = dict(pair.split("=", 1) for pair in args.set)
    card = runtime.find_card(args.pipeline)
    settings, patients, left = card.parse_settings(given), set[str](), dict[str, str]()
    peers = tuple(filter(None, args.peers.split(",")))
    args.out.mkdir(parents=True, exist_ok=True)
    rows = {row_key(row): row for row in read_rows(args.out / "cases.csv")} if args.more else {}
    result = None
    part, cases = select_cases(card, args.data, args.part, args.subject)
    for case in cases:
        patients.add(case.patient)
        if args.pairs and len(patients) > args.pairs:
            break
        if args.condition not in (None, case.condition):
            continue
        try:
            result = runtime.run(args.pipeline, *case.volumes, **(dict(case.options) | given))
            scorer = scores.find_scorer(card, peers)
            more = [{"image": case.image} | row for row in scorer.rows(case, result, settings, peers)]
        except InputError as error:
            left[f"{case.image or case.patient}, {case.condition}"] = str(error)
            print(f"left out: {case.image or case.patient}: {error}", file=sys.stderr, flush=True)
            continue
        rows |= {row_key(row): row for row in more}
        for row in more:
            print(row["patient"], row["condition"], row["group"], row[scorer.shown[0]], flush=True)
        write_rows(args.out / "cases.csv", list(rows.values()))
    if result is None or not rows:
        raise InputError(f"Nothing in {args.data} could be scored. {next(iter(left.values()), '')}".rstrip())
    about = {
        "pipeline": card.name,
        "part": part,
        **describe_origin(scores.provenance_of(result)),
        "settings": settings,
        "left": left,
    }
    return write_summaries(args.out, list(rows.values()), scorer, about)


if __name__ == "__main__":
    main()
