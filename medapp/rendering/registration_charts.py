"""Charts of a registration: metrics by region before and after, volume change, displacement arrows."""

import base64
import io

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid
from medapp.rendering import colour
from medapp.rendering.deformation_maps import sample_displacement
from medapp.rendering.lesion_charts import CHART_INK, CHART_TEMPLATE, GRID_LINE_COLOUR, plot_message
from medapp.result import Table

BEFORE_AFTER_COLOURS = (CHART_INK, colour.to_css(colour.get_label_colour(1)))
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
        template=CHART_TEMPLATE, height=110 + 24 * len(rows), barmode="group", bargap=0.25, showlegend=True
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, ticks="")
    figure.update_layout(legend={"y": 1 + 40 / (110 + 24 * len(rows)), "yanchor": "bottom", "traceorder": "normal"})
    title = f"{measure[:1].upper()}{measure[1:]}{end}"
    return figure.update_xaxes(title=title, showgrid=True, gridcolor=GRID_LINE_COLOUR)


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
    return figure.update_layout(
        template=CHART_TEMPLATE, height=300, showlegend=False, bargap=0.02, yaxis_title="Voxels (%)",
        xaxis_title=f"Log Jacobian determinant: left smaller, right larger in the moving image{note}",
    )  # fmt: skip


def plot_arrows(
    picture: np.ndarray, onto: Grid, deformation: Deformation, *, across: int = 28, longer: float = 1.0
) -> go.Figure:
    """Plot arrows from points of the fixed image, on a slice grid (H, W, 1) and its picture, to their place in moving.

    `across` arrows fit the longer side; they are drawn `longer` times their length, and only where the picture is not
    black.
    """
    field = sample_displacement(deformation, onto)
    h, w = onto.shape[:2]
    step = max(1, round(max(h, w) / across))
    rows, columns = (a.ravel() for a in np.mgrid[step // 2 : h : step, step // 2 : w : step])
    bright = picture.max(axis=2)[rows, columns] > 20
    rows, columns = rows[bright], columns[bright]
    vectors = field[rows, columns]
    length = np.linalg.norm(vectors, axis=1)
    shift = (vectors @ np.linalg.inv(onto.affine[:3, :3]).T) * longer
    figure = go.Figure()
    limits = np.quantile(length, (0.25, 0.5, 0.75, 0.95)) if len(length) else np.zeros(4)
    bins = np.digitize(length, limits)
    for number in range(5):
        chosen = bins == number
        if not chosen.any():
            continue
        low, high = length[chosen].min(), length[chosen].max()
        red, green, blue = (int(c) for c in colour.apply_colour_map(np.float32(0.35 + 0.15 * number), "plasma"))
        tint = colour.to_css((red, green, blue))
        nothing = np.full(chosen.sum(), np.nan)
        x = np.stack([columns[chosen], columns[chosen] + shift[chosen, 1], nothing], axis=1).ravel()
        y = np.stack([rows[chosen], rows[chosen] + shift[chosen, 0], nothing], axis=1).ravel()
        figure.add_scatter(
            x=np.float32(x), y=np.float32(y), mode="lines+markers", name=f"{low:.1f} to {high:.1f} mm",
            line={"color": tint, "width": 1.5}, customdata=np.float32(length[chosen].repeat(3)),
            marker={"symbol": "arrow", "angleref": "previous", "color": tint, "size": [0, 7, 0] * int(chosen.sum())},
            hovertemplate="%{customdata:.2f} mm<extra></extra>",
        )  # fmt: skip
    figure.add_layout_image(
        source=_encode_picture(picture),
        x=-0.5,
        y=-0.5,
        sizex=w,
        sizey=h,
        xref="x",
        yref="y",
        sizing="stretch",
        layer="below",
    )
    figure.update_layout(template=CHART_TEMPLATE, height=680, margin={"l": 8, "r": 8, "t": 48, "b": 8}, showlegend=True)
    figure.update_xaxes(range=[-0.5, w - 0.5], visible=False, constrain="domain")
    return figure.update_yaxes(range=[h - 0.5, -0.5], visible=False, scaleanchor="x", constrain="domain")


def _encode_picture(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
