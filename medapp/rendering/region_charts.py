"""Charts of the table of brain regions."""

import numpy as np
import plotly.graph_objects as go

from medapp.imaging.brain_labels import split_side
from medapp.rendering import colour
from medapp.rendering.lesion_charts import CHART_INK, CHART_TEMPLATE, GRID_LINE_COLOUR, explain, plot_message
from medapp.result import Table

VOLUME_TICKS = [0.01, 0.1, 1, 10, 100, 1000]  # ml
NO_REGION = "No region was found"
SIDE_COLOURS = {
    "Left": colour.to_css(colour.get_label_colour(2)),
    "Right": colour.to_css(colour.get_label_colour(1)),
    "": CHART_INK,
}


def plot_region_volumes(table: Table) -> go.Figure:
    """Plot the volume of each structure as dots, left and right on one line, in the table's order."""
    values = _read_by_side(table, "volume (ml)")
    values = {key: ml for key, ml in values.items() if ml > 0}
    structures = list(dict.fromkeys(structure for _, structure in values))
    if not values:
        return plot_message(NO_REGION)
    ends = [float(np.log10(ml)) + step for ml, step in ((min(values.values()), -0.2), (max(values.values()), 0.2))]
    figure = go.Figure()
    for structure in structures:
        pair = [values[side, structure] for side in ("Left", "Right") if (side, structure) in values]
        line = {"color": GRID_LINE_COLOUR, "width": 4}
        figure.add_scatter(x=pair, y=[structure] * len(pair), mode="lines", line=line, showlegend=False)
    for side, tint in SIDE_COLOURS.items():
        shown = [structure for structure in structures if (side, structure) in values]
        figure.add_scatter(
            x=[values[side, structure] for structure in shown], y=shown, mode="markers", name=side or "Middle",
            marker={"color": tint, "size": 11}, hovertemplate=f"{side} %{{y}}: %{{x:.3g}} ml<extra></extra>",
        )  # fmt: skip
    figure = _set_layout(figure, structures, 22).update_xaxes(
        title="Volume (ml), logarithmic", type="log", tickvals=VOLUME_TICKS, tickangle=0, range=ends
    )
    return explain(
        figure, "Dots of one line that lie apart are structures whose sides differ; most of a healthy brain's do not."
    )


def plot_region_dice(table: Table) -> go.Figure:
    """Plot the Dice of each structure as bars, left beside right."""
    if "Dice" not in table.columns:
        return plot_message("Needs a reference label map")
    values = _read_by_side(table, "Dice")
    structures = list(dict.fromkeys(structure for _, structure in values))
    if not values:
        return plot_message(NO_REGION)
    figure = go.Figure()
    for side, tint in SIDE_COLOURS.items():
        shown = [structure for structure in structures if (side, structure) in values]
        figure.add_bar(
            y=shown, x=[values[side, structure] for structure in shown], orientation="h", marker_color=tint,
            name=side or "Middle", hovertemplate=f"{side} %{{y}}: Dice %{{x:.3f}}<extra></extra>",
        )  # fmt: skip
    figure = _set_layout(figure, structures, 30).update_xaxes(title="Dice", range=[0, 1])
    return explain(figure, "Overlap of each region with the reference: 1 is full. Small regions have less by nature.")


def _read_by_side(table: Table, column: str) -> dict[tuple[str, str], float]:
    """Side and structure to the value of a column, where there is one."""
    at = table.columns.index(column)
    return {split_side(str(row[0])): row[at] for row in table.rows if row[at] is not None}


def _set_layout(figure: go.Figure, structures: list[str], line_height: int) -> go.Figure:
    height = 60 + line_height * len(structures)
    figure.update_layout(template=CHART_TEMPLATE, height=height, barmode="group", bargap=0.25, showlegend=True)
    figure.update_yaxes(
        autorange="reversed",
        automargin=True,
        showgrid=False,
        ticks="",
        categoryorder="array",
        categoryarray=structures,
        tickfont_size=10,
    )
    return figure.update_xaxes(showgrid=True, gridcolor=GRID_LINE_COLOUR)
