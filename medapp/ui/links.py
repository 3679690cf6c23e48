"""Links: an example as it was shown, by the address of the page: what stands after the #, checked."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from medapp.card import Card
from medapp.errors import InputError, OptionError
from medapp.examples import Example, of_task
from medapp.ui.viewer.view_state import ViewState, parse_view_state

MAX_SETTINGS = 30
UNREADABLE_MESSAGE = "This link cannot be read, so nothing was opened. Ask for it again, or click an example."
UNKNOWN_MESSAGE = "This link is to an example that is not here. Click one of the examples."


class ExampleLink(NamedTuple):
    """An example, the live options that were changed, by name, and how it was shown."""

    example: Example
    settings: dict[str, Any]
    state: ViewState | None


def render_head(tasks: Iterable[str]) -> str:
    """Return the HTML for `launch(head=...)` by which the page's script finds the tab, a task, of a link's example."""
    tabs = list(tasks)
    content = {"tabs": tabs, "examples": {example.name: task for task in tabs for example in of_task(task)}}
    return f'<script type="application/json" id="page-examples">{json.dumps(content)}</script>'


def find_linked_example(sent: Any, examples: Sequence[Example]) -> Example | None:
    """Return the one of the examples that a link names; None if there is none."""
    name = sent.get("example") if isinstance(sent, dict) else None
    return next((example for example in examples if example.name == name), None)


def parse_link(sent: Any, card: Card, example: Example | None) -> ExampleLink:
    """Return what a browser has read from a link to that example of the method.

    `sent` holds `settings`, texts by the names of live options, and `state`, see `ViewState`. Raises InputError with a
    sentence for the visitor for anything else.
    """
    if example is None:
        raise InputError(UNKNOWN_MESSAGE)
    settings, live = sent.get("settings"), {option.name: option for option in card.options if option.live}
    if not isinstance(settings, dict) or len(settings) > MAX_SETTINGS or not set(settings) <= set(live):
        raise InputError(UNREADABLE_MESSAGE)
    try:
        values = {name: live[name].parse(text) for name, text in settings.items()}
        return ExampleLink(example, values, parse_view_state(sent.get("state")))
    except (OptionError, InputError) as error:
        raise InputError(UNREADABLE_MESSAGE) from error
