"""States: what Gradio keeps of each session, made small, so that a session costs next to nothing."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import gradio as gr
from fastapi import HTTPException
from gradio import route_utils
from gradio.state_holder import SessionState, StateHolder

MAX_SESSIONS = 1000  # that are kept in memory
NEW_SESSION_COST = 5  # requests that a session which was not there counts
RATE_LIMIT: ContextVar[Callable[[float], bool] | None] = ContextVar("asked", default=None)  # may who asks ask so much?
TOO_MANY_VISITORS_MESSAGE = "Too many people are here at the moment: try again in a few minutes."
TOO_MANY_SESSIONS_MESSAGE = "Too many new sessions; wait a minute."


class LeanSessionState(SessionState):
    """Gradio's without its second copy of all components, which takes 50 ms and 1 MB and serves links that we close."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))

    def __setitem__(self, key: int, value: Any) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class BoundedStateHolder(StateHolder):
    """Gradio's, which gives up no session that is `live`: who comes while all are is refused."""

    def __init__(self, blocks: gr.Blocks, live: Callable[[str], bool]) -> None:
        super().__init__()
        self.is_live = live
        self.set_blocks(blocks)
        route_utils.SessionState = LeanSessionState  # for who names no session

    def __getitem__(self, session_id: str) -> SessionState:
        """Raises HTTPException with a sentence if there was no such session and there may be none."""
        if session_id not in self.session_data:
            self._check_limits(session_id)
            self.session_data[session_id] = LeanSessionState(self.blocks)
        return super().__getitem__(session_id)

    def _check_limits(self, session_id: str) -> None:
        if (allows := RATE_LIMIT.get()) is None:  # Gradio itself, as it says goodbye
            return
        if len(session_id) > 100:
            raise HTTPException(400, "This is no name of a session.")
        if not allows(NEW_SESSION_COST):
            raise HTTPException(429, TOO_MANY_SESSIONS_MESSAGE)
        if len(self.session_data) >= self.capacity:
            idle = next((name for name in self.session_data if not self.is_live(name)), None)
            if idle is None:
                raise HTTPException(503, TOO_MANY_VISITORS_MESSAGE)
            self.forget(idle)

    def update(self, session_id: str) -> None:
        with self.lock:
            self.session_data.move_to_end(session_id)

    def forget_idle(self, seconds: float) -> None:
        """Forget who has done nothing for so long and has nothing here."""
        before = datetime.now() - timedelta(seconds=seconds)
        for name, used in list(self.time_last_used.items()):
            if used < before and not self.is_live(name):
                self.forget(name)

    def forget(self, session_id: str) -> None:
        """Of who is gone, or was never there."""
        self.session_data.pop(session_id, None)
        self.time_last_used.pop(session_id, None)
