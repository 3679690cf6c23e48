"""Charts of a lesion mask and its probability, and the look of all charts, for light and dark pages."""

import textwrap

import numpy as np
import plotly.graph_objects as go

from medapp.imaging.volume import Grid, Volume
from medapp.rendering import colour
from medapp.rendering.slice_grids import slice_axis

CHART_INK = "#767676"  # legible on white and on near black
GRID_LINE_COLOUR = "rgba(128,128,128,0.25)"
NO_LESION = "No lesion at this threshold"
LINE_LENGTH = 42  # characters in a chart of 280 pixels, as the panel has them
AXIS_ENDS = (("left", "right"), ("back", "front"), ("foot", "head"))  # of the RAS axes
UNUSED_TOOLS = ["zoom", "pan", "select", "lasso", "zoomIn", "zoomOut", "autoScale", "resetScale"]
CHART_TEMPLATE = go.layout.Template(
    layout={
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": CHART_INK, "size": 12},
        "margin": {"l": 60, "r": 16, "t": 36, "b": 48},
        "modebar": {"remove": UNUSED_TOOLS, "bgcolor": "rgba(0,0,0,0)"},
        "bargap": 0.08,
        "xaxis": {"showgrid": False, "linecolor": CHART_INK, "ticks": "outside", "zeroline": False},
        "yaxis": {"gridcolor": GRID_LINE_COLOUR, "zeroline": False, "rangemode": "tozero"},
    }
)


def measure_slice_volumes(mask: Volume, grid: Grid | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    """Measure the mask by slice: ascending positions in RAS+ mm (N,), ml (N,), and the title of the axis."""
    grid = grid or mask.grid
    axis = slice_axis(grid)
    world = int(np.argmax(np.abs(grid.affine[:3, axis])))
    counts = (mask.array > 0).sum(axis=tuple(a for a in range(3) if a != axis))
    middle = np.tile((np.array(grid.shape) - 1) / 2, (len(counts), 1))
    middle[:, axis] = np.arange(len(counts))
    mm = grid.to_mm(middle)[:, world]
    order = np.argsort(mm)
    return (
        mm[order],
        counts[order] * grid.voxel_ml,
        f"Slice position, {AXIS_ENDS[world][0]} to {AXIS_ENDS[world][1]} (mm)",
    )


def plot_volume_by_slice(mask: Volume, reference: Volume | None = None, *, noun: str = "lesion") -> go.Figure:
    """Plot the ml of a mask in each slice as bars over its position; the reference, on the same grid, as a line.

    `noun` says what is marked.
    """
    mm, ml, title = measure_slice_volumes(mask)
    other = measure_slice_volumes(reference)[1] if reference is not None else np.zeros_like(ml)
    if not (ml.any() or other.any()):
        return plot_message(NO_LESION if noun == "lesion" else f"No {noun}")
    filled = slice(*_widen_range(np.flatnonzero(ml + other), len(ml)))
    hover = "%{x:.1f} mm: %{y:.3f} ml<extra></extra>"
    figure = go.Figure(
        go.Bar(
            x=_to_float32(mm[filled]),
            y=_to_float32(ml[filled]),
            marker_color=colour.to_css(colour.get_label_colour(1)),
            name="mask",
            hovertemplate=hover,
        )
    )
    if reference is not None:
        line = {"color": colour.to_css(colour.get_label_colour(2)), "width": 2, "shape": "hvh"}
        figure.add_scatter(
            x=_to_float32(mm[filled]),
            y=_to_float32(other[filled]),
            mode="lines",
            line=line,
            name="reference",
            hovertemplate=hover,
        )
    figure = _set_layout(figure, title, "Volume in the slice (ml)", reference is not None)
    return explain(figure, f"How much {noun} each slice holds. The bars add up to the {noun} volume.")


def plot_probability_histogram(probability: Volume, threshold: float | None = None) -> go.Figure:
    """Plot a histogram of the probabilities above 0.01, on a logarithmic axis, with a line at the threshold."""
    counts, edges = np.histogram(probability.array[probability.array > 0.01], 50, (0.0, 1.0))
    if not counts.any():
        return plot_message("No voxel with a probability above 0.01")
    colours = [
        colour.to_css(colour.get_label_colour(1)) if threshold is not None and e >= threshold - 0.01 else CHART_INK
        for e in edges[:-1]
    ]
    figure = go.Figure(
        go.Bar(
            x=_to_float32(edges[:-1] + 0.01), y=counts, width=0.018, marker_color=colours,
            hovertemplate="probability %{x:.2f}: %{y} voxels<extra></extra>",
        )
    )  # fmt: skip
    if threshold is not None:
        figure.add_vline(
            threshold,
            line_dash="dash",
            line_color=CHART_INK,
            annotation_text=f"threshold {threshold:g}",
            annotation_position="top",
        )
    figure.update_yaxes(type="log", rangemode="normal", dtick=1, range=[-0.3, float(np.log10(counts.max())) + 0.3])
    figure.update_xaxes(range=[0, 1])
    figure = _set_layout(figure, "Probability of lesion", "Voxels (logarithmic)")
    return explain(
        figure,
        "How many voxels have which probability. The more there are beside the threshold, the more the lesion volume "
        "depends on it.",
    )


def explain(figure: go.Figure, sentence: str) -> go.Figure:
    """Put a sentence above a chart that says what there is to see, and below it the legend, if the chart has one."""
    lines = textwrap.wrap(sentence, LINE_LENGTH)
    if figure.layout.showlegend:
        named = [trace for trace in figure.data if trace.name and trace.showlegend is not False]
        keys = ((trace.marker.color or trace.line.color, trace.name) for trace in named)
        lines.append("   ".join(f'<span style="color:{tint}">■</span> {name}' for tint, name in keys))
    top = 16 * len(lines) + 24
    height = figure.layout.height + top
    title = {"text": "<br>".join(lines), "font": {"size": 12}, "x": 0.01, "y": 1 - 12 / height, "yanchor": "top"}
    return figure.update_layout(title=title, height=height, margin={"t": top + 8}, showlegend=False)


def plot_message(text: str) -> go.Figure:
    """Return an empty chart with a message."""
    figure = go.Figure(layout={"template": CHART_TEMPLATE, "height": 280})
    figure.add_annotation(text=text, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, font_size=15)
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def _set_layout(figure: go.Figure, across: str, up: str, legend: bool = False) -> go.Figure:
    return figure.update_layout(
        template=CHART_TEMPLATE, height=280, showlegend=legend, xaxis_title=across, yaxis_title=up
    )


def _widen_range(filled: np.ndarray, n: int, margin: int = 3) -> tuple[int, int]:
    return max(0, int(filled[0]) - margin), min(n, int(filled[-1]) + 1 + margin)


def _to_float32(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)
