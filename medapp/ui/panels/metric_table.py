"""Metric table: metrics before and after beside each other, with their meaning, as HTML."""

from collections.abc import Sequence
from html import escape

from medapp.presenters.catalogue import BEFORE, get_metric
from medapp.result import Result, Table

MAX_REGIONS = 10  # of those that two sets of prompts move the furthest apart
REGISTRATION_METRICS = (
    "dice",
    "ncc",
    "tre",
    "tre_max",
    "displacement_mean",
    "displacement_max",
    "folding",
    "sdlogj",
    "sdlogj_learn2reg",
    "bending_energy",
    "inverse_residual",
    "inverse_residual_max",
    "prompts_network",
    "prompts",
    "boundary_jump",
)


def render_registration_metrics(result: Result) -> str:
    """The metrics after the affine transform and of the result, and what the values of the tables mean."""
    html = render_metric_table(result, REGISTRATION_METRICS, "Affine only", "Result")
    if "prompts" in result.tables:
        html += render_prompt_table(result.tables["prompts"])
    helps = "".join(f"<p>{escape(table.about)}</p>" for table in result.tables.values() if table.about)
    return f'{html}<div class="med-small">{helps}</div>'


def render_metric_table(result: Result, keys: Sequence[str], before: str, after: str) -> str:
    """A row for each of the metrics that the result has; `before` and `after` are the titles of its values' columns."""
    values = {key: metric for key, metric in result.metrics.items() if metric.value is not None}
    rows = ""
    for key in keys:
        if key in values:
            metric, old = get_metric(key), values.get(f"{key}{BEFORE}")
            cells = [_format(old.value) if old else "", _format(values[key].value), values[key].unit, metric.help]
            rows += _render_row(metric.title, cells)
    return _render_table(("Metric", before, after, "Unit", "Meaning"), rows) if rows else ""


def render_prompt_table(table: Table) -> str:
    """The regions that two sets of prompts move the furthest apart."""
    rows = sorted(table.rows, key=lambda row: -float(row[1]))[:MAX_REGIONS]
    return _render_table(table.columns, "".join(_render_row(name, map(_format, values)) for name, *values in rows))


def render_readings(readings: Sequence[tuple[str, str]]) -> str:
    """The values at a point, in a line; without any, what to do."""
    if not readings:
        return '<p class="med-small">Click in the picture to read the field there.</p>'
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in readings)
    return f'<dl class="med-numbers" role="status">{cells}</dl>'


def _render_table(columns: Sequence[str], rows: str) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    return f'<table class="med-figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _render_row(title: str, cells: Sequence[str] | map) -> str:
    line = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr><th scope="row">{escape(title)}</th>{line}</tr>'


def _format(value: float | int | None) -> str:
    return "" if value is None else f"{value:.4g}"
