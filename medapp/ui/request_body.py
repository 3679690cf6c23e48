"""Request body: what a request sends, limited in size and by the space on disk."""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.formparsers import MultiPartException

from medapp.limits import MAX_UPLOAD_BYTES
from medapp.ui import workspace
from medapp.ui.gradio_compat import MCP_PATH, UPLOAD_PATH

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Refusal = tuple[int, str]  # status code, and a sentence for the user

DISK_CHECK_BYTES = 16 * 1024**2  # of an upload between two checks of the disk
MAX_BODY_BYTES = 1024**2
MAX_BODY_BYTES_BY_PATH = {UPLOAD_PATH: MAX_UPLOAD_BYTES + 1024**2, MCP_PATH: 64 * 1024**2}  # tools take images as text


def check_size(path: str, size: int) -> Refusal | None:
    """Refuse a body of `size` bytes if that is too much for the address, or the disk is nearly full; else None."""
    limits = (limit for prefix, limit in MAX_BODY_BYTES_BY_PATH.items() if path.startswith(prefix))
    limit = next(limits, MAX_BODY_BYTES)
    if size > limit:
        return 413, f"More than {limit // 1024**2} MB are not taken here."
    if path.rstrip("/") == UPLOAD_PATH and not workspace.has_free_space():
        return 507, workspace.DISK_FULL_MESSAGE
    return None


class RequestBody:
    """The body of one request, passed on to the app in pieces until it becomes too large.

    `refuse` answers the request with a status and a sentence; after that, nothing the app sends is passed on.
    """

    def __init__(self, path: str, receive: Receive, send: Send, refuse: Callable[[int, str], Awaitable[None]]) -> None:
        """Wrap the request's `receive` and the answer's `send`."""
        self.path, self._receive, self._send, self._refuse = path, receive, send, refuse
        self.is_upload = path.rstrip("/") == UPLOAD_PATH
        self.size, self.checked_size, self.has_ended, self.is_refused = 0, 0, False, False

    async def receive(self) -> Message:
        """Return the next message. Raises MultiPartException if the body is refused or breaks off.

        After that exception Gradio removes what it has written of an upload.
        """
        message = await self._receive()
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.has_ended = not message.get("more_body", False)
            await self._check_size()
        elif not self.has_ended and self.is_upload:
            self.is_refused = True
        if self.is_refused:
            raise MultiPartException("The upload was not finished.")
        return message

    async def send(self, message: Message) -> None:
        """Pass on a message of the app's answer, unless the request has been refused."""
        if not self.is_refused:
            await self._send(message)

    async def read_all(self) -> bytes:
        """Return the whole body; empty if the caller has gone or the body is refused."""
        pieces = []
        with suppress(MultiPartException):
            while not self.has_ended:
                message = await self.receive()
                if message["type"] != "http.request":
                    self.is_refused = True
                    return b""
                pieces.append(message.get("body", b""))
        return b"".join(pieces)

    def replay(self, content: bytes) -> Receive:
        """Return a function that receives the whole body at once, and then whatever else comes."""
        messages = [{"type": "http.request", "body": content, "more_body": False}]

        async def receive() -> Message:
            return messages.pop() if messages else await self._receive()

        return receive

    async def _check_size(self) -> None:
        if self.size - self.checked_size < (DISK_CHECK_BYTES if self.is_upload else 1):
            return
        self.checked_size = self.size
        if refusal := check_size(self.path, self.size):
            await self._refuse(*refusal)
            self.is_refused = True
