"""Toggle: a button that changes a tab's layout in the browser, by a class of the row that holds the tab."""

from html import escape
from pathlib import Path

import gradio as gr

SCRIPT = (Path(__file__).parent / "toggle.js").read_text("utf-8")


def lay_out_toggle(row: str, class_name: str, controls: str, label: str, sign: str) -> gr.HTML:
    """A button that gives the element `row` a class or takes it away.

    `controls` is the id of the element that it opens, or closes by a class that ends in "-closed"; `label` is read
    aloud, and `sign` is seen.
    """
    button = (
        f'<button type="button" class="toggle" data-row="{escape(row)}" data-class="{escape(class_name)}" '
        f'aria-controls="{escape(controls)}" aria-expanded="false" aria-label="{escape(label)}" '
        f'title="{escape(label)}">{escape(sign)}</button>'
    )
    return gr.HTML(
        html_template=button,
        js_on_load=SCRIPT,
        apply_default_css=False,
        padding=False,
        elem_classes="toggle-box",
    )
