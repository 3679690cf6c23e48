"""Session: what one visitor has on the page at the moment, and the folder that goes with it; never shared."""

import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from medapp.errors import Cancelled
from medapp.imaging.volume import Volume
from medapp.result import Result

LIFETIME = 3600  # seconds that what a visitor left is kept


@cache
def _root() -> tempfile.TemporaryDirectory:
    """Holds every folder of this process and goes with it."""
    return tempfile.TemporaryDirectory(prefix="medapp-")


def folder() -> Path:
    """A new empty folder, which is gone when the process ends or after LIFETIME at the latest."""
    root = Path(_root().name)
    for old in root.iterdir():
        if time.time() - old.stat().st_mtime > LIFETIME:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=root))


@dataclass(eq=False)
class Session:
    """The shown result, the point of the crosshair (3,) in RAS+ millimetres, and the reference it is compared with.

    `image` is what was put in. `shown` counts what was put on the page, so that every file has a name of its own.
    """

    result: Result
    mm: np.ndarray
    reference: Volume | None = None
    image: Volume | None = None
    folder: Path = field(default_factory=folder)
    shown: int = 0

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Closable(Protocol):
    """What has something to give back."""

    def close(self) -> None: ...


S = TypeVar("S", bound=Closable)


def close(session: Closable | None) -> None:
    """For `gr.State(delete_callback=...)`."""
    if session is not None:
        session.close()


class Visitors:
    """Who is there: each visitor's sessions by tab, to be closed when they leave, and the Cancel flag of their run."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, Closable]] = {}
        self._flags: dict[str, threading.Event] = {}

    def keep(self, visitor: str, session: S, place: str = "") -> S:
        """Make this what the visitor has at a place of the page, and close what was there before."""
        mine = self._sessions.setdefault(visitor, {})
        close(mine.pop(place, None))
        mine[place] = session
        return session

    def leave(self, visitor: str) -> None:
        """Stop what the visitor has running and remove their files."""
        self.cancel(visitor)
        for session in self._sessions.pop(visitor, {}).values():
            close(session)

    def begin(self, visitor: str) -> threading.Event:
        """A fresh Cancel flag for the run that this visitor starts now."""
        self._flags[visitor] = threading.Event()
        return self._flags[visitor]

    def cancel(self, visitor: str) -> None:
        """Ask the visitor's run to stop at its next step."""
        flag = self._flags.pop(visitor, None)
        if flag:
            flag.set()


visitors = Visitors()


def check(flag: threading.Event) -> None:
    """Raises Cancelled once the flag is set."""
    if flag.is_set():
        raise Cancelled("Cancelled. Nothing was kept.")
