"""Tab: what the parts of a tab may ask of the whole."""

from collections.abc import Callable, Sequence
from typing import Protocol

import gradio as gr

from medapp.card import Card
from medapp.examples import Example
from medapp.imaging.volume import Volume
from medapp.presenters.task import Task
from medapp.result import Result
from medapp.ui.form import Form
from medapp.ui.session import Session

Volumes = list[Volume | None]
Step = Callable[[float, str], None]  # called with the share that is done, 0 to 1, and the stage; raises CancelledError


class Tab(Protocol):
    """The tab of one task: its components, its forms by method, and its ways to run something.

    `kept` holds the session, `method` chooses the method, `reference` is the box of the reference, `status` the
    headline; `results` is shown once there is a result.
    """

    task: Task
    cards: Sequence[Card]
    examples: list[Example]
    by_name: dict[str, Form]
    kept: gr.State
    method: gr.Radio
    reference: gr.File
    status: gr.HTML
    results: gr.Column

    @property
    def everything(self) -> set:
        """All that a run may read."""

    def clear_panel(self) -> dict:
        """What an example has left in the panel, emptied, by component."""

    def open_first_view(self, request: gr.Request) -> Session | None:
        """The session of the first view, once something is asked of it; None where there is none."""

    def form_of(self, result: Result) -> Form:
        """The form of the method that made the result."""

    def attempt(self, button: str, work: Callable, data: dict, request: gr.Request, progress: gr.Progress) -> dict:
        """The updates that `work` gives; `button` is pressed again if a series is to be chosen first."""

    def follow(self, button: gr.Button, job: Callable, inputs: set, outputs: list, *, draws: bool = True) -> None:
        """Do the job in the queue at a click."""
