"""Tab: what the parts of a tab may ask of the whole."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import gradio as gr

from medapp.card import Card
from medapp.examples import Example
from medapp.imaging.volume import Volume
from medapp.presenters.task import Task
from medapp.result import Result
from medapp.ui.form import Form
from medapp.ui.session import Session
from medapp.ui.stage import Stage

Volumes = list[Volume | None]
Step = Callable[[float, str], None]  # called with the share that is done, 0 to 1, and the stage; raises CancelledError


class Tab(Protocol):
    """The tab of one task: its components, its forms by method, and its ways to run something.

    `kept` holds the session, `method` chooses the method, `reference` is the box of the reference, `status` the
    headline; `results` is shown once there is a result, `shown` are the components that `show` fills. `name` is the
    task's.
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
    name: str
    stage: Stage

    def show_changed(self, session: Session, change: Callable[[], None], request: gr.Request) -> dict:
        """Change a kept result, and show it: nothing of it if another one is shown by then."""

    def keep(self, visitor: str, session: Session) -> Session:
        """Make this the visitor's shown result; the oldest of too many goes."""

    def draw_rest(self, event: Any) -> None:
        """After an event that has shown a result draw its cards, charts and files."""

    @property
    def everything(self) -> set:
        """All that a run may read."""

    def clear_panel(self) -> dict:
        """What an example has left in the panel, emptied, by component."""

    def open_first_view(self, request: gr.Request, progress: gr.Progress | None = None) -> Session | None:
        """The session of the first view, once something is asked of it; None where there is none."""

    @property
    def shown(self) -> list[Any]:
        """What `show` fills."""

    def show(self, session: Session, is_new: bool) -> dict:
        """What is looked at first, by component; `is_new` if it is another result than the one before."""

    @property
    def method_outputs(self) -> list[Any]:
        """What `show_method` fills."""

    def show_method(self, name: str, settings: Mapping[str, Any]) -> dict:
        """The method and its options as they are in the settings of a result, by component."""

    def tell_failure(self, done: Any) -> None:
        """Say in the panel why nothing came of an event, where the sentence stays."""

    def form_of(self, result: Result) -> Form:
        """The form of the method that made the result."""

    def attempt(self, button: str, work: Callable, data: dict, request: gr.Request, progress: gr.Progress) -> dict:
        """The updates that `work` gives; `button` is pressed again if a series is to be chosen first."""

    def follow(self, button: gr.Button, job: Callable, inputs: set, outputs: list, *, draws: bool = True) -> None:
        """Do the job in the queue at a click."""
