"""Surfaces of brain regions, and charts of their table."""

import numpy as np
import plotly.graph_objects as go
from scipy import ndimage

from medapp.imaging.brain_labels import region_colours, split_side
from medapp.imaging.volume import Volume
from medapp.rendering import colour, lesion_mesh
from medapp.rendering.lesion_charts import CHART_INK, CHART_TEMPLATE, GRID_LINE_COLOUR, plot_message
from medapp.rendering.slice_grids import is_flat
from medapp.result import Table

NO_REGION = "No region was found"
SIDE_COLOURS = {
    "Left": colour.to_css(colour.get_label_colour(2)),
    "Right": colour.to_css(colour.get_label_colour(1)),
    "": CHART_INK,
}
INNER_STRUCTURES = (
    "Lateral-Ventricle", "Inf-Lat-Ventricle", "3rd-Ventricle", "4th-Ventricle", "Thalamus", "Caudate", "Putamen",
    "Pallidum", "Hippocampus", "Amygdala", "Accumbens", "Ventral-DC", "Brain-Stem",
)  # fmt: skip


def plot_region_surfaces(labels: Volume, brain: Volume) -> go.Figure:
    """Plot the inner structures as surfaces in the translucent brain."""
    if is_flat(labels.grid) or min(labels.shape) < 2:
        return plot_message("A single slice has no surface to show in three dimensions")
    tints, traces = region_colours(labels.labels), []
    ml = np.bincount(labels.array.ravel()) * labels.grid.voxel_ml
    for number, box in enumerate(ndimage.find_objects(labels.array), 1):
        region = labels.labels.get(number, "")
        if box is not None and split_side(region)[1] in INNER_STRUCTURES:
            start, name = np.array([s.start for s in box]), f"{region}, {ml[number]:.3g} ml"
            inside = labels.array[box] == number
            step = 2 if min(inside.shape) > 24 else 1
            traces.append(
                lesion_mesh.make_surface(
                    inside, start, labels.affine, step, name, colour.to_css(tints[number]), smooth=0.8
                )
            )
    if not traces:
        return plot_message(NO_REGION)
    brain_surface = lesion_mesh.make_head_surface(brain)
    return lesion_mesh.assemble_scene([*traces, brain_surface] if brain_surface is not None else traces)


def plot_region_volumes(table: Table) -> go.Figure:
    """Plot the volume of each structure as bars, left beside right, in the table's order, on a logarithmic axis."""
    return _plot_by_side(table, "volume (ml)", "Volume (ml), logarithmic", "%{x:.3g} ml").update_xaxes(
        type="log", tickvals=[0.1, 0.3, 1, 3, 10, 30, 100, 300]
    )


def plot_region_dice(table: Table) -> go.Figure:
    """Plot the Dice of each structure as bars, left beside right."""
    if "Dice" not in table.columns:
        return plot_message("Needs a reference label map")
    return _plot_by_side(table, "Dice", "Dice", "Dice %{x:.3f}").update_xaxes(range=[0, 1])


def _plot_by_side(table: Table, column: str, title: str, hover: str) -> go.Figure:
    at = table.columns.index(column)
    values = {split_side(str(row[0])): row[at] for row in table.rows if row[at] is not None}
    structures = list(dict.fromkeys(structure for _, structure in values))
    if not values:
        return plot_message(NO_REGION)
    figure = go.Figure()
    for side, tint in SIDE_COLOURS.items():
        shown = [structure for structure in structures if (side, structure) in values]
        figure.add_bar(
            y=shown, x=[values[side, structure] for structure in shown], orientation="h", marker_color=tint,
            name=side or "Middle", hovertemplate=f"{side} %{{y}}: {hover}<extra></extra>",
        )  # fmt: skip
    height = 110 + 30 * len(structures)
    figure.update_layout(template=CHART_TEMPLATE, height=height, barmode="group", bargap=0.25, showlegend=True)
    figure.update_yaxes(
        autorange="reversed", automargin=True, showgrid=False, ticks="", categoryorder="array", categoryarray=structures
    )
    figure.update_layout(legend={"y": 1 + 40 / height, "yanchor": "bottom", "traceorder": "normal"})
    return figure.update_xaxes(title=title, showgrid=True, gridcolor=GRID_LINE_COLOUR)
