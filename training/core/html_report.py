"""HTML report: a page that stands alone, with Plotly charts and tables that a click sorts."""

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
    """A whole page that holds plotly's library, and whose tables are sorted by a click."""
    head = f"<style>{PAGE_STYLE}</style><script>{get_plotlyjs()}</script>"
    return html_page.render_page(title, [head, *body, f"<script>{SORT_SCRIPT}</script>"])


def render_figure(named: tuple[str, go.Figure]) -> str:
    """A picture under its name; plotly's library is on the page already."""
    name, picture = named
    config = {"displaylogo": False, "responsive": True}
    return f"<h3>{escape(name)}</h3>" + picture.to_html(full_html=False, include_plotlyjs=False, config=config)


def render_table(columns: Sequence[str], rows: Iterable[Iterable[object]], said: str) -> str:
    """A table that may be wider than the page and is sorted by a click."""
    cells = [list(row) for row in rows]
    return (
        f'<div class="wide">{html_page.render_table(columns, cells, said, empty="None", kind="numbers sortable")}</div>'
    )
