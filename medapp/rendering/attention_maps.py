"""Attention among slices: heat maps, bars, and an overlay on the image."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from nibabel.affines import from_matvec
from plotly.subplots import make_subplots

from medapp.analysis.ms_lesions import PLANE_AXES, find_axis, project_on_axis, read_attention
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import annotations, colour, planes
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.rendering.lesion_charts import AXIS_ENDS, CHART_INK, CHART_TEMPLATE, plot_message
from medapp.rendering.slice_grids import Plane
from medapp.result import Table

ATTENTION_COLOUR_MAP = "plasma"
SIDE_VIEWS: dict[str, Plane] = {"coronal": "sagittal", "sagittal": "coronal", "axial": "sagittal"}
"""Plane of the slices -> the plane in which they are seen edge-on."""
VOXELS_PER_SLAB = 8  # so that the borders of slabs are sharp
NO_ATTENTION = "No attention: the head was too large for one pass"


def plot_attention(tables: Mapping[str, Table], plane: str = "", row: int = 0) -> go.Figure:
    """Plot a heat map for each plane: attending slices down, attended slices across; one row may be framed."""
    if not tables:
        return plot_message(NO_ATTENTION)
    figure = make_subplots(
        1, len(tables), subplot_titles=[name.capitalize() for name in tables], horizontal_spacing=0.1
    )
    for number, (name, table) in enumerate(tables.items(), 1):
        weights, at = read_attention(table)
        low, high = AXIS_ENDS[PLANE_AXES[name]]
        figure.add_heatmap(
            x=at, y=at, z=weights, zmin=0, zmax=1, colorscale=ATTENTION_COLOUR_MAP, showscale=number == len(tables),
            name=name, colorbar={"title": "weight"}, row=1, col=number,
            hovertemplate=f"{name} slice at %{{y:.0f}} mm: weight %{{z:.2f}} of %{{x:.0f}} mm<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title=f"Attended slice, {low} to {high} (mm)", row=1, col=number)
        figure.update_yaxes(title="Attending slice (mm)" if number == 1 else "", rangemode="normal", row=1, col=number)
        if name == plane:
            half = (at[-1] - at[0]) / max(len(at) - 1, 1) / 2
            box = {"x0": at[0] - half, "x1": at[-1] + half, "y0": at[row] - half, "y1": at[row] + half}
            figure.add_shape(
                **box, line={"color": colour.to_css(colour.get_label_colour(1)), "width": 3}, row=1, col=number
            )
    return figure.update_layout(template=CHART_TEMPLATE, height=380)


def plot_attention_row(table: Table, plane: str, row: int) -> go.Figure:
    """Plot the weights of one slice as bars, oriented like the picture of `draw_attention`; its own bar is grey."""
    weights, at = read_attention(table)
    tints = [CHART_INK if n == row else colour.to_css(colour.get_label_colour(1)) for n in range(len(at))]
    low, high = AXIS_ENDS[PLANE_AXES[plane]]
    title, hover = f"Slice position, {low} to {high} (mm)", "%{customdata:.0f} mm: %{text:.2f}<extra></extra>"
    common = {"marker_color": tints, "customdata": at, "text": weights[row], "textposition": "none"}
    if plane == "axial":
        figure = go.Figure(go.Bar(x=weights[row], y=at, orientation="h", hovertemplate=hover, **common))
        figure.update_xaxes(title="Weight", range=[0, 1]).update_yaxes(title=title, rangemode="normal")
    else:
        figure = go.Figure(go.Bar(x=at, y=weights[row], hovertemplate=hover, **common))
        figure.update_yaxes(title="Weight", range=[0, 1]).update_xaxes(title=title, autorange="reversed")
    return figure.update_layout(template=CHART_TEMPLATE, height=420)


def draw_attention(image: Volume, table: Table, plane: str, row: int, mm: np.ndarray, height: int = 420) -> np.ndarray:
    """Draw the image through `mm` (RAS+ mm) with the slices seen edge-on: uint8 (H, W, 3).

    Each slab is coloured by its weight for the chosen one, which is framed.
    """
    weights, at = read_attention(table)
    tint = make_slabs(image.grid, PLANE_AXES[plane], at, weights[row].astype(np.float32))
    own = make_slabs(image.grid, PLANE_AXES[plane], at, (np.arange(len(at)) == row).astype(np.uint8))
    layers = [
        Layer(image),
        Layer(
            tint, "heat", Window(0, max(float(weights[row].max()), 1e-6)), opacity=0.7, colour_map=ATTENTION_COLOUR_MAP
        ),
        Layer(own, "mask", opacity=0.9, contour=2),
    ]
    panels = planes.lay_out_planes(layers[:1], mm, height=height)
    grid = next((panel.grid for panel in panels if panel.plane == SIDE_VIEWS[plane]), panels[0].grid)
    return annotations.add_directions(planes.paint_layers(layers, grid), grid, 18)


def make_slabs(grid: Grid, axis: int, at: np.ndarray, values: np.ndarray) -> Volume:
    """Make a volume of slabs with values (L,) at positions (L,) along a RAS axis, across an image's grid."""
    own = find_axis(grid, axis)
    middle = (np.array(grid.shape) - 1) / 2
    middle[own] = 0
    index = (at - grid.to_mm(middle)[axis]) / grid.affine[axis, own]
    step = (index[-1] - index[0]) / max(len(at) - 1, 1) or grid.shape[own]
    size, offset = np.array(grid.shape, float), middle
    size[own], offset[own] = step / VOXELS_PER_SLAB, index[0] - step / 2 + step / 2 / VOXELS_PER_SLAB
    shape = np.ones(3, int)
    shape[own] = len(at) * VOXELS_PER_SLAB
    return Volume(np.repeat(values, VOXELS_PER_SLAB).reshape(shape), grid.affine @ from_matvec(np.diag(size), offset))


def find_row(table: Table, grid: Grid, plane: str, mm: np.ndarray) -> int:
    """Find the row of the table whose slab contains a point in RAS+ mm."""
    return int(np.abs(read_attention(table)[1] - project_on_axis(grid, PLANE_AXES[plane], mm)).argmin())
