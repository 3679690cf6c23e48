"""Words: the small pieces of HTML on the page. Everything that comes from a file or a user is escaped."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np

from medapp.card import Card
from medapp.examples import Example
from medapp.imaging.geometry import slice_axis, to_display_slices
from medapp.imaging.volume import Grid
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.io.validation import DISK_FULL_MESSAGE, is_disk_full
from medapp.presenters.base import Presenter
from medapp.presenters.catalogue import get_metric, get_title
from medapp.presenters.task import Task
from medapp.result import NOT_A_DIAGNOSIS, Result, Table
from medapp.ui.workspace import LIFETIME

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
    return '<div class="med-head"><h1>medapp</h1><p>Put your scan in, see what published methods make of it.</p></div>'


def render_banner() -> str:
    minutes = LIFETIME // 60 + 10
    return (
        f'<div class="med-banner" role="note"><strong>{escape(NOT_A_DIAGNOSIS)}</strong> '
        "Uploads and results are seen by you alone and stay on the machine that runs this page, "
        f"which deletes them within {minutes} minutes.</div>"
    )


def render_method(card: Card) -> str:
    return (
        f'<div class="med-about"><p>{escape(card.about)}</p>'
        "<details><summary>What it was trained on, how good it is, its limits</summary>"
        f"<p><b>Trained on</b> {escape(card.trained_on)}</p><p><b>Scores</b> {escape(card.scores)}</p>"
        f"<p><b>Limits</b> {escape(card.limits)}</p><p><b>Licence of the weights</b> {escape(card.licence)}</p>"
        f"<p><b>Cite</b> {escape(card.cite)}</p></details></div>"
    )


def render_welcome(task: Task) -> str:
    return (
        f'<div class="med-status"><h2>{escape(task.about)}</h2>'
        f"<p>Put a scan in and press <b>{escape(task.run)}</b>, or click an example.</p></div>"
    )


def summarize_result(presenter: Presenter, result: Result) -> str:
    """The sentence of the result, after the doubt there is about what was put in."""
    return f"{result.doubt} {presenter.headline(result)}".strip()


def render_headline(sentence: str, notes: Sequence[str], warnings: Sequence[str] = ()) -> str:
    """The top of a result: its sentence, a coloured box of warnings, then the notes."""
    boxed = (
        f'<div class="med-warning"><strong>Check this first</strong>{_render_list(warnings)}</div>' if warnings else ""
    )
    return f'<div class="med-status" role="status"><h2>{escape(sentence)}</h2>{boxed}{_render_list(notes)}</div>'


def _render_list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def render_question(sentence: str) -> str:
    return f'<div class="med-status" role="status"><h2>Which one?</h2><p>{escape(sentence)}</p></div>'


def render_metrics(result: Result) -> str:
    """The metrics, and what the lesion table's values mean."""
    said = {
        get_title(n): "not defined" if m.value is None else f"{m.value} {m.unit}" for n, m in result.metrics.items()
    }
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in said.items())
    said_once = dict.fromkeys(table.about for table in result.tables.values() if table.about)
    abouts = "".join(f"<p>{escape(about)}</p>" for about in said_once)
    return f'<dl class="med-numbers">{cells}</dl><div class="med-small">{abouts}</div>'


