"""Session: what one visitor has on the page at the moment, and the folder that goes with them."""

import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medapp.errors import Cancelled
from medapp.imaging.volume import Volume
from medapp.result import Result

LIFETIME = 3600  # seconds that an idle visitor's result is kept


@dataclass(eq=False)
class Session:
    """The shown result, the reference it is compared with, and a folder for files made from them; never shared.

    `shown` counts what was put on the page, so that every file has a name of its own.
    """

    result: Result
    mm: np.ndarray  # (3,) RAS+ millimetres where the crosshair stands
    reference: Volume | None = None
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="medapp-")))
    shown: int = 0

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def close(session: Session | None) -> None:
    """For `gr.State(delete_callback=...)`."""
    if session is not None:
        session.close()


_cancelled: dict[str, threading.Event] = {}


def begin(visitor: str) -> threading.Event:
    """A fresh Cancel flag for the run that this visitor starts now."""
    _cancelled[visitor] = threading.Event()
    return _cancelled[visitor]


def cancel(visitor: str) -> None:
    """Ask the visitor's running job to stop at its next step."""
    if visitor in _cancelled:
        _cancelled[visitor].set()


def end(visitor: str) -> None:
    """Forget the visitor's flag."""
    _cancelled.pop(visitor, None)


def check(flag: threading.Event) -> None:
    """Raises Cancelled once the flag is set."""
    if flag.is_set():
        raise Cancelled("Cancelled. Nothing was kept.")
