"""Attention among slices of the head, as heat maps."""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medapp.analysis.ms_lesions import PLANE_AXES, read_attention
from medapp.rendering.lesion_charts import AXIS_ENDS, CHART_TEMPLATE, explain, plot_message
from medapp.result import Table

NO_ATTENTION = "No attention: the head was too large for one pass"


def plot_attention(tables: Mapping[str, Table]) -> go.Figure:
    """Plot a heat map for each plane, one below the other: attending slices down, attended slices across."""
    if not tables:
        return plot_message(NO_ATTENTION)
    titles = [f"{name.capitalize()} slices" for name in tables]
    gap = 0.35 / len(tables)
    figure = make_subplots(len(tables), 1, subplot_titles=titles, vertical_spacing=gap)
    for number, (name, table) in enumerate(tables.items(), 1):
        weights, at = read_attention(table)
        low, high = AXIS_ENDS[PLANE_AXES[name]]
        figure.add_heatmap(
            x=at, y=at, z=weights, zmin=0, zmax=1, colorscale="Plasma", showscale=number == 1, name=name,
            colorbar={"title": "weight"}, row=number, col=1,
            hovertemplate=f"{name} slices at %{{y:.0f}} mm: weight %{{z:.2f}} of those at %{{x:.0f}} mm<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title=f"Slices that are looked at, {low} to {high} (mm)", row=number, col=1)
        figure.update_yaxes(title="Slices (mm)", rangemode="normal", row=number, col=1)
    figure.update_layout(template=CHART_TEMPLATE, height=260 * len(tables), showlegend=False)
    return explain(
        figure,
        "From which slices the network takes what it needs for the slices of each line. A bright diagonal: from the "
        "slices themselves; a bright column: all look at one place.",
    )
