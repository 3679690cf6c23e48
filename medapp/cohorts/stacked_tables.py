"""Stacked tables: the tables of all cases, such as that of their lesions or regions, one below another."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from medapp.cohorts.group_table import GroupRow
from medapp.cohorts.text_tables import read_table

LABELS = ("participant_id", "session_id", "case")


class StackedTable(NamedTuple):
    """Columns and rows; the first columns are LABELS."""

    columns: list[str]
    rows: list[list[str]]


def stack_tables(rows: Sequence[GroupRow], dataset: Path) -> dict[str, StackedTable]:
    """Return every kind of table of the cases that are used, by its name; one that cannot be read is left out.

    A column that only some of the tables have is n/a in the others.
    """
    columns: dict[str, dict[str, None]] = {}
    lines: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        labels = dict(zip(LABELS, (row.person, row.exam or "n/a", row.name), strict=True))
        for file in row.record.files if row.is_used else ():
            match = re.search(r"_desc-([0-9A-Za-z]+)_stats\.tsv$", file)
            if not match:
                continue
            table = read_table(dataset / file, missing="n/a")
            if table is None:
                continue
            columns.setdefault(match[1], dict.fromkeys(LABELS)).update(dict.fromkeys(table.columns))
            lines.setdefault(match[1], []).extend({**labels, **line} for line in table.rows)
    return {
        name: StackedTable(list(columns[name]), [[line.get(c, "n/a") for c in columns[name]] for line in lines[name]])
        for name in columns
    }
