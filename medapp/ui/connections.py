"""Connections: which visitors have the page open, and what happens once they have closed it.

A page that loses its connection has GRACE seconds to come back before its visitor is forgotten.
"""

import threading
import time
from collections.abc import Callable

from medapp.serving import run_log

GRACE = 10.0  # seconds


class Connections:
    """The open connections of every session, and the callbacks due after their end. Its methods are thread-safe."""

    def __init__(self, grace: float = GRACE) -> None:
        """Start without connections; `grace` is in seconds."""
        self.grace = grace
        self._callbacks: dict[str, tuple[float, Callable[[str], None]]] = {}  # by session: when due, and what to call
        self._open: dict[str, int] = {}
        self._has_thread = False
        self._lock = threading.Lock()

    def open(self, session: str) -> None:
        """Note another open connection of the session and drop its callback."""
        with self._lock:
            self._open[session] = self._open.get(session, 0) + 1
            self._callbacks.pop(session, None)

    def close(self, session: str) -> None:
        """Note that a connection of the session has ended."""
        with self._lock:
            self._open[session] = self._open.get(session, 1) - 1
            if self._open[session] <= 0:
                del self._open[session]

    def is_open(self, session: str) -> bool:
        """Whether the session has an open connection."""
        with self._lock:
            return session in self._open

    def call_after_grace(self, session: str, callback: Callable[[str], None]) -> None:
        """Call `callback(session)` after the grace period, unless the session has or opens a connection by then."""
        with self._lock:
            if self._open.get(session, 0) > 1:  # besides the one that is about to end
                return
            self._callbacks[session] = time.monotonic() + self.grace, callback
            if not self._has_thread:
                self._has_thread = True
                threading.Thread(target=self._run_callbacks, daemon=True).start()

    def _run_callbacks(self) -> None:
        while True:
            time.sleep(min(1.0, self.grace / 4))
            now = time.monotonic()
            with self._lock:
                due = [(session, callback) for session, (when, callback) in self._callbacks.items() if when <= now]
                for session, _ in due:
                    del self._callbacks[session]
                self._has_thread = bool(self._callbacks)
                is_last_round = not self._has_thread
            for session, callback in due:
                try:
                    callback(session)
                except Exception as error:
                    run_log.log_fault(error)
            if is_last_round:
                return


connections = Connections()
