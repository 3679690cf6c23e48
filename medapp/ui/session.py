"""Session: what one visitor currently has in one tab of the page; never shared with anybody else."""

import secrets
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from medapp.errors import InputError
from medapp.examples import Example
from medapp.imaging.volume import Volume
from medapp.limits import MAX_ORIGIN_MM
from medapp.result import Result, WrittenFiles
from medapp.ui.array_store import ArrayStore, is_stored
from medapp.ui.viewer.view_state import ViewState
from medapp.ui.workspace import new_folder


@dataclass(eq=False)
class Session:
    """The displayed result, the crosshair position `mm` (3,) in RAS+ mm, and the reference that it is compared with.

    `image` is the uploaded main image, `files` are the paths that it was uploaded to, and `fits` the names of the
    methods that it fits. `example` is whose result it is, if one's; `state` how it was shown where it was saved or
    linked to. `raters` are other raters' masks; `beside` is another session that it is compared with, and
    `beside_result` the result that this had then. `thumbnail` is a result and its small picture as a data address.
    `case` names the result to the browser, `strokes` are those of its correction by hand that the result holds; `lock`
    is held while the result is changed. `label` is the person's in BIDS, "" for files with plain names. `scene` is what
    the browser shows of the result, once it was made. `shown` counts the displays, so that every file gets a name of
    its own; `written` are the files of the last display. The voxels are stored in `folder`, unless that `is_stored`
    elsewhere.
    """

    _result: Result | None
    mm: np.ndarray
    reference: Volume | None = None
    image: Volume | None = None
    folder: Path = field(default_factory=new_folder)
    shown: int = 0
    written: WrittenFiles | None = None
    is_stored: bool = False
    case: str = field(default_factory=lambda: secrets.token_hex(8))
    strokes: int = 0
    label: str = ""
    example: Example | None = None
    state: ViewState | None = None
    files: tuple[str, ...] = ()
    fits: tuple[str, ...] = ()
    raters: tuple[Volume, ...] = ()
    beside: "Session | None" = field(default=None, repr=False)
    beside_result: Result | None = field(default=None, repr=False)
    thumbnail: tuple[Result, str] | None = field(default=None, repr=False)
    scene: Any = field(default=None, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

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
        """The displayed result; another one has no scene yet. Raises InputError once the session is closed."""
        self.check_open()
        assert self._result is not None
        return self._result

    @result.setter
    def result(self, result: Result) -> None:
        self._result, self.scene = result, None

    def store(self) -> None:
        """Move what was computed since to files, for a result that is no longer shown."""
        with self.lock:
            if self._result is None or all(is_stored(volume.array) for volume in self._result.volumes.values()):
                return
            stored = ArrayStore(self.folder / f"voxels-{secrets.token_hex(4)}").store_result(self._result)
            if self.is_closed:  # meanwhile
                return
            if self.thumbnail is not None and self.thumbnail[0] is self._result:
                self.thumbnail = stored, self.thumbnail[1]
            self._result = stored

    @property
    def is_closed(self) -> bool:
        """Whether newer results have taken its place, or it was kept for too long."""
        return self._result is None

    def check_open(self) -> None:
        """Raise InputError once the session is closed."""
        if self.is_closed:
            raise InputError("This result is no longer kept: run it again.")

    def close(self) -> None:
        """Remove the files and drop what was read from them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._result = self.reference = self.image = self.scene = self.thumbnail = None
        self.beside = self.beside_result = None
        self.raters = ()


class Closable(Protocol):
    """An object that owns a folder of files."""

    folder: Path

    def close(self) -> None:
        """Remove the files."""


def close_session(session: Closable | None) -> None:
    """Close a session, if there is one; for `gr.State(delete_callback=...)`."""
    if session is not None:
        session.close()


def parse_position(value: object) -> np.ndarray:
    """Convert the crosshair position that a browser sends to (3,) RAS+ mm. Raises InputError if it is no point."""
    try:
        mm = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        mm = np.empty(0)
    if mm.shape != (3,) or not (np.abs(mm) < MAX_ORIGIN_MM).all():
        raise InputError("The crosshair is at no point of the image.")
    return mm
