"""Charts of the attention that the slices of a head receive from each other."""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from medapp.analysis.ms_lesions import PLANE_AXES, read_attention
from medapp.rendering import colour
from medapp.rendering.lesion_charts import AXIS_ENDS, CHART_INK, CHART_TEMPLATE, explain, plot_message
from medapp.result import Table

NO_ATTENTION = "No attention: the head was too large for one pass"


def plot_attention(tables: Mapping[str, Table]) -> go.Figure:
    """Plot for each plane the share of the attention (%) that each slab of slices receives, over its position."""
    if not tables:
        return plot_message(NO_ATTENTION)
    titles = [f"{name.capitalize()} slices" for name in tables]
    figure = make_subplots(len(tables), 1, subplot_titles=titles, vertical_spacing=0.42 / len(tables))
    for number, (name, table) in enumerate(tables.items(), 1):
        weights, at = read_attention(table)
        low, high = AXIS_ENDS[PLANE_AXES[name]]
        figure.add_bar(
            x=at, y=100 * weights.mean(axis=0), marker_color=colour.to_css(colour.get_label_colour(1)), name=name,
            hovertemplate=f"{name} slices at %{{x:.0f}} mm: %{{y:.0f}} % of the attention<extra></extra>",
            row=number, col=1,
        )  # fmt: skip
        figure.add_hline(100 / len(at), line_dash="dash", line_color=CHART_INK, row=number, col=1)
        figure.update_xaxes(title=f"{low.capitalize()} to {high} (mm)", row=number, col=1)
        figure.update_yaxes(title="Attention (%)", row=number, col=1)
    figure.update_layout(template=CHART_TEMPLATE, height=220 * len(tables), showlegend=False)
    return explain(
        figure,
        "How much of its attention the network gives to the slices at each place, for its answer in all slices. "
        "Dashed: if all had the same share. High bars are places that it relies on.",
    )
