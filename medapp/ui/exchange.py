"""Exchange: one request and its answer, with the headers, the cookie and the files that the answer brings."""

import json
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from medapp.ui import caller as callers
from medapp.ui import hosts
from medapp.ui.caller import Caller
from medapp.ui.gradio_compat import FILE_PATH, MCP_PATH, UPLOAD_PATH
from medapp.ui.ownership import ownership, upload_session
from medapp.ui.request_body import Message, Send

Scope = MutableMapping[str, Any]

COOKIE_PATHS = ("/", "/config", "/config/")  # what browsers and clients request first
STATIC_SUFFIXES = (".js", ".css", ".woff2")
OUTCOME_KEY = "medapp.outcome"  # in a request's scope: notes of what became of it


def read_headers(scope: Scope) -> dict[str, str]:
    """Return a request's headers by name, in lower case."""
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}


class Exchange:
    """One request with its answer: determines the caller, and gives them what they upload."""

    def __init__(
        self, scope: Scope, path: str, send: Send, headers: list[tuple[bytes, bytes]], is_same_site: bool
    ) -> None:
        """`headers` are those of every answer; other sites' pages may read answers only if `is_same_site`."""
        self.path, self._send, self._headers, self._is_same_site = path, send, headers, is_same_site
        self.is_upload = path.rstrip("/") == UPLOAD_PATH and scope.get("method") == "POST"
        caller = callers.caller_of_scope(scope)
        if path.startswith(MCP_PATH):
            caller = Caller(caller.address, tool=True)
        elif caller.cookie is None and (self.is_upload or path in COOKIE_PATHS):
            caller = Caller(caller.address, callers.create_cookie(), fresh=True)
        if self.is_upload:
            scope["headers"] = [(key, value) for key, value in scope["headers"] if key != b"accept-encoding"]
            upload_ids = parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [])
            for upload_id in upload_ids[-1:]:  # Gradio takes the last one, too
                ownership.enter(upload_session(upload_id), caller)
        self.caller = scope[callers.CALLER_KEY] = caller
        forwarded = read_headers(scope).get("x-forwarded-proto", "")
        self.is_secure = scope.get("scheme") == "https" or forwarded == "https"
        self.outcome: dict[str, bool] = scope.setdefault(OUTCOME_KEY, {})
        self.status = 0
        self._answer = b""  # to an upload: the list of its paths

    async def send(self, message: Message) -> None:
        """Pass on a message of the answer, its headers replaced by ours; give uploaded files to the caller."""
        if message["type"] == "http.response.start":
            message = self._replace_headers(message)
        elif self.is_upload and self.status == 200:
            self._answer += message.get("body", b"")
            if not message.get("more_body"):
                with suppress(ValueError, TypeError):
                    for path in json.loads(self._answer):
                        ownership.give(path, self.caller)
        await self._send(message)

    def _replace_headers(self, message: Message) -> Message:
        headers = list(self._headers)
        if self.path.startswith(FILE_PATH) and not self.path.endswith(STATIC_SUFFIXES):
            headers.append((b"cache-control", b"private, no-store"))
        replaced = {key for key, _ in headers}
        kept = [(key, value) for key, value in message.get("headers", []) if key.lower() not in replaced]
        if not self._is_same_site:
            kept = [(key, value) for key, value in kept if not key.lower().startswith(b"access-control-")]
        if self.caller.fresh and self.caller.cookie:
            cookie = callers.format_cookie(self.caller.cookie, secure=self.is_secure, embedded=hosts.is_space())
            kept.append((b"set-cookie", cookie.encode()))
        self.status = message["status"]
        if self.status == 500 and self.outcome.get("refused"):  # Gradio has one status for all errors
            self.status = 400
        return {**message, "status": self.status, "headers": [*kept, *headers]}
