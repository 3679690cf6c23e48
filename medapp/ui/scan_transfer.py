"""Scan transfer: the scan of a result, put into the form of another method, also of another tab, without an upload."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from medapp.errors import InputError
from medapp.ui.error_messages import report_errors
from medapp.ui.events import HIDDEN
from medapp.ui.ownership import NOT_YOURS_MESSAGE
from medapp.ui.payload import MalformedRequestError
from medapp.ui.scan_offer import main_box
from medapp.ui.task_tab import TaskTab


def connect_transfer(tabs: Sequence[TaskTab], switch: gr.Tabs) -> None:
    """Connect the cards of all tabs to all forms; `switch` opens a tab."""
    boxes = [box for tab in tabs for form in tab.by_name.values() for box in form.boxes.values()]
    outputs = [switch, *boxes, *(tab.method for tab in tabs), *(tab.reference for tab in tabs)]
    for tab in tabs:
        used = tab.history.cards.use(_create_handler(tab, tabs, switch), None, outputs, **HIDDEN)
        for target in tabs:
            target.example_inputs.follow(used)


def _create_handler(source: TaskTab, tabs: Sequence[TaskTab], switch: gr.Tabs) -> Callable:
    @report_errors
    def use(event: gr.EventData, request: gr.Request) -> dict[Any, Any]:
        session, name = source.history.require(request.session_hash, event), (event._data or {}).get("method")
        if not isinstance(name, str) or name not in session.fits:
            raise MalformedRequestError("it names no method that the scan fits")
        if not all(map(os.path.isfile, session.files)):
            raise InputError(NOT_YOURS_MESSAGE)
        target = next(tab for tab in tabs if name in tab.by_name)
        form = target.by_name[name]
        rest = dict.fromkeys(form.boxes.values())  # what may be another person's
        other_tab = {} if target is source else {target.reference: None}
        return {
            **rest,
            **other_tab,
            main_box(form): list(session.files),
            target.method: name,
            switch: gr.Tabs(selected=target.name),
        }

    return use
