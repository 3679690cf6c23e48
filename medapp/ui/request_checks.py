"""Request checks: what is sent to Gradio's events is checked before it takes a place in the queue.

Checked are whose session it is, whether there is such an event or endpoint, and whether the values fit its components.
The page checks the values again, and whose the files are, where all requests meet (`Page.process_api`).
"""

import json
import re
from typing import Any
from urllib.parse import parse_qs

from medapp.ui import payload
from medapp.ui.caller import Caller
from medapp.ui.gradio_compat import API_PATH, CALL_PATH, HEARTBEAT_PATH, construct_args
from medapp.ui.ownership import ownership, upload_session
from medapp.ui.request_body import Refusal

JSON_PATHS = re.compile(rf"{API_PATH}/(?:(queue/join|cancel|reset)|(run|api|call/v2|call)/([^/]+))/?")  # with a body
HEARTBEAT_PATHS = re.compile(rf"{HEARTBEAT_PATH}(.+?)/?")
ANSWER_PATHS = re.compile(rf"{CALL_PATH}/(?:v2/)?[^/]+/([^/]+)/?")
MAX_NAME_LENGTH = 200  # characters of a session's name
ANOTHERS_SESSION_MESSAGE = "This session is another visitor's."


class RequestChecker:
    """Checks the requests to the events and endpoints of one page, a `gr.Blocks` with a `FairQueue`."""

    def __init__(self, page: Any) -> None:
        """Check against the events of `page`."""
        self.page = page

    def needs_body(self, method: str, path: str) -> bool:
        """Whether `check_body` is to be asked about this request."""
        return method == "POST" and JSON_PATHS.fullmatch(path) is not None

    def check_stream(self, path: str, query: bytes, caller: Caller) -> Refusal | None:
        """Refuse to open a stream of messages of somebody else's session, or return None."""
        parameters = parse_qs(query.decode("latin-1"))
        sessions: list[str] = []
        if match := HEARTBEAT_PATHS.fullmatch(path):
            sessions = [match[1]]
        elif match := ANSWER_PATHS.fullmatch(path):
            sessions = [self.page._queue.find_session(match[1]) or match[1]]
        elif path.rstrip("/") == f"{API_PATH}/queue/data":
            sessions = parameters.get("session_hash", [])
        elif path.rstrip("/") == f"{API_PATH}/upload_progress":
            sessions = [upload_session(upload_id) for upload_id in parameters.get("upload_id", [])]
        return next((refusal for session in sessions if (refusal := self._check_session(session, caller))), None)

    def check_body(self, path: str, raw: bytes, caller: Caller) -> Refusal | None:
        """Refuse a body that is malformed, or for somebody else's session; `path` is one that `needs_body`."""
        match = JSON_PATHS.fullmatch(path)
        assert match
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return 422, str(payload.MalformedRequestError("it is no JSON"))
        try:
            payload.check_nesting(body)
            if not isinstance(body, dict):
                raise payload.MalformedRequestError("it is no dictionary")
            if match[1] in ("cancel", "reset"):
                return self._check_cancel(body, caller)
            return self._check_event(match[2] or "", match[3] or "", body, caller)
        except payload.MalformedRequestError as error:
            return 422, str(error)

    def _check_cancel(self, body: dict, caller: Caller) -> Refusal | None:
        session, event_id = body.get("session_hash"), body.get("event_id")
        if session is not None and (refusal := self._check_session(session, caller)):
            return refusal
        session = self.page._queue.find_session(event_id) if isinstance(event_id, str) else None
        return self._check_session(session, caller) if session else None

    def _check_event(self, kind: str, name: str, body: dict, caller: Caller) -> Refusal | None:
        """Check a call of an endpoint by `kind` ("run", "api", "call" or "call/v2") and name, or of an event ("")."""
        has_named_values = kind == "call/v2"  # the body then holds nothing but values
        session = None if has_named_values else body.get("session_hash")
        if session is not None and (refusal := self._check_session(session, caller)):
            return refusal
        function = self._find_function(kind, name, None if has_named_values else body.get("fn_index"))
        if function is None:
            return 404, "There is no such event or endpoint."
        values = self._order_arguments(name, body) if has_named_values else body.get("data")
        trigger = None if has_named_values else body.get("trigger_id")
        if not isinstance(values, list):
            raise payload.MalformedRequestError("data is no list")
        if not has_named_values and (body.get("batched") or not (trigger is None or type(trigger) is int)):
            raise payload.MalformedRequestError("it is no event of this page")
        required = [block for block in function.inputs if not block.skip_api]
        if kind.startswith("call") and len(values) == len(required) < len(function.inputs):
            remaining = iter(values)
            values = [None if block.skip_api else next(remaining) for block in function.inputs]
        event_data = None if has_named_values else body.get("event_data")
        payload.check_values(function, self.page.blocks, values, event_data)
        return None

    def _find_function(self, kind: str, name: str, index: Any) -> Any:
        if index is None:
            return next((fn for fn in self.page.fns.values() if kind and fn.api_name == name), None)
        if type(index) is not int:
            raise payload.MalformedRequestError("fn_index is no whole number")
        return self.page.fns.get(index)

    def _order_arguments(self, name: str, values: dict) -> list:
        endpoints = (self.page.app.api_info or self.page.get_api_info())["named_endpoints"]
        if f"/{name}" not in endpoints:
            raise payload.MalformedRequestError("this endpoint takes no values by name")
        values.pop("oauth_token", None)
        try:
            return construct_args(endpoints[f"/{name}"]["parameters"], (), values)
        except (TypeError, ValueError, KeyError) as error:
            message = "a value is missing, or has a name that the endpoint does not know"
            raise payload.MalformedRequestError(message) from error

    def _check_session(self, session: Any, caller: Caller) -> Refusal | None:
        if not isinstance(session, str) or not 0 < len(session) <= MAX_NAME_LENGTH:
            return 422, str(payload.MalformedRequestError("session_hash is no name of a session"))
        return None if ownership.enter(session, caller) else (403, ANOTHERS_SESSION_MESSAGE)
