"""Write the published scores into the documents.

`python -m training.evaluation.readme_tables [DIR/summary.json ...] [--check]`.

An evaluation's `summary.json` first updates the figures of its method in `weights/scores.json`, see `published_scores`;
a method that is not there yet gets all of its evaluation's figures, to be thinned out by hand. Then the table between
`<!-- methods -->` and `<!-- /methods -->` in README.md and the tables between `<!-- scores -->` and
`<!-- /scores -->` in docs/benchmarks.md are written whole. `--check` writes nothing and exits with 1 if any file would
change, with the differences on standard error.
"""

import argparse
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medapp.card import Card
from medapp.presenters.task import TASKS
from medapp.serving import runtime
from training.evaluation.published_scores import (
    Scores,
    format_scores,
    get_score_metric,
    name_people,
    read_scores,
    update_scores,
)

ROOT = Path(__file__).parents[2]
SCORES = "weights/scores.json"
README = "README.md"
BENCHMARKS = "docs/benchmarks.md"


def list_methods() -> list[Card]:
    """Return the cards of all methods in the order of the tabs, without those that only preview another's inputs."""
    cards, tasks = runtime.load_cards().values(), list(TASKS)
    previews = {card.preview for card in cards}
    shown = [card for card in cards if card.name not in previews]
    return sorted(shown, key=lambda card: tasks.index(card.task) if card.task in tasks else len(tasks))


def make_method_table(cards: Iterable[Card], scores: Scores) -> str:
    """Return the README's table, a row for each method."""
    rows = [("Task", "Method", "Input", "Score", "Real patients of other sources", "Weights")]
    for card in cards:
        task = TASKS[card.task].title if card.task in TASKS else card.task.capitalize()
        method = f"[{card.title}]({_link_paper(card)}) `{card.name}`"
        weights = f"[{card.licence.split(' (')[0]}](weights/{Path(card.weights.file).stem}.md)"
        entry = scores.get(card.name, {})
        score, others = format_headline(entry, "headline", "not scored"), format_headline(entry, "others")
        rows.append((task, method, _list_inputs(card), score, others, weights))
    return format_table(rows)


def format_headline(entry: Mapping[str, Any], name: str, without: str = "not measured") -> str:
    """Return the headline or that of other sources with its figures, `without` where there is none.

    Raises KeyError for a figure that is not in the entry's scores.
    """
    if name not in entry:
        return without
    groups = {
        group: {metric: {key: float(value) for key, value in values.items()} for metric, values in metrics.items()}
        for group, metrics in entry["scores"][entry[name]["condition"]].items()
    }
    return entry[name]["text"].format_map(groups)


def _link_paper(card: Card) -> str:
    """Return the address of the first paper that the card cites."""
    paper = re.search(r"arXiv:(\S+?)(?=[;,]|$)|doi:(\S+?)(?=[;,]|$)", card.cite)
    if not paper:
        return "NOTICE"
    return f"https://arxiv.org/abs/{paper[1]}" if paper[1] else f"https://doi.org/{paper[2]}"


def _list_inputs(card: Card) -> str:
    images = [source for source in card.inputs if not source.labels]
    optional = ", ".join(source.title for source in images if source.optional)
    required = ", ".join(source.title for source in images if not source.optional)
    return f"{required} (+ {optional})" if optional else required


def make_score_tables(cards: Iterable[Card], scores: Scores) -> str:
    """Return a heading, the command and a table of every published figure for each method."""
    parts = []
    for card in cards:
        if card.name in scores:
            entry = scores[card.name]
            apart = [f"{condition}: `{made['command']}`" for condition, made in entry.get("commands", {}).items()]
            parts += [f"### {card.title}", f"`{entry['command']}`", *apart, make_score_table(entry)]
    return "\n\n".join(parts)


def make_score_table(entry: Mapping[str, Any]) -> str:
    """Return a table with a row for each condition and group, who was scored, and a column for each metric."""
    conditions = entry["scores"]
    metrics = list(dict.fromkeys(m for groups in conditions.values() for values in groups.values() for m in values))
    definitions = [get_score_metric(metric) for metric in metrics]
    titles = (f"{d.title} ({d.unit})" if d.unit else d.title for d in definitions)
    rows = [("Condition", "Group", "People", *titles)]
    for condition, groups in conditions.items():
        for group, values in groups.items():
            figures = (format_score(values.get(metric, {})) for metric in metrics)
            rows.append((condition, group, name_people(entry, condition, group), *figures))
    return format_table(rows)


def format_score(values: Mapping[str, str]) -> str:
    """Return "mean ± sd, median m (q1 to q3)", or as much of it as there is."""
    text = values.get("mean", "") + (f" ± {values['sd']}" if "sd" in values else "")
    median = f"median {values['median']}" if "median" in values else ""
    quartiles = f" ({values['q1']} to {values['q3']})" if "q1" in values else ""
    return ", ".join(filter(None, (text, median + quartiles)))


def format_table(rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * (lines[0].count(" | ") + 1), *lines[1:]])


def replace_between_marks(text: str, mark: str, table: str) -> str:
    """Return the text with what lies between `<!-- mark -->` and `<!-- /mark -->` replaced.

    Raises ValueError if the marks are not there exactly once.
    """
    opening, closing = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    if text.count(opening) != 1 or text.count(closing) != 1:
        raise ValueError(f"{opening} and {closing} must be in the text once each.")
    before, rest = text.split(opening)
    return f"{before}{opening}\n{table}\n{closing}{rest.split(closing)[1]}"


def make_documents(root: Path, scores: Scores) -> dict[Path, str]:
    """Return README.md and docs/benchmarks.md under `root` as they should be."""
    cards = list_methods()
    readme, benchmarks = ((root / name).read_text(encoding="utf-8") for name in (README, BENCHMARKS))
    return {
        root / README: replace_between_marks(readme, "methods", make_method_table(cards, scores)),
        root / BENCHMARKS: replace_between_marks(benchmarks, "scores", make_score_tables(cards, scores)),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("summaries", nargs="*", type=Path, metavar="DIR/summary.json", help="scores to publish")
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of README.md; the repository by default")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 and show what would change")
    args = parser.parse_args(arguments)
    scores = read_scores(args.root / SCORES)
    try:
        for file in args.summaries:
            update_scores(scores, json.loads(file.read_text(encoding="utf-8")))
        documents = make_documents(args.root, scores) | {args.root / SCORES: format_scores(scores)}
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    differences: list[str] = []
    for file, text in documents.items():
        old = file.read_text(encoding="utf-8")
        lines = old.splitlines(), text.splitlines()
        differences += difflib.unified_diff(*lines, str(file), "as published", n=0, lineterm="")
        if text != old and not args.check:
            file.write_text(text, encoding="utf-8")
    if differences and args.check:
        parser.exit(1, "\n".join(differences) + "\n")


if __name__ == "__main__":
    main()
