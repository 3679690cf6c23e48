"""Exam changes: how the metrics of a person change from one exam to the next."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from medapp.cohorts.group_table import GroupRow, list_exams

COLUMNS = ("participant_id", "session_from", "session_to", "metric", "before", "after", "change", "change_percent")
ABOUT = {
    "participant_id": {"Description": "Person"},
    "session_from": {"Description": "The earlier exam"},
    "session_to": {"Description": "The exam after it, in the order of their labels"},
    "metric": {"Description": "The metric, as a column of metrics.tsv"},
    "before": {"Description": "Its value at the earlier exam"},
    "after": {"Description": "Its value at the later exam"},
    "change": {"Description": "Later minus earlier"},
    "change_percent": {"Description": "Change as a percentage of the earlier value", "Units": "%"},
}


class Change(NamedTuple):
    """A metric of a person at two exams."""

    person: str
    earlier: str
    later: str
    metric: str
    before: float
    after: float

    def cells(self) -> list[Any]:
        """The row of the table."""
        change = self.after - self.before
        return [*self, change, 100 * change / abs(self.before) if self.before else None]


def find_changes(rows: Sequence[GroupRow]) -> list[Change]:
    """Return the change of every metric between successive exams of a person, of several runs the first."""
    changes = []
    for person, exams in list_exams([row for row in rows if row.is_used]).items():
        for earlier, later in pairwise(exams):
            for metric, before in earlier.values.items():
                if metric in later.values:
                    changes.append(Change(person, earlier.exam, later.exam, metric, before, later.values[metric]))
    return changes
