"""Charts of a registration: metrics by region before and after, volume change."""

import numpy as np
import plotly.graph_objects as go

from medapp.rendering import colour
from medapp.rendering.lesion_charts import CHART_INK, CHART_TEMPLATE, GRID_LINE_COLOUR, explain, plot_message
from medapp.result import Table

BEFORE_AFTER_COLOURS = (CHART_INK, colour.to_css(colour.get_label_colour(1)))
BEFORE_AFTER_HELP = {
    "Dice": "Overlap of each region of both brains, before and after the deformation: 1 is full.",
    "voxel HD95": "95 % of the surfaces of both regions lie nearer to each other than this, before and after the "
    "deformation: less is better.",
}
NO_LABEL_MAPS = "Needs label maps of both images"


def plot_before_after(table: Table | None, measure: str, unit: str = "") -> go.Figure:
    """Plot a metric by region as bars, from the columns "`measure` before (`unit`)" and "`measure` after (`unit`)"."""
    end = f" ({unit})" if unit else ""
    names = [f"{measure} {when}{end}" for when in ("before", "after")]
    if table is None or not set(names) <= set(table.columns):
        return plot_message(NO_LABEL_MAPS)
    columns = [table.columns.index(name) for name in names]
    rows = [row for row in table.rows if any(row[c] is not None for c in columns)]
    if not rows:
        return plot_message(NO_LABEL_MAPS)
    figure = go.Figure()
    regions = [str(row[0]) for row in rows]
    for column, when, tint in zip(columns, ("before", "after"), BEFORE_AFTER_COLOURS, strict=True):
        figure.add_bar(
            y=regions, x=[row[column] for row in rows], name=when, marker_color=tint, orientation="h",
            hovertemplate=f"%{{y}}, {when}: %{{x:.3f}}{' ' + unit if unit else ''}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        template=CHART_TEMPLATE, height=60 + 24 * len(rows), barmode="group", bargap=0.25, showlegend=True
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, ticks="", tickfont_size=10)
    title = f"{measure[:1].upper()}{measure[1:]}{end}"
    figure.update_xaxes(title=title, showgrid=True, gridcolor=GRID_LINE_COLOUR)
    return explain(figure, BEFORE_AFTER_HELP.get(measure, ""))


def plot_volume_change(log: np.ndarray, folding: float | None = None) -> go.Figure:
    """Plot a histogram of the log Jacobian determinant, orange above 0, blue below; `folding` (%) is in the title."""
    sample = np.asarray(log, np.float32).ravel()
    if not sample.size:
        return plot_message("There are no voxels to show")
    end = max(0.05, float(np.percentile(np.abs(sample), 99.8)) * 1.1)
    counts, edges = np.histogram(np.clip(sample, -end, end), 80, (-end, end))
    middle = (edges[:-1] + edges[1:]) / 2
    tints = [colour.to_css((213, 94, 0) if m > 0 else (0, 114, 188)) for m in middle]
    figure = go.Figure(
        go.Bar(
            x=np.float32(middle), y=np.float32(counts / sample.size * 100), marker_color=tints,
            customdata=np.float32(np.exp(middle)),
            hovertemplate="log J %{x:.2f}, volume × %{customdata:.2f}: %{y:.2f} % of voxels<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(0, line_color=CHART_INK, line_width=1)
    note = "" if folding is None else f", folding {folding:.4g} %"
    figure.update_layout(
        template=CHART_TEMPLATE, height=300, showlegend=False, bargap=0.02, yaxis_title="Brain voxels (%)",
        xaxis_title=f"Log Jacobian determinant{note}",
    )  # fmt: skip
    return explain(
        figure,
        "How much volumes change: at the left, blue, what is smaller in the moving image, at the right, orange, what "
        "is larger; 0.7 is twice the volume.",
    )
