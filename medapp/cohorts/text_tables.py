"""Text tables: TSV as BIDS has them, and CSV of the user's."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from medapp.cohorts.atomic_files import write_text
from medapp.presenters.derivative_sidecars import render_tsv


class TextTable(NamedTuple):
    """The columns of a table, and its rows by column."""

    columns: list[str]
    rows: list[dict[str, str]]


def read_table(path: Path, missing: str = "") -> TextTable | None:
    """Read a TSV by its name, else a CSV; `missing` stands for the cells that a row is short of. None if unreadable."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, dialect="excel-tab" if path.suffix == ".tsv" else "excel", restval=missing)
            rows = list(reader)
            return TextTable(list(reader.fieldnames or ()), rows)
    except (OSError, UnicodeDecodeError, csv.Error):
        return None


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write a table as BIDS has them."""
    return write_text(path, render_tsv(columns, rows))
