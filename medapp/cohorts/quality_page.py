"""Quality page: a picture of every case beside its numbers, to be sorted, and marked as pass or fail.

One HTML file that needs no network. It cannot write files: it offers the marks for download, as the TSV that the group
level reads, and keeps them in the browser meanwhile.
"""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medapp.cohorts.group_table import MARKS_FILE, GroupRow, list_metrics
from medapp.presenters.catalogue import get_metric
from medapp.rendering.html_templates import HtmlTemplates
from medapp.result import NOT_A_DIAGNOSIS

TEMPLATES = HtmlTemplates(Path(__file__).parent / "templates", macros="quality.html")
MAX_EMBEDDED = 1000  # pictures in the page; of more cases they are loaded from the dataset beside it


def render_quality_page(rows: Sequence[GroupRow], dataset: Path, title: str) -> str:
    """Return the page of all rows; of more than MAX_EMBEDDED cases it must stay in the dataset's group folder."""
    values = {metric: {row.values[metric] for row in rows if metric in row.values} for metric in list_metrics(rows)}
    metrics = [
        metric for metric in values if len(values[metric]) > 1 or len(rows) == 1
    ]  # the same for all says nothing
    columns = [
        (metric, get_metric(metric).short or get_metric(metric).title, _unit(rows, metric)) for metric in metrics
    ]
    cases = [
        {
            "name": row.name,
            "mark": row.mark,
            "status": row.record.status,
            "picture": _picture(row, dataset, embedded=len(rows) <= MAX_EMBEDDED),
            "values": [(row.values.get(metric), metric in row.outliers) for metric in metrics],
            "remarks": _list_remarks(row),
            "outliers": len(row.outliers),
        }
        for row in rows
    ]
    return TEMPLATES.render(
        "quality.html",
        title=title,
        notice=NOT_A_DIAGNOSIS,
        dataset=dataset.name,
        columns=columns,
        cases=cases,
        marks_file=MARKS_FILE,
    )


def _unit(rows: Sequence[GroupRow], metric: str) -> str:
    return next((r.record.facts["metrics"][metric]["unit"] for r in rows if metric in r.values), "")


def _picture(row: GroupRow, dataset: Path, *, embedded: bool) -> str:
    """The address of a case's picture, "" where there is none."""
    path = dataset / row.record.picture
    if row.record.status != "done" or not row.record.picture or not path.is_file():
        return ""
    if not embedded:
        return f"../{quote(row.record.picture)}"
    return f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _list_remarks(row: GroupRow) -> list[Any]:
    if row.record.status != "done":
        return [row.record.reason]
    return list(row.record.facts.get("warnings", []))
