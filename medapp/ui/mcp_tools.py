"""MCP tools: calls by MCP wait in the queue like all others and run in the name of their caller.

Gradio's own tools call the app through a client on the same machine: all under one name, each in one of the few threads
that answer requests, and to the end even after the caller has gone. Gradio's MCP library also refuses requests over
4 MB, too little for an image that is sent as text.
"""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import Any

import anyio
from fastapi import HTTPException, Request

from medapp.ui import gradio_compat
from medapp.ui.caller import caller_of_request
from medapp.ui.gradio_compat import (
    JOIN_PATH,
    MCP_PATH,
    EstimationMessage,
    EventMessage,
    PredictBodyInternal,
    ProcessCompletedMessage,
    ProcessStartsMessage,
)
from medapp.ui.ownership import find_values, ownership
from medapp.ui.request_body import MAX_BODY_BYTES_BY_PATH

EndpointCall = tuple[str, tuple[Any, ...]]  # the endpoint's name and its arguments
Listener = Callable[[EventMessage], Awaitable[None]]


@cache
def replace_mcp_server() -> None:
    """Let Gradio serve its tools as described above; without the library for MCP there are none.

    Raises AttributeError if Gradio calls its tools in another way than it did.
    """
    base: Any = gradio_compat.find_mcp_server()
    if base is None:
        return
    from mcp.server import sse, streamable_http_manager

    max_bytes = MAX_BODY_BYTES_BY_PATH[MCP_PATH]

    class QueuedMCPServer(base):
        """Gradio's server, with tools that go through the queue."""

        SseServerTransport = staticmethod(partial(sse.SseServerTransport, max_request_body_size=max_bytes))
        StreamableHTTPSessionManager = staticmethod(
            partial(streamable_http_manager.StreamableHTTPSessionManager, max_request_body_size=max_bytes)
        )

        def convert_strings_to_filedata(self, value: Any, filedata_positions: list[list[str | int]]) -> Any:
            """Write images that came as text into files that belong to the caller."""
            paths_before = list(find_values(value))
            converted = super().convert_strings_to_filedata(value, filedata_positions)
            for path in find_values(converted):
                if path not in paths_before and not path.startswith(("http://", "https://")):
                    ownership.give(path, caller_of_request(self.mcp_server.request_context.request))
            return converted

        def _get_or_create_client(self) -> Any:
            return self

        def submit(self, *values: Any, api_name: str, **_: Any) -> EndpointCall:
            """Take the place of the client's `submit`."""
            return api_name, values

        async def _execute_tool_without_progress(self, job: Any) -> list[Any]:
            return await self._run(job)

        async def _execute_tool_with_progress(self, job: Any, progress_token: str | int) -> Any:
            context, step = self.mcp_server.request_context, 0

            async def notify(message: EventMessage) -> None:
                nonlocal step
                if stage := describe_stage(message):
                    await context.session.send_progress_notification(
                        progress_token, step, message=stage, related_request_id=str(context.request_id)
                    )
                    step += 1

            return await self._run(job, notify)

        async def _run(self, job: EndpointCall, listener: Listener | None = None) -> list[Any]:
            name, values = job
            function = self.get_block_fn_from_endpoint_name(name)
            mcp_request = self.mcp_server.request_context.request
            assert function is not None and mcp_request is not None
            scope = {**mcp_request.scope, "path": JOIN_PATH, "raw_path": JOIN_PATH.encode()}
            request = Request({**scope, "root_path": self.root_path})
            body = PredictBodyInternal(data=list(values), fn_index=function._id, request=request)
            return await run_event(self.blocks._queue, body, request, listener)

    if not hasattr(base, "_get_or_create_client"):
        raise AttributeError("this version of Gradio has no GradioMCPServer._get_or_create_client")
    gradio_compat.replace_mcp_server(QueuedMCPServer)


async def run_event(
    queue: Any, body: PredictBodyInternal, request: Request, listener: Listener | None = None
) -> list[Any]:
    """Put an event into the queue, wait for it and return its output; `listener` gets every message before.

    Raises RuntimeError with a message for the user. The event is stopped if the caller goes.
    """
    try:
        await queue.push(body, request, None)
    except HTTPException as error:
        raise RuntimeError(error.detail) from error
    messages = queue.pending_messages_per_session[body.session_hash]
    try:
        while not isinstance(message := await messages.get(), ProcessCompletedMessage):
            if listener is not None:
                await listener(message)
    finally:
        with anyio.CancelScope(shield=True):
            await queue.clean_events(session_hash=body.session_hash)
    if not message.success:
        raise RuntimeError(message.output.get("error") or "This did not work.")
    return message.output["data"]


def describe_stage(message: EventMessage) -> str | None:
    """Tell in a sentence where a call stands; None for messages that do not say so."""
    if isinstance(message, EstimationMessage) and message.rank is not None:
        return f"Waiting: {message.rank} of {message.queue_size} before it."
    return "Computing." if isinstance(message, ProcessStartsMessage) else None
