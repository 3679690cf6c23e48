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

Volumes = list[Volume | None]
Step = Callable[[float, str], None]  # called with the share that is done, 0 to 1, and the stage; raises CancelledError


class Tab(Protocol):
    """The tab of one task: its components, its forms by method, and its ways to run something.

    `kept` holds the session, `status` the headline, `results` is shown once there is a result, `everything` is all that
    a run may read.
    """

    task: Task
    cards: Sequence[Card]
    examples: list[Example]
    by_name: dict[str, Form]
    kept: gr.State

    @property
    def method(self) -> gr.Radio:
        """The choice of the method."""

    @property
    def reference(self) -> gr.File:
        """The box of the reference."""

    @property
    def status(self) -> gr.HTML:
        """The headline."""

    @property
    def results(self) -> gr.Column:
        """What is shown once there is a result."""

    @property
    def everything(self) -> set:
        """All that a run may read."""

    def clear_panel(self) -> dict:
        """What an example has left in the panel, emptied, by component."""

    def form_of(self, result: Result) -> Form:
        """The form of the method that made the result."""

    def attempt(self, button: str, work: Callable, data: dict, request: gr.Request, progress: gr.Progress) -> dict:
        """The updates that `work` gives; `button` is pressed again if a series is to be chosen first."""

    def follow(self, button: gr.Button, job: Callable, inputs: set, outputs: list, *, draws: bool = True) -> None:
        """Do the job in the queue at a click."""
