"""Tools: calls by MCP, which wait in the queue as everybody does, in the name of who sent them.

Gradio's own go through a client of its own on this machine: all in one name, each in one of the threads that answer
everybody, and on to their end after who called has gone. And its library cuts what is sent after 4 MB, where an image
may come in words.
"""

from collections.abc import Awaitable, Callable
from functools import cache, partial
from typing import Any

import anyio
from fastapi import HTTPException, Request
from gradio.data_classes import PredictBodyInternal
from gradio.server_messages import EstimationMessage, EventMessage, ProcessCompletedMessage, ProcessStartsMessage

from medapp.ui import caller
from medapp.ui.ownership import find_values, ownership
from medapp.ui.security import MAX_BODY_BYTES_BY_PATH, MCP_PATH

JOIN_PATH = "/gradio_api/queue/join"

EndpointCall = tuple[str, tuple[Any, ...]]  # the endpoint and what it is given


@cache
def replace_mcp_server() -> None:
    """Have Gradio serve its tools in this way; without the library for MCP it serves none."""
    try:
        import gradio.mcp
        from mcp.server import sse, streamable_http_manager
    except ImportError:
        return
    most = MAX_BODY_BYTES_BY_PATH[MCP_PATH]

    class Tools(gradio.mcp.GradioMCPServer):
        SseServerTransport = staticmethod(partial(sse.SseServerTransport, max_request_body_size=most))
        StreamableHTTPSessionManager = staticmethod(
            partial(streamable_http_manager.StreamableHTTPSessionManager, max_request_body_size=most)
        )

        def convert_strings_to_filedata(self, value: Any, filedata_positions: list[list[str | int]]) -> Any:
            """Images in words become files of the caller's."""
            before = list(find_values(value))
            found = super().convert_strings_to_filedata(value, filedata_positions)
            for path in find_values(found):
                if path not in before and not path.startswith(("http://", "https://")):
                    ownership.give(path, caller.caller_of_request(self.mcp_server.request_context.request))
            return found

        def _get_or_create_client(self) -> Any:
            return self

        def submit(self, *values: Any, api_name: str, **_: Any) -> EndpointCall:
            """In place of the client's."""
            return api_name, values

        async def _execute_tool_without_progress(self, job: Any) -> list[Any]:
            return await self._answer(job)

        async def _execute_tool_with_progress(self, job: Any, progress_token: str | int) -> Any:
            context, step = self.mcp_server.request_context, 0

            async def tell(message: EventMessage) -> None:
                nonlocal step
                if words := describe_stage(message):
                    await context.session.send_progress_notification(
                        progress_token, step, message=words, related_request_id=str(context.request_id)
                    )
                    step += 1

            return await self._answer(job, tell)

        async def _answer(
            self, job: EndpointCall, tell: Callable[[EventMessage], Awaitable[None]] | None = None
        ) -> list[Any]:
            """What the endpoint makes of it. Raises RuntimeError with a sentence; who goes takes the run along."""
            name, values = job
            function, asked = self.get_block_fn_from_endpoint_name(name), self.mcp_server.request_context.request
            assert function is not None and asked is not None
            request = Request(
                {**asked.scope, "path": JOIN_PATH, "raw_path": JOIN_PATH.encode(), "root_path": self.root_path}
            )
            body = PredictBodyInternal(data=list(values), fn_index=function._id, request=request)
            return await run_event(self.blocks._queue, body, request, tell)

    if not hasattr(gradio.mcp.GradioMCPServer, "_get_or_create_client"):
        raise AttributeError("this version of Gradio calls its tools in another way")
    gradio.mcp.GradioMCPServer = Tools


async def run_event(
    queue: Any,
    body: PredictBodyInternal,
    request: Request,
    tell: Callable[[EventMessage], Awaitable[None]] | None = None,
) -> list[Any]:
    """What comes of an event, once it has been its turn; `tell` hears of every stage before."""
    try:
        await queue.push(body, request, None)
    except HTTPException as error:
        raise RuntimeError(error.detail) from error
    answers = queue.pending_messages_per_session[body.session_hash]
    try:
        while not isinstance(message := await answers.get(), ProcessCompletedMessage):
            if tell is not None:
                await tell(message)
    finally:
        with anyio.CancelScope(shield=True):
            await queue.clean_events(session_hash=body.session_hash)
    if not message.success:
        raise RuntimeError(message.output.get("error") or "This did not work.")
    return message.output["data"]


def describe_stage(message: EventMessage) -> str | None:
    """Where a call stands, in words."""
    if isinstance(message, EstimationMessage) and message.rank is not None:
        return f"Waiting: {message.rank} of {message.queue_size} before it."
    return "Computing." if isinstance(message, ProcessStartsMessage) else None
