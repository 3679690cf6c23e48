"""Error messages: what a handler's exception says to the user."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from medapp.errors import UserError
from medapp.io.validation import DISK_FULL_MESSAGE, is_disk_full
from medapp.serving import run_log
from medapp.ui.visitors import visitors


def to_gradio_error(error: Exception) -> gr.Error:
    """Return the text of a UserError as it is; for any other exception, what it means.

    The latter is logged by its type and place, without its text, which may hold what the user wrote.
    """
    if isinstance(error, UserError):
        return gr.Error(str(error), duration=20, print_exception=False)
    run_log.log_fault(error)
    answer = gr.Error(explain_error(error), duration=20, print_exception=False)
    answer.ours = True  # and not the caller's
    return answer


def report_errors(handler: Callable) -> Callable:
    """Wrap a handler so that its errors are displayed to the user."""

    @wraps(handler)
    def wrapped(*args: Any, **more: Any) -> Any:
        try:
            return handler(*args, **more)
        except gr.Error:
            raise
        except Exception as error:
            raise to_gradio_error(error) from error

    return wrapped


def keep_failure(handler: Callable) -> Callable:
    """Wrap a handler that gets the request, so that `visitors.take_failure` tells what its gr.Error said."""

    @wraps(handler)
    def wrapped(*args: Any, **more: Any) -> Any:
        try:
            return handler(*args, **more)
        except gr.Error as error:
            request = next((arg for arg in (*args, *more.values()) if isinstance(arg, gr.Request)), None)
            if request is not None:
                visitors.note_failure(request.session_hash, str(error.message))
            raise

    return wrapped


def explain_error(error: Exception) -> str:
    """Explain an unexpected exception to the user, without its own text, which may hold what they wrote."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error).lower()):
        return "Not enough memory for this image; try a smaller or coarser one."
    if is_disk_full(error):
        return f"{DISK_FULL_MESSAGE} Try again in an hour."
    return (
        "Something went wrong in the app itself: the fault is ours, not your file's. What was shown before is still "
        f"there. If you report it, say: {type(error).__name__}."
    )
