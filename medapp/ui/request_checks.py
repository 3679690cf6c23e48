"""Gate: what a request to Gradio's doors says is looked at before Gradio sees it, and before it takes a place in line.

Whose session it is, whether there is such an event or endpoint, and whether the values are of its kinds. The page looks
at the values once more, and at whose the files are, where all ways meet (`Page.process_api`).
"""

import json
import re
from typing import Any
from urllib.parse import parse_qs

from gradio_client import utils as client_utils

from medapp.ui import payload
from medapp.ui.caller import Caller
from medapp.ui.ownership import ownership, upload_session

API_PREFIX = "/gradio_api"
JSON_PATHS = re.compile(
    rf"{API_PREFIX}/(?:(queue/join|cancel|reset)|(run|api|call/v2|call)/([^/]+))/?"
)  # bodies of JSON
HEARTBEAT_PATH = re.compile(rf"{API_PREFIX}/heartbeat/(.+?)/?")
ANSWER_PATH = re.compile(rf"{API_PREFIX}/call/(?:v2/)?[^/]+/([^/]+)/?")
MAX_NAME_LENGTH = 200  # characters of a session's name
ANOTHERS_SESSION_MESSAGE = "This session is another visitor's."
Refusal = tuple[int, str]


class RequestChecker:
    """For the doors of one page, a `gr.Blocks`."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def needs_body(self, method: str, path: str) -> bool:
        """Whether the request's body is to be put before `sent`."""
        return method == "POST" and JSON_PATHS.fullmatch(path) is not None

    def check_stream(self, path: str, query: bytes, caller: Caller) -> Refusal | None:
        """Status and sentence, if a stream of messages is not to be opened."""
        asked = parse_qs(query.decode("latin-1"))
        names: list[str] = []
        if found := HEARTBEAT_PATH.fullmatch(path):
            names = [found[1]]
        elif found := ANSWER_PATH.fullmatch(path):
            names = [self._find_session(found[1]) or found[1]]
        elif path.rstrip("/") == f"{API_PREFIX}/queue/data":
            names = asked.get("session_hash", [])
        elif path.rstrip("/") == f"{API_PREFIX}/upload_progress":
            names = [upload_session(each) for each in asked.get("upload_id", [])]
        return next((refusal for name in names if (refusal := self._check_session(name, caller))), None)

    def check_body(self, path: str, raw: bytes, caller: Caller) -> Refusal | None:
        """Status and sentence, if what was sent is not to be acted upon."""
        door = JSON_PATHS.fullmatch(path)
        assert door  # see `reads`
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return 422, str(payload.MalformedRequest("it is no JSON"))
        try:
            payload.check_nesting(body)
            if not isinstance(body, dict):
                raise payload.MalformedRequest("it is no dictionary")
            return self._check_event(door[1] or "", door[2] or "", door[3] or "", body, caller)
        except payload.MalformedRequest as error:
            return 422, str(error)

    def _check_event(self, door: str, kind: str, name: str, body: dict, caller: Caller) -> Refusal | None:
        by_name = kind == "call/v2"  # there is nothing in the body but values
        session, event = (None, None) if by_name else (body.get("session_hash"), body.get("event_id"))
        if session is not None and (refusal := self._check_session(session, caller)):
            return refusal
        if door in ("cancel", "reset"):
            other = self._find_session(event) if isinstance(event, str) else None
            return self._check_session(other, caller) if other else None
        fn = self._find_function(kind, name, None if by_name else body.get("fn_index"))
        if fn is None:
            return 404, "There is no such event or endpoint."
        data = self._order_arguments(name, body) if by_name else body.get("data")
        trigger = None if by_name else body.get("trigger_id")
        if not isinstance(data, list):
            raise payload.MalformedRequest("data is no list")
        if not by_name and (body.get("batched") or not (trigger is None or type(trigger) is int)):
            raise payload.MalformedRequest("it is no event of this page")
        asked = [block for block in fn.inputs if not block.skip_api]
        if kind.startswith("call") and len(data) == len(asked) < len(fn.inputs):
            values = iter(data)
            data = [None if block.skip_api else next(values) for block in fn.inputs]
        payload.check_values(fn, self.page.blocks, data, None if by_name else body.get("event_data"))
        return None

    def _find_function(self, kind: str, name: str, number: Any) -> Any:
        """Gradio's, by number, or by name for an endpoint; None if there is none."""
        if number is None:
            return next((fn for fn in self.page.fns.values() if kind and fn.api_name == name), None)
        if type(number) is not int:
            raise payload.MalformedRequest("fn_index is no whole number")
        return self.page.fns.get(number)

    def _order_arguments(self, name: str, given: dict) -> list:
        """The values by name in the order of the endpoint's parameters."""
        known = (self.page.app.api_info or self.page.get_api_info())["named_endpoints"].get(f"/{name}")
        if known is None:
            raise payload.MalformedRequest("this endpoint takes no values by name")
        given.pop("oauth_token", None)
        try:
            return client_utils.construct_args(known["parameters"], (), given)
        except (TypeError, ValueError, KeyError) as error:
            raise payload.MalformedRequest(
                "a value is missing, or has a name that the endpoint does not know"
            ) from error

    def _check_session(self, session: Any, caller: Caller) -> Refusal | None:
        if not isinstance(session, str) or not 0 < len(session) <= MAX_NAME_LENGTH:
            return 422, str(payload.MalformedRequest("session_hash is no name of a session"))
        return None if ownership.enter(session, caller) else (403, ANOTHERS_SESSION_MESSAGE)

    def _find_session(self, event: str) -> str | None:
        """The session of an event that waits, runs, or whose answer has not been fetched."""
        queue = self.page._queue
        if event in queue.event_ids_to_events:
            return queue.event_ids_to_events[event].session_hash
        pending = queue.pending_event_ids_session
        return next((session for session, events in list(pending.items()) if event in events), None)
