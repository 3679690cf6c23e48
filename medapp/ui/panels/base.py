"""Panel: what a tab shows beside its picture, and what can be done with it there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.result import Result
from medapp.ui import html, payload
from medapp.ui.error_messages import report_errors
from medapp.ui.events import HIDDEN
from medapp.ui.form import Form
from medapp.ui.result_kind import presenter_of
from medapp.ui.session import Session
from medapp.ui.stage import Stage
from medapp.ui.tab import Tab, Volumes
from medapp.ui.viewer.component import move_crosshair

DOWNLOAD_BUTTONS: Any = ["download", "fullscreen"]


@dataclass(frozen=True)
class Frame:
    """The places of a tab into which its panel puts components; `name` begins their ids."""

    name: str
    cards: Sequence[Card]
    stage: Stage
    buttons: gr.Row  # beside Run
    above: gr.Column  # between the headline and what shows only once there is a result
    live: gr.Column  # the options that apply to a result
    report: gr.Tab  # the result's first tab
    tabs: gr.Tabs  # for further tabs after the first


class Panel:
    """The table and the figures of a tab; a task that has more to show derives its own, and overrides what differs."""

    table_label = "Click a row to go there"

    def __init__(self, frame: Frame) -> None:
        """Lay out the components in their places."""
        self.name, self.stage = frame.name, frame.stage
        with frame.report:
            self.table = gr.Dataframe(
                interactive=False,
                buttons=["copy"],
                max_height=320,
                label=self.table_label,
                elem_id=f"{self.name}-table",
            )
            self.numbers = gr.HTML(elem_id=f"{self.name}-numbers")

    @property
    def inputs(self) -> list[Any]:
        """What `prepare` reads besides the form."""
        return []

    @property
    def shown(self) -> list[Any]:
        """What `show` fills."""
        return [self.table, self.numbers]

    @property
    def buttons(self) -> list[Any]:
        """What rests while something runs."""
        return []

    def prepare(self, form: Form, data: dict, volumes: Volumes) -> tuple[Volumes, Callable[[Result], Result]]:
        """The images as they go into the method, and what is to be added to the result for it."""
        return volumes, lambda result: result

    def clear(self) -> dict:
        """What else an example has left, emptied, by component: it goes when the visitor's own files come."""
        return {}

    def show(self, session: Session) -> dict:
        """What belongs to the picture, by component."""
        return self.show_facts(session.result)

    def show_facts(self, result: Result) -> dict:
        """What needs no volumes of the result, by component."""
        return {
            self.table: fill_table(result, presenter_of(result).table_name),
            self.numbers: self.render_numbers(result),
        }

    def render_numbers(self, result: Result) -> str:
        """The figures of a result as HTML."""
        further = presenter_of(result).further_tables(result)
        return html.render_raters(result) + html.render_metrics(result) + "".join(map(html.render_table, further))

    def connect(self, tab: Tab) -> None:
        """Connect the panel's own components: a click on a row of the table moves the crosshair there."""

        @report_errors
        def go_to_row(session: Session | None, event: gr.SelectData, request: gr.Request) -> Any:
            session = session or tab.open_first_view(request)
            if session is None:
                return gr.skip(), gr.skip()
            presenter = presenter_of(session.result)
            table = presenter.table(session.result)
            if table is None or not table.rows:
                return session, gr.skip()
            session.mm = payload.row_position(presenter.locate, session.result, event.row_value)
            return session, move_crosshair(session.mm)

        self.table.select(go_to_row, tab.kept, [tab.kept, self.stage.viewer], **HIDDEN)


def fill_table(result: Result, name: str) -> gr.Dataframe:
    """The rows of a result's table; hidden where it has none."""
    table = result.tables.get(name)
    return gr.Dataframe(
        value=[list(row) for row in table.rows] if table else [],
        headers=list(table.columns) if table else ["region"],
        visible=table is not None,
    )


def lay_out_image(label: str, elem_id: str | None = None, **more: Any) -> gr.Image:
    """A picture that can be downloaded and enlarged."""
    look: dict[str, Any] = {"format": "png", "buttons": DOWNLOAD_BUTTONS, "interactive": False}
    return gr.Image(label=label, elem_id=elem_id, **(look | more))
