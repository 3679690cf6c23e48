"""HTML page: the parts of a report that needs no other file and no network. All text is escaped."""

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from medapp.rendering.html_templates import HtmlTemplates

TEMPLATES = HtmlTemplates(Path(__file__).parent / "templates", macros="report_parts.html")


def render_page(title: str, body: Iterable[str], *, notice: str = "") -> str:
    """Return a whole page: a boxed notice, if any, the title as heading, and the parts of `body` that are not empty."""
    return TEMPLATES.render("report.html", title=title, body=list(body), notice=notice)


def render_section(title: str, body: str) -> str:
    """Return the HTML `body` under a heading; nothing if it is empty."""
    return TEMPLATES.render_macro("section", title, body) if body else ""


def render_pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values; nothing without rows."""
    rows = list(rows)
    return TEMPLATES.render_macro("pairs", rows) if rows else ""


def render_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], about: str = "", *, empty: str, kind: str
) -> str:
    """Return a table with `about` below; the first column names the row.

    Without rows it says `empty`. `kind` is its class in the style sheet. None gives an empty cell.
    """
    return TEMPLATES.render_macro("table", columns, list(rows), about, empty, kind)


def render_list(sentences: Iterable[str]) -> str:
    """Return a list of sentences."""
    return TEMPLATES.render_macro("bullets", list(sentences))


def render_warning(sentences: Sequence[str]) -> str:
    """Return a box of what to check before the result is trusted; nothing without sentences."""
    return TEMPLATES.render_macro("warning", sentences) if sentences else ""


def render_picture(pixels: np.ndarray, alt: str, caption: str, keys: Iterable[tuple[str, str]] = ()) -> str:
    """Return a figure of uint8 pixels (H, W, 3); `keys` are CSS colours and their meanings, before the caption."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return TEMPLATES.render_macro("picture", data, alt, caption, list(keys))


def render_svg(svg: str, caption: str) -> str:
    """Return an <svg> as a figure."""
    return TEMPLATES.render_macro("drawing", svg, caption)