def render_table(table: Table) -> str:
    """A table besides that of the lesions; its values are said by `numbers`."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{'' if cell is None else escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in table.rows
    )
    return f'<table class="med-known"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def render_image_quality(result: Result) -> str:
    """The figures before and after beside each other, and what they refer to."""
    values = {name: metric for name, metric in result.metrics.items() if metric.value is not None}
    rows = ""
    for name in QUALITY_METRICS:
        if name not in values:
            continue
        unit, old = values[name].unit, values.get(f"{name}_before")
        cells = [f"{old.value:.4g}" if old else "", f"{values[name].value:.4g}"]
        cells += [escape(unit), escape(get_metric(name).help)]
        line = "".join(f"<td>{cell}</td>" for cell in cells)
        rows += f'<tr><th scope="row">{escape(get_title(name))}</th>{line}</tr>'
    head = "".join(f'<th scope="col">{column}</th>' for column in ("Metric", "Before", "Restored", "Unit", "Meaning"))
    table = f'<table class="med-figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>' if rows else ""
    said = [f"{values['regions'].value} regions." if "regions" in values else ""]
    if "data_range" in values:
        span = values["data_range"]
        said += [f"PSNR and SSIM refer to a data range of {span.value:g} {span.unit}".rstrip() + ", over all slices."]
    else:
        said += ["No clean image was given, so nothing says how near this is to the truth."]
    return f'{table}<p class="med-small">{escape(" ".join(said).strip())}</p>'


def render_difference_help(seen: Any) -> str:
    """What the signed maps show."""
    unit = f"{seen.unit}".strip()
    end = f"±{seen.span:g} {unit}".rstrip()
    if "Reference" in seen.stacks:
        said = f"What is wrong before and after: image minus reference, both from {end}. Black is no error."
    else:
        said = (
            f"What was changed: restored minus before, {end}. It should look like noise: an edge or an organ that "
            "shows here was changed too. With a clean image to compare with, this becomes a map of the error."
        )
    colours = "Orange: the value is too high, or was raised. Blue: too low, or lowered."
    return f'<p class="med-small">{escape(said)} {colours}</p>'


def render_region_count(count: int, here: int, draft: Any) -> str:
    """How many regions there are, and how they were found."""
    where = f", {here} in this slice" if len(draft.stack) > 1 else ""
    how = REGION_SOURCES.get(draft.source, draft.source) + (", changed by hand" if draft.is_edited else "")
    return f'<div class="med-regions" role="status"><b>{count} regions</b>{where} ({escape(how)}).</div>'


def render_hint(said: str) -> str:
    """What a click does, or did."""
    return f'<div class="med-regions" role="status">{escape(said)}</div>'


def describe_region(draft: Any, number: int) -> str:
    """One region of the slice shown: its number, size and mean."""
    inside = draft.stack[draft.slice_index] == number
    values = to_display_slices(draft.image.array, draft.image.grid)[draft.slice_index][inside]
    axis = slice_axis(draft.image.grid)
    pixel = float(np.prod(np.delete(draft.image.spacing, axis)))
    size = f"{int(inside.sum())} pixels"
    if NO_PIXEL_SIZE_REMARK not in draft.image.remarks:
        size += f", {inside.sum() * pixel:.0f} mm²"
    mean = "" if draft.image.is_colour else f", mean {float(values.mean()):.4g} {draft.image.unit}".rstrip()
    return f"Region {number}: {size}{mean}."


def render_provenance(result: Result, card: Card) -> str:
    facts = result.facts()
    weights = facts["weights"]
    rows = {
        "Pipeline": f"{card.name}: {card.title}",
        "Weights": f"{weights.get('file', '')} ({weights.get('source', '')})",
        "sha256": weights.get("sha256", ""),
        "Device": f"{facts['device']}, {facts['engine']}, {facts['precision']}",
        "Time": f"{facts['seconds']:.1f} s, peak memory {facts['peak_memory_mb']:.0f} MB",
        "Options": ", ".join(f"{k} = {v}" for k, v in facts["settings"].items() if v != ""),
        "Versions": ", ".join(f"{k} {v}" for k, v in facts["versions"].items()),
        "Licence of the weights": card.licence,
        "Cite": card.cite,
    }
    body = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>' for k, v in rows.items())
    return f'<table class="med-origin">{body}</table>'


def position_at_shares(grid: Grid, shares: Sequence[float]) -> np.ndarray:
    """(3,) RAS+ millimetres at shares (0 to 1) of the grid's box: right to left, back to front, foot to head."""
    corners = grid.to_mm(np.array(np.meshgrid(*((0, n - 1) for n in grid.shape))).reshape(3, -1).T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    share = np.array([1 - shares[0], shares[1], shares[2]])
    return low + share * (high - low)


def describe_method(card: Card) -> dict[str, str]:
    """What else a report says of the method."""
    return {
        "Trained on": card.trained_on,
        "Scores": card.scores,
        "Limits": card.limits,
        "Licence of the weights": card.licence,
        "Cite": card.cite,
    }


def add_example_note(result: Result, example: Example) -> Result:
    """The result of an example, with where the example comes from among its notes."""
    kind = "Synthetic example." if example.synthetic else "Example."
    about = example.about.removeprefix("Synthetic. ")
    return replace(
        result, notes=(f"{kind} {about} Source: {example.source}. Licence: {example.licence}.", *result.notes)
    )


def explain_error(error: Exception) -> str:
    """What an exception that nobody expected means to the user; never its own text."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error).lower()):
        return "The memory of this machine does not suffice for this image; a smaller or a coarser one may do."
    if is_disk_full(error):
        return f"{DISK_FULL_MESSAGE} Try again in an hour."
    return (
        "Something went wrong in the app itself: the fault is ours, not your file's. What was shown before is still "
        f"there. If you report it, say: {type(error).__name__}."
    )
