"""Group charts: how each metric is distributed, which cases are outliers, and how people change."""

from collections.abc import Sequence

import plotly.graph_objects as go

from medapp.cohorts.bids_study import natural_order
from medapp.cohorts.group_table import GroupRow, list_exams, list_metrics
from medapp.presenters.catalogue import get_metric
from medapp.rendering.lesion_charts import CHART_TEMPLATE

POINT_COLOUR, OUTLIER_COLOUR, LINE_COLOUR = "#0072b2", "#d55e00", "rgba(128,128,128,0.45)"
NO_EXAM = "no session"  # the name of the group of cases without one


def plot_metrics(rows: Sequence[GroupRow]) -> list[go.Figure]:
    """Return a chart for each metric that differs between cases: the values by exam, lines along a person's exams."""
    used = [row for row in rows if row.is_used]
    charts = []
    for metric in list_metrics(used):
        having = [row for row in used if metric in row.values]
        if len({row.values[metric] for row in having}) > 1:
            charts.append(plot_metric(metric, having))
    return charts


def plot_metric(metric: str, rows: Sequence[GroupRow]) -> go.Figure:
    """Return the distribution of a metric over rows that have it; the chart names a case under the pointer."""
    figure = go.Figure()
    exams = sorted({row.exam or NO_EXAM for row in rows}, key=natural_order)
    for exam in exams:
        own = [row for row in rows if (row.exam or NO_EXAM) == exam]
        figure.add_trace(
            go.Box(
                y=[row.values[metric] for row in own],
                x=[exam] * len(own),
                text=[row.name for row in own],
                name=exam,
                boxpoints="all",
                jitter=0.4,
                pointpos=0,
                marker={"color": POINT_COLOUR, "size": 5},
                line={"color": "#767676", "width": 1},
                fillcolor="rgba(0,0,0,0)",
                hovertemplate="%{text}: %{y:.4g}<extra></extra>",
                showlegend=False,
            )
        )
    for line in _join_exams(metric, rows):
        figure.add_trace(line)
    outliers = [row for row in rows if metric in row.outliers]
    figure.add_trace(
        go.Scatter(
            x=[row.exam or NO_EXAM for row in outliers],
            y=[row.values[metric] for row in outliers],
            text=[row.name for row in outliers],
            mode="markers",
            marker={"color": OUTLIER_COLOUR, "size": 9, "symbol": "diamond"},
            name="Outlier",
            hovertemplate="%{text}: %{y:.4g}, outlier<extra></extra>",
            showlegend=bool(outliers),
        )
    )
    units = {row.record.facts["metrics"][metric]["unit"] for row in rows}
    title, unit = get_metric(metric).title, next(iter(units)) if len(units) == 1 else ""
    figure.update_layout(
        template=CHART_TEMPLATE,
        title={"text": title, "font": {"size": 14}},
        yaxis={"title": unit or title, "rangemode": "normal"},
        xaxis={"type": "category", "categoryorder": "array", "categoryarray": exams},
        height=340,
        legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right"},
    )
    return figure


def _join_exams(metric: str, rows: Sequence[GroupRow]) -> list[go.Scatter]:
    """A line for all people with several exams, broken between them, so that it stays one trace however many."""
    x: list[str | None] = []
    y: list[float | None] = []
    for exams in list_exams(rows).values():
        if len(exams) > 1:
            x += [*(row.exam for row in exams), None]
            y += [*(row.values[metric] for row in exams), None]
    line = {"color": LINE_COLOUR, "width": 1}
    return [go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)] if x else []
