"""Task result: the panel at the right of a tab, with the places that the task's own parts fill."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.presenters.task import Task
from medapp.ui import form as forms
from medapp.ui import html
from medapp.ui.toggle import lay_out_toggle


@dataclass(frozen=True)
class TaskResult:
    """The components: `everything` is shown once there is a result, `options` holds those that apply to a kept one, by
    card and name, and `groups` what is shown of each card alone."""

    status: gr.HTML
    above: gr.Column
    everything: gr.Column
    live: gr.Column
    options: dict[str, dict[str, Any]]
    groups: dict[str, gr.Column]
    tabs: gr.Tabs
    report: gr.Tab


def lay_out_result(task: Task, name: str, cards: Sequence[Card], chosen: Card) -> TaskResult:
    """The panel inside the current column; `name` begins the components' ids."""
    lay_out_toggle(f"{name}-work", "panel-wide", f"{name}-panel", "Widen the panel", "⇤")
    status = gr.HTML(html.render_welcome(task), elem_id=f"{name}-status")
    above = gr.Column()
    options: dict[str, dict[str, Any]] = {}
    groups: dict[str, gr.Column] = {}
    with gr.Column(visible="hidden", elem_id=f"{name}-results") as everything:
        with gr.Column() as live:
            for card in cards:
                if any(option.live for option in card.options):
                    with gr.Column(visible=card is chosen, elem_id=f"{card.name}-live") as groups[card.name]:
                        options[card.name] = forms.lay_out_live_options(card)
                else:
                    options[card.name] = {}
        gr.HTML(f'<div id="{name}-layers"></div>')
        with gr.Tabs() as tabs:
            report = gr.Tab("Report")
    return TaskResult(status, above, everything, live, options, groups, tabs, report)
