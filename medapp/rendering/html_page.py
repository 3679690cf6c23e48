"""Markup: pieces of an HTML page that stands alone, all text escaped."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image

PAGE_STYLE = """
:root { color-scheme: light }
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 60rem; margin: 1rem auto }
main { padding: 0 1rem }
h1 { font-size: 1.5rem; margin: .8rem 0 .3rem }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem; break-after: avoid }
.notice { border: 2px solid #a33; padding: .5rem .8rem; font-weight: 600; color: #7a1010; background: #fff6f5 }
.warning { border: 2px solid #b45309; padding: .5rem .8rem; margin: .6rem 0; background: #fff8eb }
.warning ul { margin: .3rem 0 0 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #ddd; overflow-wrap: anywhere }
thead th { border-bottom: 2px solid #888; vertical-align: bottom }
tbody th { font-weight: 500 }
.pairs th { width: 38% }
.numbers th, .numbers td { text-align: right }
tr, figure { break-inside: avoid }
figure { margin: .6rem 0 }
img, svg { width: 100%; height: auto; display: block }
img { background: #000 }
figcaption, .about { color: #555; font-size: .87rem; margin-top: .3rem }
.key { display: inline-block; width: .8em; height: .8em; border: 1px solid #555 }
@page { size: A4; margin: 14mm }
@media print { body { margin: 0; max-width: none; font-size: 10pt } * { print-color-adjust: exact } }
"""
PAGE_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{style}</style></head>
<body><main>
{body}
</main></body>
</html>
"""


def render_page(title: str, body: Iterable[str]) -> str:
    """A whole page of pieces of markup."""
    return PAGE_TEMPLATE.format(title=escape(title), style=PAGE_STYLE, body="\n".join(filter(None, body)))


def render_section(title: str, body: str) -> str:
    """The markup `body` under a heading; nothing if it is empty."""
    return f"<section><h2>{escape(title)}</h2>\n{body}</section>" if body else ""


def render_pairs(rows: Iterable[tuple[str, object]]) -> str:
    """A table of names and values; nothing without rows."""
    cells = ((escape(str(name)), escape(str(value))) for name, value in rows)
    body = "".join(f'<tr><th scope="row">{name}</th><td>{value}</td></tr>' for name, value in cells)
    return f'<table class="pairs"><tbody>{body}</tbody></table>' if body else ""


def render_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], about: str = "", *, empty: str, kind: str
) -> str:
    """A table whose first column names the row; `empty` is said in place of rows, `kind` is its class."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{'' if cell is None else escape(str(cell))}</td>" for cell in rest)
        body += f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>'
    body = body or f'<tr><td colspan="{len(columns)}">{escape(empty)}</td></tr>'
    under = f'<p class="about">{escape(about)}</p>' if about else ""
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{under}'


def render_list(texts: Iterable[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def render_warning(texts: Sequence[str]) -> str:
    """A box of what is to be checked before the result is trusted; nothing without texts."""
    return f'<div class="warning" role="note"><b>Check this first</b>{render_list(texts)}</div>' if texts else ""


def render_picture(pixels: np.ndarray, alt: str, caption: str, keys: Iterable[tuple[str, str]] = ()) -> str:
    """uint8 (H, W, 3) as a figure, its caption after the `keys`: a style sheet's colour, and what it stands for."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    marks = "".join(f'<span class="key" style="background:{tint}"></span> {escape(text)}. ' for tint, text in keys)
    image = f'<img alt="{escape(alt)}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{marks}{escape(caption)}</figcaption></figure>"


def render_svg(svg: str, caption: str) -> str:
    """An <svg> as a figure."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"
