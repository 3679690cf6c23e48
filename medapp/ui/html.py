"""HTML of the page: its small pieces, from templates that escape all text, and the sentences in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medapp.analysis.rater_agreement import PAIRS, PERFORMANCE
from medapp.card import Card
from medapp.imaging.geometry import slice_axis, to_display_slices
from medapp.imaging.volume import Grid, Volume
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.presenters.catalogue import BEFORE, get_metric, get_title
from medapp.presenters.task import Task
from medapp.rendering.html_templates import HtmlTemplates
from medapp.result import NOT_A_DIAGNOSIS, Result, Table
from medapp.ui.workspace import LIFETIME

TEMPLATES = HtmlTemplates(Path(__file__).parent / "templates", macros="page_parts.html")
QUALITY_METRICS = ("psnr", "ssim", "rmse", "bias", "noise")
REGION_SOURCES = {
    "mobilesam": "found by MobileSAM",
    "superpixels": "superpixels",
    "one": "one region for all",
    "uploaded": "from your file",
    "sam_vit_b": "found by SAM ViT-B",
    "sam_vit_l": "found by SAM ViT-L",
    "sam_vit_h": "found by SAM ViT-H",
}


def render_header() -> str:
    """Return the page's title, and the notice that this is no medical device and for how long files are kept."""
    return TEMPLATES.render_macro("header", NOT_A_DIAGNOSIS, LIFETIME // 60 + 10)


def render_whose(card: Card) -> str:
    """Return the name of the method that has made the shown result."""
    return TEMPLATES.render_macro("whose", card)


def render_method(card: Card) -> str:
    """Return what a method does, and, folded away, its training data, scores, limits, licence and citation."""
    return TEMPLATES.render_macro("method", card)


def render_welcome(task: Task) -> str:
    """Return what stands in place of a result before there is one."""
    return TEMPLATES.render_macro("welcome", task)


def summarize_result(result: Result, headline: str) -> str:
    """Return the headline of a result, after any doubt about what was put in."""
    return f"{result.doubt} {headline}".strip()


def render_headline(sentence: str, notes: Sequence[str], warnings: Sequence[str] = (), example: str = "") -> str:
    """Return the top of a result: its sentence, a coloured box of warnings, the notes, and what the example is."""
    return TEMPLATES.render_macro("headline", sentence, notes, warnings, example)


def render_failure(sentence: str) -> str:
    """Return why nothing came of a run."""
    return TEMPLATES.render_macro("failure", sentence)


def render_question(sentence: str) -> str:
    """Return the question which of several series is meant."""
    return TEMPLATES.render_macro("question", sentence)


def render_metrics(result: Result) -> str:
    """Return the metrics, and below them what the tables' values mean."""
    rows = [
        (get_title(key), "not defined" if metric.value is None else f"{metric.value} {metric.unit}")
        for key, metric in result.metrics.items()
    ]
    help_sentences = dict.fromkeys(table.about for table in result.tables.values() if table.about)
    return TEMPLATES.render_macro("metrics", rows, list(help_sentences))


def render_table(table: Table) -> str:
    """Return a table; what its values mean is part of `render_metrics`."""
    return TEMPLATES.render_macro("table", table.columns, table.rows)


def render_comparison(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table whose first column names the row, numbers with four digits; nothing without rows."""
    cells = [[_format_cell(cell) for cell in row] for row in rows]
    return TEMPLATES.render_macro("comparison", columns, cells)


def _format_cell(value: object) -> object:
    return "" if value is None else f"{value:.4g}" if isinstance(value, int | float) else value


def render_metric_comparison(result: Result, keys: Sequence[str], before: str, after: str) -> str:
    """Return a table of those of the metrics that the result has; `before` and `after` title the values' columns."""
    metrics = {key: metric for key, metric in result.metrics.items() if metric.value is not None}
    rows = []
    for key in keys:
        if key in metrics:
            definition, old = get_metric(key), metrics.get(f"{key}{BEFORE}")
            values = old.value if old else None, metrics[key].value
            rows.append((definition.title, *values, metrics[key].unit, definition.help))
    return render_comparison(("Metric", before, after, "Unit", "Meaning"), rows)


def render_image_quality(result: Result) -> str:
    """Return the metrics before and after restoration side by side, and the data range that they refer to."""
    metrics = {key: metric for key, metric in result.metrics.items() if metric.value is not None}
    sentences = [f"{metrics['regions'].value} regions."] if "regions" in metrics else []
    if "data_range" in metrics:
        data_range = f"{metrics['data_range'].value:g} {metrics['data_range'].unit}".rstrip()
        sentences.append(f"PSNR and SSIM refer to a data range of {data_range}, over all slices.")
    else:
        sentences.append("No clean image was given, so the error is not known.")
    return render_metric_comparison(result, QUALITY_METRICS, "Before", "Restored") + render_help(" ".join(sentences))


def render_chart_title(title: str) -> str:
    """Return the heading of a chart."""
    return TEMPLATES.render_macro("chart_title", title)


def render_table_help(result: Result) -> str:
    """Return what the values of the result's tables mean."""
    return TEMPLATES.render_macro("table_help", [table.about for table in result.tables.values() if table.about])


def render_region_count(count: int, here: int, region_map: Any) -> str:
    """Return how many regions a map has, in all and in the displayed slice, and how they were found."""
    source = REGION_SOURCES.get(region_map.source, region_map.source)
    source += ", changed by hand" if region_map.is_edited else ""
    return TEMPLATES.render_macro("region_count", count, here if len(region_map.stack) > 1 else None, source)


def render_region_prompts(prompts: Mapping[str, str]) -> str:
    """Return, folded away, the prompt that is used by default for each region."""
    return TEMPLATES.render_macro("region_prompts", prompts)


def render_understanding(table: Table | None, problems: Sequence[str]) -> str:
    """Return what was understood of a text, a row for each thing, and what was not."""
    return TEMPLATES.render_macro("understanding", table, problems)


def render_bars(groups: Mapping[str, Sequence[tuple[str, float]]], title: str) -> str:
    """Return bars from 0 to 1 with their names, in groups with headings."""
    return TEMPLATES.render_macro("bars", groups, title)


def render_hint(sentence: str) -> str:
    """Return what a click on the regions does, or has done."""
    return TEMPLATES.render_macro("hint", sentence)


def render_help(sentence: str) -> str:
    """Return a paragraph of help in small type."""
    return TEMPLATES.render_macro("help", sentence)


def render_raters(result: Result) -> str:
    """Return the agreement of raters: a row for each pair of masks, and one for each rater; "" where there are none."""
    tables = [result.tables.get(name) for name in (PAIRS, PERFORMANCE)]
    return TEMPLATES.render_macro("raters", *tables) if tables[0] else ""


class InputRow(NamedTuple):
    """A row of what goes in: title, whose it is ("yours", "example" or "none"), the file's name, and how it fits.

    `level` is one of `serving.input_fit`, "looking" while that is not known, "" for nothing to say.
    """

    title: str
    owner: str
    name: str = ""
    level: str = ""
    sentence: str = ""


def render_inputs(rows: Sequence[InputRow]) -> str:
    """Return the table of what is used."""
    return TEMPLATES.render_macro("inputs", rows)


def describe_region(region_map: Any, number: int) -> str:
    """Describe one region of the displayed slice in a sentence: its number, size and mean."""
    image = region_map.image
    is_inside = region_map.stack[region_map.slice_index] == number
    values = to_display_slices(image.array, image.grid)[region_map.slice_index][is_inside]
    count = int(is_inside.sum())
    size = ", ".join(dict.fromkeys((f"{count} pixels", describe_area(image, count))))
    mean = "" if image.is_colour else f", mean {float(values.mean()):.4g} {image.unit}".rstrip()
    return f"Region {number}: {size}{mean}."


def describe_area(image: Volume, count: int) -> str:
    """Describe the area of so many pixels of a slice: in mm², or in pixels where their size is not known."""
    if NO_PIXEL_SIZE_REMARK in image.remarks:
        return f"{count} pixels"
    area = count * float(np.prod(np.delete(image.spacing, slice_axis(image.grid))))
    return f"{area:.0f} mm²" if area >= 10 else f"{area:.2g} mm²"


def render_provenance(result: Result, card: Card) -> str:
    """Return a table of how the result was computed."""
    facts = result.facts()
    weights = facts["weights"]
    rows = [
        ("Pipeline", f"{card.name}: {card.title}"),
        ("Weights", f"{weights.get('file', '')} ({weights.get('source', '')})"),
        ("sha256", weights.get("sha256", "")),
        ("Device", f"{facts['device']}, {facts['engine']}, {facts['precision']}"),
        ("Time", f"{facts['seconds']:.1f} s, peak memory {facts['peak_memory_mb']:.0f} MB"),
        ("Options", ", ".join(f"{name} = {value}" for name, value in facts["settings"].items() if value != "")),
        ("Versions", ", ".join(f"{name} {version}" for name, version in facts["versions"].items())),
        ("Licence of the weights", card.licence),
        ("Cite", card.cite),
    ]
    return TEMPLATES.render_macro("pairs", rows, "med-origin")


def position_at_shares(grid: Grid, shares: Sequence[float]) -> np.ndarray:
    """Return (3,) RAS+ mm at fractions (0 to 1) of a grid's box: right to left, back to front, foot to head."""
    low, high = grid.corners.min(axis=0), grid.corners.max(axis=0)
    share = np.array([1 - shares[0], shares[1], shares[2]])
    return low + share * (high - low)
