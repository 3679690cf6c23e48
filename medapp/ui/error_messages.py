"""Error messages: what a handler's exception says to the user."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from medapp.errors import UserError
from medapp.serving import run_log
from medapp.ui import html


def to_gradio_error(error: Exception) -> gr.Error:
    """A UserError as it is; of any other the user is told what it means.

    The latter goes to the log by its kind and place, not by its text, which may hold what the user wrote.
    """
    if isinstance(error, UserError):
        return gr.Error(str(error), duration=20, print_exception=False)
    run_log.log_fault(error)
    answer = gr.Error(html.explain_error(error), duration=20, print_exception=False)
    answer.ours = True  # and not the caller's
    return answer


def report_errors(handler: Callable) -> Callable:
    """A handler whose errors are shown to the user."""

    @wraps(handler)
    def wrapped(*args: Any, **more: Any) -> Any:
        try:
            return handler(*args, **more)
        except gr.Error:
            raise
        except Exception as error:
            raise to_gradio_error(error) from error

    return wrapped
