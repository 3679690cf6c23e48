"""Session: what one visitor currently has in one tab of the page; never shared with anybody else."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from medapp.errors import CancelledError, InputError
from medapp.imaging.volume import Volume
from medapp.limits import MAX_ORIGIN_MM
from medapp.result import Result, WrittenFiles
from medapp.ui.array_store import ArrayStore
from medapp.ui.connections import connections
from medapp.ui.workspace import DISK_FULL_MESSAGE, has_free_space, new_folder


@dataclass(eq=False)
class Session:
    """The displayed result, the crosshair position `mm` (3,) in RAS+ mm, and the reference that it is compared with.

    `image` is the uploaded main image. `shown` counts the displays, so that every file gets a name of its own;
    `written` are the files of the last display. The voxels are stored in `folder`, unless that `is_stored` elsewhere.
    """

    _result: Result | None
    mm: np.ndarray
    reference: Volume | None = None
    image: Volume | None = None
    folder: Path = field(default_factory=new_folder)
    shown: int = 0
    written: WrittenFiles | None = None
    is_stored: bool = False

    def __post_init__(self) -> None:
        """Move the voxels to files."""
        if self.is_stored:
            return
        store = ArrayStore(self.folder / "voxels")
        self.result = store.store_result(self.result)
        self.reference = self.reference and store.store_volume(self.reference)
        self.image = self.image and store.store_volume(self.image)

    @property
    def result(self) -> Result:
        """The displayed result. Raises InputError once the session is closed."""
        if self._result is None:
            raise InputError("This result is no longer kept: run it again.")
        return self._result

    @result.setter
    def result(self, result: Result) -> None:
        self._result = result

    def close(self) -> None:
        """Remove the files and drop what was read from them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._result = self.reference = self.image = None


class Closable(Protocol):
    """An object that owns a folder of files."""

    folder: Path

    def close(self) -> None:
        """Remove the files."""


S = TypeVar("S", bound=Closable)


def close_session(session: Closable | None) -> None:
    """Close a session, if there is one; for `gr.State(delete_callback=...)`."""
    if session is not None:
        session.close()


class Visitors:
    """The open sessions and the cancel flag of every visitor.

    A visitor is named by Gradio's session hash; their sessions by a place on the page, usually a tab.
    """

    def __init__(self) -> None:
        """Start without visitors."""
        self._sessions: dict[str, dict[str, Closable]] = {}
        self._cancel_flags: dict[str, list[threading.Event]] = {}
        self._failures: dict[str, str] = {}

    def keep(self, visitor: str, session: S, place: str = "") -> S:
        """Make this the visitor's session at a place and close the previous one.

        If the disk is nearly full, sessions of visitors whose page is closed are removed, least recently changed first.
        """
        sessions = self._sessions.pop(visitor, {})
        close_session(sessions.pop(place, None))
        self._sessions[visitor] = sessions | {place: session}
        self.free_space(visitor)
        return session

    def find(self, visitor: str, place: str) -> Closable | None:
        """Return the visitor's session at a place, if there is one."""
        return self._sessions.get(visitor, {}).get(place)

    def drop(self, visitor: str, place: str) -> None:
        """Close the visitor's session at a place, if there is one."""
        close_session(self._sessions.get(visitor, {}).pop(place, None))

    def free_space(self, visitor: str = "") -> bool:
        """Close sessions of others whose page is closed until the disk has room; returns whether it now has."""
        for other in list(self._sessions):
            if has_free_space():
                break
            if other != visitor and not connections.is_open(other):
                self._close(other)
        return has_free_space()

    def check_space(self, visitor: str = "") -> None:
        """Raise InputError if the disk has no room for another result of the visitor's."""
        if not self.free_space(visitor):
            raise InputError(DISK_FULL_MESSAGE)

    def has_session(self, visitor: str) -> bool:
        """Whether the visitor has an open session."""
        return visitor in self._sessions

    def is_running(self, visitor: str) -> bool:
        """Whether a run of the visitor's can be cancelled."""
        return visitor in self._cancel_flags

    def forget_closed(self) -> None:
        """Forget visitors whose sessions were closed, or whose folders were removed, without `leave`."""
        for visitor, sessions in list(self._sessions.items()):
            if not any(session.folder.exists() for session in sessions.values()):
                self._close(visitor)

    def leave(self, visitor: str) -> None:
        """Cancel the visitor's run and remove their files."""
        self.cancel(visitor)
        self.take_failure(visitor)
        self._close(visitor)

    def _close(self, visitor: str) -> None:
        for session in self._sessions.pop(visitor, {}).values():
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


def parse_position(value: object) -> np.ndarray:
    """Convert the crosshair position that a browser sends to (3,) RAS+ mm. Raises InputError if it is no point."""
    try:
        mm = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        mm = np.empty(0)
    if mm.shape != (3,) or not (np.abs(mm) < MAX_ORIGIN_MM).all():
        raise InputError("The crosshair is at no point of the image.")
    return mm


def check_cancelled(flag: threading.Event) -> None:
    """Raise CancelledError once the flag is set."""
    if flag.is_set():
        raise CancelledError("Cancelled. Nothing was kept.")
