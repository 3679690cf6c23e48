"""Returning: a visitor who loads the page again finds the results that are still kept."""

from contextlib import suppress

import gradio as gr

from medapp.errors import InputError
from medapp.ui.caller import caller_of_request
from medapp.ui.ownership import ownership
from medapp.ui.visitors import visitors


def take_over(request: gr.Request) -> None:
    """Give the visitor what the page that they had open before holds, if that is closed: results and their uploads."""
    caller, session = caller_of_request(request), request.session_hash or ""
    visitors.take_over(session, ownership.list_sessions(caller))
    for path in visitors.list_files(session):
        with suppress(InputError):  # removed by now
            ownership.check(path, caller, session)
