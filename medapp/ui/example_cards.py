"""Example cards: the examples of a tab as pictures to click, with what to look at."""

from collections.abc import Sequence

import gradio as gr

from medapp.examples import Example
from medapp.ui.form import render_thumbnail


def lay_out_example_cards(examples: Sequence[Example], elem_id: str) -> gr.Gallery:
    """A card of each example: its title, and below it in one line what to look at."""
    return gr.Gallery(
        [(render_thumbnail(example), f"{example.title}\n{example.look}".strip()) for example in examples],
        label="Examples",
        show_label=False,
        container=False,
        visible=bool(examples),
        columns=1,
        height="auto",
        allow_preview=False,
        interactive=False,
        format="png",
        buttons=[],
        elem_id=elem_id,
        elem_classes="cards",
    )
