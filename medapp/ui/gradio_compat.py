"""Gradio's internals: the only module that imports Gradio's submodules or replaces parts of Gradio.

Everything else uses what `import gradio as gr` offers. `tests/ui/test_gradio_compat.py` checks every class, method and
address listed here, and names what a new version of Gradio has changed.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from gradio import processing_utils, route_utils
from gradio.components.base import Component
from gradio.context import LocalContext
from gradio.data_classes import FileData, GradioModel, PredictBodyInternal
from gradio.exceptions import InvalidPathError
from gradio.queueing import Event, EventQueue, Queue
from gradio.server_messages import EstimationMessage, EventMessage, ProcessCompletedMessage, ProcessStartsMessage
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import run_coro_in_background
from gradio_client.utils import construct_args

__all__ = [
    "Component",
    "EstimationMessage",
    "Event",
    "EventMessage",
    "EventQueue",
    "FileData",
    "GradioModel",
    "InvalidPathError",
    "PredictBodyInternal",
    "ProcessCompletedMessage",
    "ProcessStartsMessage",
    "Queue",
    "SessionState",
    "StateHolder",
    "construct_args",
    "current_event",
    "find_function",
    "find_mcp_server",
    "install_in_app",
    "replace_downloads",
    "replace_mcp_server",
    "replace_session_state",
    "run_coro_in_background",
]

API_PATH = "/gradio_api"  # begins the addresses of everything but the page itself
CALL_PATH = f"{API_PATH}/call"
FILE_PATH = f"{API_PATH}/file="
HEARTBEAT_PATH = f"{API_PATH}/heartbeat/"  # every open page keeps one such connection
JOIN_PATH = f"{API_PATH}/queue/join"
MCP_PATH = f"{API_PATH}/mcp"
STARTUP_PATH = f"{API_PATH}/startup-events"  # Gradio requests it from itself at the start; it tells nothing
UPLOAD_PATH = f"{API_PATH}/upload"
DOWNLOADS = ("async_ssrf_protected_download", "async_ssrf_protected_get")  # functions by which Gradio opens addresses


def current_event() -> tuple[Any, str | None]:
    """Return the queue and the id of the event that this thread computes; (None, None) outside of one."""
    blocks = LocalContext.blocks.get(None)
    return getattr(blocks, "_queue", None), LocalContext.event_id.get(None)


def find_function(blocks: Any, body: PredictBodyInternal) -> Any:
    """Return Gradio's `BlockFunction` for the event that a request body names."""
    return route_utils.get_fn(blocks, None, body)


def replace_downloads(download: Callable[..., Awaitable[str]]) -> None:
    """Let Gradio call `download(url, cache_dir)` in place of fetching any web address a visitor names.

    Raises AttributeError if Gradio fetches in another way than it did.
    """
    for name in DOWNLOADS:
        if not hasattr(processing_utils, name):
            raise AttributeError(f"this version of Gradio has no processing_utils.{name}")
        setattr(processing_utils, name, download)


def replace_session_state(state: type[SessionState]) -> None:
    """Let Gradio use this class for requests that name no session."""
    route_utils.SessionState = state


def find_mcp_server() -> type | None:
    """Return Gradio's MCP server class; None if the library for MCP is not installed."""
    try:
        from gradio.mcp import GradioMCPServer
    except ImportError:
        return None
    return GradioMCPServer


def replace_mcp_server(server: type) -> None:
    """Let Gradio serve its MCP tools by this subclass of `find_mcp_server()`."""
    import gradio.mcp

    gradio.mcp.GradioMCPServer = server


def install_in_app(app: Any, state_holder: StateHolder, wrap: Callable[[Any], Any]) -> None:
    """Give a running Gradio app a state holder, and an ASGI middleware outside all of Gradio's own.

    A middleware that is handed to FastAPI would stand inside Gradio's, which lets pages of any site read answers.
    """
    app.state_holder = state_holder
    app.middleware_stack = wrap(app.middleware_stack)
