"""The evaluation as one HTML page, with rainclouds, Bland–Altman plots and every case."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from medapp.rendering import colour, html_page, lesion_charts
from training.core.html_report import render_figure, render_page, render_table
from training.core.statistics import Summary, mean_per_patient

Row = dict
TEST_COLUMNS = ("condition", "method", "figure", "n", "difference", "low95", "high95", "p")
SUMMARY_COLUMNS = ("n", "mean", "sd", "median", "q1", "q3", "low95", "high95")
SUMMARY_NOTE = "Over patients, each the mean over their images. low95 to high95: bootstrap interval of the mean."
TEST_NOTE = (
    "Method less ours, patient by patient, with the bootstrap interval of the mean; p of Wilcoxon's signed-rank test, "
    "not corrected for the number of tests, as if pairs that share a person were independent."
)
CASES_NOTE = "A row an image, condition and method. A click on a title sorts."

FEW_PATIENTS = 5  # patients


def render_html(
    rows: list[Row],
    figures: Sequence[str],
    numbers: Mapping[str, Mapping[str, Mapping[str, Summary]]],
    tests: Sequence[Mapping[str, object]],
    about: Mapping[str, object],
) -> str:
    """Return the page. `figures` are the metrics to draw, `numbers` and `tests` come from `training.core.statistics`.

    `about` is what else `summary.json` holds: weights, settings, versions, command. The page loads nothing.
    """
    title = f"Evaluation of {about['pipeline']}"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [
        (condition, group, figure, *(s[key] for key in SUMMARY_COLUMNS))
        for condition, groups in numbers.items()
        for group, summaries in groups.items()
        for figure, s in summaries.items()
        if s["n"]
    ]
    clouds = [
        render_figure(figure, draw_raincloud(rows, figure)) for figure in figures if mean_per_patient(rows, figure)
    ]
    plots = [render_figure(c, picture) for c in numbers if (picture := draw_bland_altman(rows, c))]
    return render_page(
        title,
        [
            html_page.render_section("Where this comes from", html_page.render_pairs(origin_lines(about))),
            html_page.render_section("Figures", "".join(clouds)),
            html_page.render_section("Volume against the reference (Bland–Altman)", "".join(plots)),
            html_page.render_section(
                "Methods against ours", render_table(TEST_COLUMNS, (line.values() for line in tests), TEST_NOTE)
            ),
            html_page.render_section(
                "Summary", render_table(("condition", "group", "figure", *SUMMARY_COLUMNS), lines, SUMMARY_NOTE)
            ),
            html_page.render_section(
                "Every case", render_table(columns, ([row.get(key) for key in columns] for row in rows), CASES_NOTE)
            ),
        ],
    )


def draw_raincloud(rows: list[Row], figure: str) -> go.Figure:
    """Draw half a violin, a box and a point per patient of every condition and group; points alone for few patients."""
    picture = go.Figure()
    groups = list(dict.fromkeys(row["group"] for row in rows))
    conditions = list(dict.fromkeys(row["condition"] for row in rows))
    for condition in conditions:
        for number, group in enumerate(groups):
            mine = [row for row in rows if row["condition"] == condition and row["group"] == group]
            name = f"{condition}, {group}" if len(groups) > 1 else condition
            if values := mean_per_patient(mine, figure):
                shade = colour.to_css(colour.get_label_colour(number + 1))
                look = {"line_color": shade, "box_visible": True}
                if len(values) <= FEW_PATIENTS:  # a density of so few would be made up
                    look = {"line_width": 0, "fillcolor": "rgba(0,0,0,0)", "marker_color": shade}
                picture.add_violin(
                    x=list(values.values()), y=[name] * len(values), text=list(values),
                    hovertemplate="%{text}: %{x:.4g}<extra></extra>", orientation="h",
                    side="negative", width=1.2, points="all", pointpos=0.35, jitter=0.2, spanmode="hard", **look,
                )  # fmt: skip
    picture.update_layout(template=lesion_charts.CHART_TEMPLATE, showlegend=False, height=140 + 60 * len(picture.data))
    picture.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    return picture.update_xaxes(title=figure, showgrid=True, gridcolor=lesion_charts.GRID_LINE_COLOUR)


def draw_bland_altman(rows: list[Row], condition: str) -> go.Figure | None:
    """Draw the difference of the volume from the reference's over their mean, a point per image; None without volumes.

    Of several methods, ours. Lines are the mean difference and 1.96 standard deviations to either side. After Bland and
    Altman 1986, doi:10.1016/S0140-6736(86)90837-8.
    """
    images = [row for row in rows if row["condition"] == condition]
    images = [row for row in images if row["group"] == "ours"] or images
    images = [row for row in images if row.get("volume") is not None and row.get("reference_volume") is not None]
    if not images:
        return None
    ours, theirs = (np.array([row[key] for row in images], float) for key in ("volume", "reference_volume"))
    names = [row.get("image") or row["patient"] for row in images]
    picture = go.Figure(
        go.Scatter(
            x=(ours + theirs) / 2, y=ours - theirs, text=names, mode="markers",
            marker_color=colour.to_css(colour.get_label_colour(1)),
            hovertemplate="%{text}: %{y:.3f} ml at %{x:.3f} ml<extra></extra>",
        )
    )  # fmt: skip
    bias, spread = (ours - theirs).mean(), 1.96 * (ours - theirs).std(ddof=1) if len(images) > 1 else 0.0
    for level, dash in ((bias, "solid"), (bias - spread, "dash"), (bias + spread, "dash")):
        picture.add_hline(level, line_dash=dash, line_color=lesion_charts.CHART_INK, annotation_text=f"{level:.2f} ml")
    picture.update_layout(
        template=lesion_charts.CHART_TEMPLATE, height=360, xaxis_title="Mean of volume and reference (ml)"
    )
    return picture.update_yaxes(title="Volume less reference (ml)", rangemode="normal")


def origin_lines(about: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return what `summary.json` holds beside the scores, a pair a line, without what is empty."""
    lines: list[tuple[str, object]] = []
    for name, value in about.items():
        if isinstance(value, Mapping):
            lines += [(f"{name}, {key}", each) for key, each in value.items()]
        elif value:
            lines.append((name, value))
    return lines
