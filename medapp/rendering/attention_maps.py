"""Attention: which slices a slice draws on, as heat maps, as bars, and painted over the image."""

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

ATTENTION_COLOUR_MAP = "cividis"  # of evenly rising lightness, also for the colour-blind
SIDE_VIEWS: dict[str, Plane] = {"coronal": "sagittal", "sagittal": "coronal", "axial": "sagittal"}
"""Plane of the slices -> the plane of the picture in which they are seen from the edge."""
VOXELS_PER_SLAB = 8  # voxels a slab, so that its borders are sharp
NO_ATTENTION = "The attention is not known: the head was too large to be seen at once"


def plot_attention(tables: Mapping[str, Table], plane: str = "", row: int = 0) -> go.Figure:
    """A heat map for each plane: slices that draw from above down, slices drawn on across; a row of one is framed."""
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
            hovertemplate=f"{name} slice at %{{y:.0f}} mm draws %{{z:.2f}} on %{{x:.0f}} mm<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title=f"drawn on, {low} to {high} (mm)", row=1, col=number)
        figure.update_yaxes(title="draws (mm)" if number == 1 else "", rangemode="normal", row=1, col=number)
        if name == plane:
            half = (at[-1] - at[0]) / max(len(at) - 1, 1) / 2
            box = {"x0": at[0] - half, "x1": at[-1] + half, "y0": at[row] - half, "y1": at[row] + half}
            figure.add_shape(
                **box, line={"color": colour.to_css(colour.get_label_colour(1)), "width": 3}, row=1, col=number
            )
    return figure.update_layout(template=CHART_TEMPLATE, height=380)


def plot_attention_row(table: Table, plane: str, row: int) -> go.Figure:
    """Bars: how much the slice draws on each, beside the picture of `strip` and turned like it; its own bar is grey."""
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
    """The image through `mm` (RAS+ millimetres) with the slices from the edge: uint8 (H, W, 3).

    Each row of blocks is tinted by how much the chosen one, in a frame, draws on it.
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
    sheet = next((panel.sheet for panel in panels if panel.plane == SIDE_VIEWS[plane]), panels[0].sheet)
    return annotations.add_directions(planes.paint_layers(layers, sheet), sheet, 18)


def make_slabs(grid: Grid, axis: int, at: np.ndarray, values: np.ndarray) -> Volume:
    """A value (L,) for each row of blocks at positions (L,) along a RAS axis, as thick slabs across an image's grid."""
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
    """The row of blocks in which a point, RAS+ millimetres, lies."""
    return int(np.abs(read_attention(table)[1] - project_on_axis(grid, PLANE_AXES[plane], mm)).argmin())
