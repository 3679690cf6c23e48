"""Session state: Gradio's state of each session, made small and limited in number."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import gradio as gr
from fastapi import HTTPException

from medapp.ui.gradio_compat import SessionState, StateHolder, replace_session_state

MAX_SESSIONS = 1000  # in memory
MAX_NAME_LENGTH = 100  # characters of a session's name
NEW_SESSION_COST = 5  # requests that a new session counts against the caller's rate limit
RATE_LIMIT: ContextVar[Callable[[float], bool] | None] = ContextVar("RATE_LIMIT", default=None)  # of this request
TOO_MANY_VISITORS_MESSAGE = "Too many people are here at the moment: try again in a few minutes."
TOO_MANY_SESSIONS_MESSAGE = "Too many new sessions; wait a minute."


class LeanSessionState(SessionState):
    """Gradio's state without its second copy of all components.

    That copy takes 50 ms and 1 MB for each session, and serves links that this app does not offer.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        """Take the defaults from the page, and no components."""
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))

    def __setitem__(self, key: int, value: Any) -> None:
        """Set a value without keeping a second copy."""
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class BoundedStateHolder(StateHolder):
    """Gradio's holder of session states, which drops no session for which `is_live(name)` holds."""

    def __init__(self, blocks: gr.Blocks, is_live: Callable[[str], bool]) -> None:
        """Hold the states of a page, and let Gradio create lean ones."""
        super().__init__()
        self.is_live = is_live
        self.set_blocks(blocks)
        replace_session_state(LeanSessionState)

    def __getitem__(self, session_id: str) -> SessionState:
        """Return the state of a session, new if there is none. Raises HTTPException if no new one is possible."""
        if session_id not in self.session_data:
            self._check_limits(session_id)
            self.session_data[session_id] = LeanSessionState(self.blocks)
        return super().__getitem__(session_id)

    def _check_limits(self, session_id: str) -> None:
        if (is_allowed := RATE_LIMIT.get()) is None:  # not a visitor's request: Gradio closes a session
            return
        if len(session_id) > MAX_NAME_LENGTH:
            raise HTTPException(400, "This is no name of a session.")
        if not is_allowed(NEW_SESSION_COST):
            raise HTTPException(429, TOO_MANY_SESSIONS_MESSAGE)
        if len(self.session_data) >= self.capacity:
            idle = next((name for name in self.session_data if not self.is_live(name)), None)
            if idle is None:
                raise HTTPException(503, TOO_MANY_VISITORS_MESSAGE)
            self.forget(idle)

    def update(self, session_id: str) -> None:
        """Note that a session was used just now."""
        with self.lock:
            self.session_data.move_to_end(session_id)

    def forget_idle(self, seconds: float) -> None:
        """Forget sessions that are not live and were not used for so many seconds."""
        before = datetime.now() - timedelta(seconds=seconds)
        for name, used in list(self.time_last_used.items()):
            if used < before and not self.is_live(name):
                self.forget(name)

    def forget(self, session_id: str) -> None:
        """Forget a session, whether it exists or not."""
        self.session_data.pop(session_id, None)
        self.time_last_used.pop(session_id, None)
