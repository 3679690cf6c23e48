"""Group table: a row for each case with its metrics, outliers and mark, and the dictionary of its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medapp.cohorts.bids_study import natural_order
from medapp.cohorts.case_record import CaseRecord
from medapp.cohorts.text_tables import read_table
from medapp.presenters.catalogue import get_metric

MARKS = ("pass", "fail")
MARKS_FILE = "quality.tsv"  # in the group's folder; the quality page offers it for download
OUTLIER_SCORE = 3.5  # modified z-score, Iglewicz and Hoaglin 1993
MIN_VALUES = 5  # below which no value is called an outlier
ENTITY_TITLES = {"sub": "participant_id", "ses": "session_id"}
COLUMNS = {  # beside metrics: what they hold, and the unit
    "participant_id": ("Person", ""),
    "session_id": ("Exam", ""),
    "case": ("What the files of the case begin with", ""),
    "status": ("done or failed", ""),
    "mark": ("pass or fail, as marked on the quality page", ""),
    "outliers": ("Metrics of the case that are outliers: a modified z-score above 3.5 (Iglewicz and Hoaglin 1993)", ""),
    "doubt": ("Why the input may not fit, as a question", ""),
    "warnings": ("How many warnings the result has", ""),
    "seconds": ("Time of the run", "s"),
    "peak_memory_mb": ("Peak main memory of the worker", "MB"),
}


@dataclass
class GroupRow:
    """A case in the table: its record, its mark, its numbers by metric, and which of them are outliers."""

    record: CaseRecord
    mark: str = ""
    values: dict[str, float] = field(default_factory=dict)
    outliers: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the case."""
        return self.record.name

    @property
    def person(self) -> str:
        """The participant, such as "sub-01"."""
        return f"sub-{self.record.entities['sub']}"

    @property
    def exam(self) -> str:
        """The exam, such as "ses-1", or ""."""
        return f"ses-{self.record.entities['ses']}" if "ses" in self.record.entities else ""

    @property
    def is_used(self) -> bool:
        """Whether it counts in maps, changes and outliers: done, and not marked as failed."""
        return self.record.status == "done" and self.mark != "fail"


def make_rows(records: Sequence[CaseRecord], marks: Mapping[str, str]) -> list[GroupRow]:
    """Return a row for each record, in the same order, with its numbers and outliers."""
    rows = [GroupRow(record, marks.get(record.name, ""), _read_values(record)) for record in records]
    for metric in list_metrics(rows):
        having = [row for row in rows if row.is_used and metric in row.values]
        scores = score_outliers(np.array([row.values[metric] for row in having]))
        for row, score in zip(having, scores, strict=True):
            if score > OUTLIER_SCORE:
                row.outliers.append(metric)
    return rows


def list_metrics(rows: Sequence[GroupRow]) -> list[str]:
    """List the metrics that any row has, in the order of the results."""
    return list(dict.fromkeys(metric for row in rows for metric in row.values))


def list_exams(rows: Sequence[GroupRow]) -> dict[str, list[GroupRow]]:
    """Return for each person a row for each exam that is named, in their order; of several runs the first."""
    first: dict[str, dict[str, GroupRow]] = {}
    for row in rows:
        if row.exam:
            first.setdefault(row.person, {}).setdefault(row.exam, row)
    return {person: [own[exam] for exam in sorted(own, key=natural_order)] for person, own in first.items()}


def score_outliers(values: np.ndarray) -> np.ndarray:
    """Return the modified z-scores of (N,) without sign: distances to the median, in robust standard deviations.

    Where half of the values are the same, the mean absolute deviation takes the place of the median one. Iglewicz and
    Hoaglin 1993, How to Detect and Handle Outliers. Zeros for fewer than MIN_VALUES values.
    """
    if len(values) < MIN_VALUES:
        return np.zeros(len(values))
    distance = np.abs(values - np.median(values))
    spread = np.median(distance) / 0.6745 or distance.mean() * 1.2533
    return distance / spread if spread else np.zeros(len(values))


def tabulate(rows: Sequence[GroupRow]) -> tuple[list[str], list[list[Any]]]:
    """Return columns and cells of the table: labels, further entities, metrics, then what else is known of a case."""
    metrics = list_metrics(rows)
    entities = list(dict.fromkeys(key for row in rows for key in row.record.entities if key not in ENTITY_TITLES))
    columns = ["participant_id", "session_id", "case", *entities, "status", "mark", *metrics]
    columns += ["outliers", "doubt", "warnings", "seconds", "peak_memory_mb"]
    cells = []
    for row in rows:
        facts = row.record.facts
        cells.append(
            [
                row.person,
                row.exam,
                row.name,
                *(row.record.entities.get(key) for key in entities),
                row.record.status,
                row.mark,
                *(row.values.get(metric) for metric in metrics),
                ", ".join(row.outliers),
                facts.get("doubt"),
                len(facts["warnings"]) if "warnings" in facts else None,
                facts.get("seconds"),
                facts.get("peak_memory_mb"),
            ]
        )
    return columns, cells


def describe_columns(columns: Sequence[str], rows: Sequence[GroupRow]) -> dict[str, dict[str, str]]:
    """Return the data dictionary of BIDS for the columns."""
    units = {name: m["unit"] for row in rows for name, m in row.record.facts.get("metrics", {}).items()}
    described = {}
    for column in columns:
        if column in COLUMNS:
            text, unit = COLUMNS[column]
            entry = {"Description": text}
        elif column in units:
            metric, unit = get_metric(column), units[column]
            entry = {"LongName": metric.title, "Description": metric.help or metric.title}
        else:
            entry, unit = {"Description": f"The BIDS entity {column}"}, ""
        described[column] = entry | ({"Units": unit} if unit else {})
    return described


def read_marks(path: Path) -> dict[str, str]:
    """Read pass or fail by case from the TSV that the quality page makes; nothing where there is no such file."""
    table = read_table(path)
    rows = table.rows if table else ()
    return {row["case"]: row["mark"] for row in rows if row.get("case") and row.get("mark") in MARKS}


def _read_values(record: CaseRecord) -> dict[str, float]:
    """The numbers of a result that is done."""
    metrics = record.facts.get("metrics", {}) if record.status == "done" else {}
    return {name: m["value"] for name, m in metrics.items() if isinstance(m["value"], int | float)}
