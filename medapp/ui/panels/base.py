"""Panel: what a tab shows of its results, and what can be done with them there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gradio as gr

from medapp.card import Card
from medapp.presenters import get_presenter
from medapp.presenters.base import Presenter
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui.form import Form
from medapp.ui.session import Session
from medapp.ui.tab import Tab, Volumes

DOWNLOAD_BUTTONS: Any = ["download", "fullscreen"]


@dataclass(frozen=True)
class Frame:
    """The places of a tab into which its panel puts components; `name` begins their ids."""

    name: str
    cards: Sequence[Card]
    buttons: gr.Row  # beside Run
    above: gr.Column  # between the headline and what shows only once there is a result
    pictures: gr.Column  # on top of the result
    report: gr.Tab  # the result's first tab
    tabs: gr.Tabs  # for further tabs after the first


class Panel(Protocol):
    """The components of a panel, and what fills them.

    `inputs` are components that `prepare` reads besides the form, `shown` those that `show` fills, `drawn` those that
    `draw` fills, `buttons` those that rest while something runs.
    """

    @property
    def inputs(self) -> list[Any]:
        """What `prepare` reads besides the form."""

    @property
    def shown(self) -> list[Any]:
        """What `show` fills."""

    @property
    def drawn(self) -> list[Any]:
        """What `draw` fills."""

    @property
    def buttons(self) -> list[Any]:
        """What rests while something runs."""

    def prepare(self, form: Form, data: dict, volumes: Volumes) -> tuple[Volumes, Callable[[Result], Result]]:
        """The images as they go into the method, and what is to be added to the result for it."""

    def clear(self) -> dict:
        """What else an example has left, emptied, by component: it goes when the visitor's own files come."""

    def show(self, session: Session, card: Card, is_new: bool) -> dict:
        """What is looked at first, by component; `is_new` if it is another result than the one before."""

    def draw(self, session: Session) -> dict:
        """The rest, by component."""

    def connect(self, tab: Tab) -> None:
        """Connect the panel's own components."""


def presenter_of(result: Result) -> Presenter:
    """What shows a result of `runtime.run`."""
    assert result.provenance is not None
    return get_presenter(runtime.find_card(result.provenance.pipeline))


def lay_out_table(name: str, label: str, max_height: int = 320) -> gr.Dataframe:
    """A table whose rows can be clicked."""
    return gr.Dataframe(
        interactive=False, buttons=["copy"], max_height=max_height, label=label, elem_id=f"{name}-table"
    )


def fill_table(result: Result, name: str) -> gr.Dataframe:
    """The rows of a result's table; hidden where it has none."""
    table = result.tables.get(name)
    return gr.Dataframe(
        value=[list(row) for row in table.rows] if table else [],
        headers=list(table.columns) if table else ["region"],
        visible=table is not None,
    )


def lay_out_image_slider(label: str, elem_id: str) -> gr.ImageSlider:
    """Two pictures, one over the other, with a handle between them."""
    return gr.ImageSlider(
        format="png",
        show_label=False,
        label=label,
        type="numpy",
        max_height=640,
        buttons=DOWNLOAD_BUTTONS,
        interactive=False,
        elem_id=elem_id,
    )


def lay_out_image(label: str, elem_id: str | None = None, **more: Any) -> gr.Image:
    """A picture that can be downloaded and enlarged."""
    look: dict[str, Any] = {"format": "png", "buttons": DOWNLOAD_BUTTONS, "interactive": False}
    return gr.Image(label=label, elem_id=elem_id, **(look | more))
