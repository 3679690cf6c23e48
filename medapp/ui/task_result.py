"""Task result: the right side of a tab, with the places that its panel fills."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.presenters.task import Task
from medapp.ui import form as forms
from medapp.ui import html


@dataclass(frozen=True)
class TaskResult:
    """The components: `everything` is shown once there is a result, `live` holds the options that apply to a kept one,
    by card and name, and `groups` what is shown of each card alone."""

    status: gr.HTML
    above: gr.Column
    everything: gr.Column
    pictures: gr.Column
    live: dict[str, dict[str, Any]]
    groups: dict[str, gr.Column]
    tabs: gr.Tabs
    report: gr.Tab


@dataclass(frozen=True)
class ResultTabs:
    """The tabs that follow the panel's: charts by title, files, provenance."""

    charts: dict[str, gr.Plot]
    archive: gr.DownloadButton
    files: gr.File
    provenance: gr.HTML


def lay_out_result(task: Task, name: str, cards: Sequence[Card]) -> TaskResult:
    """The result inside the current column; `name` begins the components' ids."""
    status = gr.HTML(html.render_welcome(task), elem_id=f"{name}-status")
    above = gr.Column()
    live: dict[str, dict[str, Any]] = {}
    groups: dict[str, gr.Column] = {}
    with gr.Column(visible=False) as everything:
        pictures = gr.Column()
        for card in cards:
            if any(option.live for option in card.options):
                with gr.Column(visible=card is cards[0], elem_id=f"{card.name}-live") as groups[card.name]:
                    live[card.name] = forms.lay_out_live_options(card)
            else:
                live[card.name] = {}
        with gr.Tabs() as tabs:
            report = gr.Tab("Report")
    return TaskResult(status, above, everything, pictures, live, groups, tabs, report)


def lay_out_result_tabs(name: str, chart_titles: Sequence[str]) -> ResultTabs:
    """The last tabs, inside the current ones."""
    charts: dict[str, gr.Plot] = {}
    for title in chart_titles:
        with gr.Tab(title):
            charts[title] = gr.Plot(show_label=False, format="png")
    with gr.Tab("Files"):
        archive = gr.DownloadButton("Everything as one zip", interactive=False, elem_id=f"{name}-zip")
        files = gr.File(label="Single files", file_count="multiple", interactive=False, elem_id=f"{name}-files")
    with gr.Tab("Provenance"):
        provenance = gr.HTML()
    return ResultTabs(charts, archive, files, provenance)
