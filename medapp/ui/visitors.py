"""Visitors: what each of them has on the page, and whether they want their run to stop."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from medapp.errors import CancelledError, InputError
from medapp.ui.connections import connections
from medapp.ui.session import Closable
from medapp.ui.workspace import DISK_FULL_MESSAGE, has_free_space

S = TypeVar("S", bound=Closable)


@dataclass
class Kept:
    """What is kept of a visitor's at one place: the newest first, and the one that is shown."""

    sessions: list[Closable]
    shown: Closable


class Visitors:
    """The open sessions and the cancel flag of every visitor.

    A visitor is named by Gradio's session hash; their sessions by a place on the page, usually a tab.
    """

    def __init__(self) -> None:
        """Start without visitors."""
        self._kept: dict[str, dict[str, Kept]] = {}
        self._cancel_flags: dict[str, list[threading.Event]] = {}
        self._failures: dict[str, str] = {}
        self._lock = threading.Lock()

    def keep(self, visitor: str, session: S, place: str = "", most: int = 1) -> S:
        """Make this the visitor's shown session at a place, of which `most` are kept: the oldest ones are closed.

        If the disk is nearly full, sessions of visitors whose page is closed are removed, least recently changed first.
        """
        places = self._kept.pop(visitor, {})
        before = places[place].sessions if place in places else []
        self._kept[visitor] = places | {place: Kept([session, *before[: most - 1]], session)}
        for old in before[most - 1 :]:
            old.close()
        self.free_space(visitor)
        return session

    def find(self, visitor: str, place: str) -> Closable | None:
        """Return the visitor's shown session at a place, if there is one."""
        kept = self._kept.get(visitor, {}).get(place)
        return kept.shown if kept else None

    def list_kept(self, visitor: str, place: str) -> list[Closable]:
        """Return the visitor's sessions at a place, the newest first."""
        kept = self._kept.get(visitor, {}).get(place)
        return [session for session in kept.sessions if session.folder.exists()] if kept else []

    def list_files(self, visitor: str) -> list[str]:
        """Return the uploads that the visitor's results were made of."""
        places = self._kept.get(visitor, {}).values()
        return [path for kept in places for session in kept.sessions for path in getattr(session, "files", ())]

    def choose(self, visitor: str, session: Closable, place: str) -> None:
        """Make one of the visitor's sessions at a place the shown one."""
        self._kept[visitor][place].shown = session

    def drop(self, visitor: str, place: str) -> None:
        """Close the visitor's sessions at a place."""
        if kept := self._kept.get(visitor, {}).pop(place, None):
            for session in kept.sessions:
                session.close()

    def take_over(self, visitor: str, former: Iterable[str]) -> None:
        """Give a visitor who has nothing yet what the last of their former sessions holds whose page is closed.

        So it is after a reload. `former` may name the visitor and sessions that hold nothing.
        """
        with self._lock:
            names = {*former} - {visitor}
            if visitor in self._kept:
                return
            for other in reversed(list(self._kept)):
                if other in names and not connections.is_open(other):
                    self._kept[visitor] = self._kept.pop(other)
                    return

    def free_space(self, visitor: str = "") -> bool:
        """Close sessions of others whose page is closed until the disk has room, then those of the visitor's own that
        are not shown, the oldest first; returns whether it now has."""
        for other in list(self._kept):
            if has_free_space():
                break
            if other != visitor and not connections.is_open(other):
                self._close(other)
        for kept in list(self._kept.get(visitor, {}).values()):
            for session in reversed(kept.sessions):
                if session is not kept.shown and not has_free_space():
                    kept.sessions.remove(session)
                    session.close()
        return has_free_space()

    def check_space(self, visitor: str = "") -> None:
        """Raise InputError if the disk has no room for another result of the visitor's."""
        if not self.free_space(visitor):
            raise InputError(DISK_FULL_MESSAGE)

    def has_session(self, visitor: str) -> bool:
        """Whether the visitor has an open session."""
        return visitor in self._kept

    def is_running(self, visitor: str) -> bool:
        """Whether a run of the visitor's can be cancelled."""
        return visitor in self._cancel_flags

    def forget_closed(self) -> None:
        """Forget sessions that were closed, or whose folders were removed, and visitors who have none left."""
        for visitor, places in list(self._kept.items()):
            for place, kept in list(places.items()):
                for session in [session for session in kept.sessions if not session.folder.exists()]:
                    kept.sessions.remove(session)
                    session.close()
                if not kept.sessions:
                    places.pop(place, None)
            if not places:
                self._close(visitor)

    def leave(self, visitor: str) -> None:
        """Cancel the visitor's run and remove their files."""
        self.cancel(visitor)
        self.take_failure(visitor)
        self._close(visitor)

    def _close(self, visitor: str) -> None:
        for kept in self._kept.pop(visitor, {}).values():
            for session in kept.sessions:
                session.close()

    @contextmanager
    def running(self, visitor: str) -> Iterator[threading.Event]:
        """A context for one run of the visitor's: yields its cancel flag."""
        flag = threading.Event()
        self._cancel_flags[visitor] = [*self._cancel_flags.get(visitor, ()), flag]
        try:
            yield flag
        finally:
            others = [other for other in self._cancel_flags.pop(visitor, ()) if other is not flag]
            if others:
                self._cancel_flags[visitor] = others

    def cancel(self, visitor: str) -> None:
        """Ask the visitor's runs to stop at their next step."""
        for flag in self._cancel_flags.pop(visitor, ()):
            flag.set()

    def note_failure(self, visitor: str, sentence: str) -> None:
        """Remember why the visitor's last run failed, until `take_failure`."""
        self._failures[visitor] = sentence

    def take_failure(self, visitor: str) -> str:
        """Return why the visitor's last run failed, and forget it; "" if it is not known."""
        return self._failures.pop(visitor, "")


visitors = Visitors()


def check_cancelled(flag: threading.Event) -> None:
    """Raise CancelledError once the flag is set."""
    if flag.is_set():
        raise CancelledError("Cancelled. Nothing was kept.")
