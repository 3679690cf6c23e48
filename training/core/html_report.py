"""Stand-alone HTML pages with Plotly charts and sortable tables."""

from collections.abc import Iterable, Sequence
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from medapp.rendering import html_page

PAGE_STYLE = "body { max-width: 80rem } .wide { overflow-x: auto } .wide th, .wide td { overflow-wrap: normal }"
SORT_SCRIPT = """
document.querySelectorAll(".sortable").forEach((table) => {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    let up = 1;
    head.tabIndex = 0;
    head.title = "Sort";
    head.style.cursor = "pointer";
    head.onclick = () => {
      const text = (row) => row.cells[column].textContent;
      const both = (a, b) => (a === "" || b === "" ? (a === "") - (b === "") : up * (a - b || a.localeCompare(b)));
      body.append(...[...body.rows].sort((a, b) => both(text(a), text(b))));
      up = -up;
    };
    head.onkeydown = (event) => event.key === "Enter" && head.onclick();
  });
});
"""


def render_page(title: str, body: Iterable[str]) -> str:
    """Return a page that stands alone: it holds Plotly's library, and a click on a title sorts its tables."""
    head = f"<style>{PAGE_STYLE}</style><script>{get_plotlyjs()}</script>"
    return html_page.render_page(title, [head, *body, f"<script>{SORT_SCRIPT}</script>"])


def render_figure(name: str, figure: go.Figure) -> str:
    """Return a chart under its name; Plotly's library is on the page already."""
    config = {"displaylogo": False, "responsive": True}
    return f"<h3>{escape(name)}</h3>" + figure.to_html(full_html=False, include_plotlyjs=False, config=config)


def render_table(columns: Sequence[str], rows: Iterable[Iterable[object]], about: str) -> str:
    """Return a table that may be wider than the page and is sorted by a click, with `about` below it."""
    cells = [list(row) for row in rows]
    table = html_page.render_table(columns, cells, about, empty="None", kind="numbers sortable")
    return f'<div class="wide">{table}</div>'
