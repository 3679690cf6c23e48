"""README's figures from the evaluation.

`python -m training.evaluation.readme_tables README.md PIPELINE=DIR/summary.json ...`.

What stands between two marks is rewritten, and nothing else; with `--check` nothing is, and the exit status is 1 where
README tells other figures than the files. A mark is a comment, which pages do not show. One figure, in a text or in the
cell of a table:

    <!-- score PIPELINE; CONDITION; GROUP; {dice[mean]:.2f} ± {dice[sd]:.2f} -->0.86 ± 0.07<!-- /score -->

A table, a row for each group, which may have a title of its own, as the columns have:

    <!-- table PIPELINE; CONDITION; ours, greedy, network = TextSCF alone;
    Dice = {dice[mean]:.3f}; seconds = {seconds[mean]:.1f} -->
    <!-- /table -->

PIPELINE=DIR/summary.json may be given for some of the pipelines: the marks of the others stay as they are. Scores of
other weights than those on the card are refused.
"""

import argparse
import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from medapp.serving import runtime

MARK = re.compile(
    r"(?P<open><!-- (?P<kind>score|table) (?P<told>.*?) -->)(?P<old>.*?)(?P<close><!-- /(?P=kind) -->)", re.S
)


def fill_marks(text: str, summaries: Mapping[str, dict]) -> str:
    """The text with the figures of `summaries`, pipeline to what `summary.json` holds, between its marks.

    Raises ValueError for a mark that asks for what the evaluation does not tell.
    """

    def one(mark: re.Match) -> str:
        pipeline, condition, *rest = (piece.strip() for piece in mark["told"].split(";"))
        if pipeline not in summaries:
            return mark[0]
        try:
            groups = summaries[pipeline]["summary"][condition]
            new = format_score(groups, *rest) if mark["kind"] == "score" else format_table(groups, *rest)
        except (KeyError, TypeError) as error:
            raise ValueError(f"the evaluation of {pipeline} does not tell {error}, for: {mark['open']}") from error
        return mark["open"] + new + mark["close"]

    return MARK.sub(one, text)


def format_score(groups: Mapping[str, dict], group: str, form: str) -> str:
    """The figures of a group in the form that is asked for."""
    return form.format_map(groups[group])


def format_table(groups: Mapping[str, dict], rows: str, *columns: str) -> str:
    """Markdown: a row for each group, a column for each form; a cell is empty where the group has no such figure."""
    titles, forms = zip(*(parse_column(column) for column in columns), strict=True)
    lines = [f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for group, title in ((group, title) for title, group in map(parse_row, rows.split(","))):
        cells = [form.format_map(groups[group]) if has_values(form, groups[group]) else "" for form in forms]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n" + "\n".join(lines) + "\n"


def has_values(form: str, figures: Mapping[str, dict]) -> bool:
    """Whether there are values of all the figures in a form; KeyError for one of which the evaluation knows nothing."""
    return all(figures[name]["n"] for name in re.findall(r"\{([^\[{}]+)\[", form))


def parse_column(column: str) -> tuple[str, str]:
    """Title and form of a column."""
    title, _, form = column.partition("=")
    return title.strip(), form.strip()


def parse_row(row: str) -> tuple[str, str]:
    """Title and group of a row: "network = TextSCF alone", or the group alone."""
    group, _, title = row.partition("=")
    return (title or group).strip(), group.strip()


def read_summary(argument: str) -> tuple[str, dict]:
    """Pipeline and contents of "PIPELINE=FILE". Raises ValueError if the file tells scores of other weights."""
    pipeline, _, file = argument.partition("=")
    summary = json.loads(Path(file).read_text())
    served, scored = runtime.find_card(pipeline).weights.sha256, summary["weights"].get("sha256")
    if served != scored:
        raise ValueError(f"{file} holds scores of the weights {scored}, the card of {pipeline} names {served}")
    return pipeline, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readme", type=Path)
    parser.add_argument("summaries", nargs="+", metavar="PIPELINE=DIR/summary.json")
    parser.add_argument("--check", action="store_true", help="say what differs, and change nothing")
    args = parser.parse_args()
    text = args.readme.read_text(encoding="utf-8")
    try:
        new = fill_marks(text, dict(map(read_summary, args.summaries)))
    except ValueError as error:
        parser.exit(2, f"{error}\n")
    if not args.check:
        args.readme.write_text(new, encoding="utf-8")
    elif new != text:
        name = str(args.readme)
        lines = difflib.unified_diff(text.splitlines(), new.splitlines(), name, "the evaluation", n=0, lineterm="")
        parser.exit(1, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
