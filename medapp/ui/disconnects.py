"""Departures: who closes the page has a few seconds to come back, as after a torn line; then it is forgotten."""

import threading
import time
from collections.abc import Callable

from medapp.serving import run_log

GRACE = 10.0  # seconds


class Departures:
    """Sessions that were left, and what is to be done once nobody has come back to them."""

    def __init__(self, grace: float = GRACE) -> None:
        self.grace = grace
        self._left: dict[str, tuple[float, Callable[[str], None]]] = {}
        self._here: dict[str, int] = {}
        self._watched = False
        self._lock = threading.Lock()

    def arrive(self, session: str) -> None:
        """A page of the session is open."""
        with self._lock:
            self._here[session] = self._here.get(session, 0) + 1
            self._left.pop(session, None)

    def part(self, session: str) -> None:
        """It is open no more."""
        with self._lock:
            self._here[session] = self._here.get(session, 1) - 1
            if self._here[session] <= 0:
                del self._here[session]

    def here(self, session: str) -> bool:
        """Whether a page of the session is open."""
        with self._lock:
            return session in self._here

    def leave(self, session: str, forget: Callable[[str], None]) -> None:
        """Call `forget` with the session after the time of grace, unless it has arrived again by then."""
        with self._lock:
            if self._here.get(session, 0) > 1:  # its other stream stays
                return
            self._left[session] = time.monotonic() + self.grace, forget
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self.grace / 4))
            now = time.monotonic()
            with self._lock:
                due = [(session, forget) for session, (when, forget) in self._left.items() if when <= now]
                for session, _ in due:
                    del self._left[session]
                self._watched = bool(self._left)
                more = self._watched
            for session, forget in due:
                try:
                    forget(session)
                except Exception as error:
                    run_log.fault(error)
            if not more:
                return


departures = Departures()
