"""Session: what one visitor has on the page at the moment, and the folder that goes with it; never shared.

Environment: MEDAPP_LIFETIME is for how many seconds what a visitor left is kept, an hour by default.
"""

import atexit
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from medapp.errors import Cancelled, InputError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.limits import MAX_AWAY
from medapp.result import Result
from medapp.ui.disconnects import departures
from medapp.ui.ownership import ownership

LIFETIME = max(2, int(os.environ.get("MEDAPP_LIFETIME", 3600)))  # seconds that what a visitor left is kept
SWEEP = max(1, LIFETIME // 12)  # seconds between looks at what is old
HOME = "medapp-app-"  # begins the name of a process's folder
SPARE_MB = 1024  # of the disk that stay free
SMALL = 2**20  # bytes up to which an array stays in memory
FULL = "The disk is full at the moment; try again in an hour."
FRESH = 60.0  # seconds for which a folder may not be locked yet


@cache
def home() -> Path:
    """Holds everything that this process keeps of anybody, and goes with it; no other user may look into it.

    It is locked as long as the process lives, so that the next one can tell what a killed one left behind, and removes
    it. Whoever asks Python for temporary files gets them in here from now on.
    """
    cleared(Path(tempfile.gettempdir()))
    made = Path(tempfile.mkdtemp(prefix=HOME))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    locked(made)
    tempfile.tempdir = str(made)
    return made


def locked(place: Path) -> int | None:
    """Lock a folder until this process ends, or the number returned is closed; None if another has locked it.

    Windows knows no such locks: None, and nothing is removed by them.
    """
    try:
        import fcntl
    except ImportError:
        return None
    number = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(number)
        return None
    return number


def cleared(place: Path) -> None:
    """Remove what processes that were killed have left in a folder of temporary files."""
    for left in place.glob(f"{HOME}*"):
        with suppress(OSError):  # another user's
            if time.time() - left.stat().st_mtime > FRESH and (lock := locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


@cache
def _root() -> Path:
    """Holds the folders of visitors."""
    root = home() / "visitors"
    root.mkdir(0o700)
    sweep(root)
    return root


@cache
def uploads() -> Path:
    """Where Gradio keeps uploads and what it serves, of which it deletes after LIFETIME what it has taken down."""
    place = home() / "uploads"
    place.mkdir(0o700)
    return place


def roomy() -> bool:
    """Whether the disk has as much room left as it is to keep, MEDAPP_SPARE_MB."""
    return shutil.disk_usage(home()).free >= int(os.environ.get("MEDAPP_SPARE_MB", SPARE_MB)) * 1024**2


def folder() -> Path:
    """A new empty folder, which is gone when the process ends or soon after LIFETIME at the latest."""
    return Path(tempfile.mkdtemp(dir=_root()))


class Broom:
    """Removes what lies in `root` and has not been written to for LIFETIME, whatever the clock on the wall does.

    What is there when the broom is made stays. While the disk is short, a twelfth of the time is enough.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stays = frozenset(root.iterdir())
        self._written: dict[Path, tuple[int, float]] = {}  # when, in its own words, and when that was seen

    def sweep(self) -> None:
        now, there = time.monotonic(), {}
        patience = LIFETIME if roomy() else LIFETIME / 12
        for path in self.root.iterdir():
            if path in self.stays:
                continue
            with suppress(OSError):  # gone in the meantime
                written = path.stat().st_mtime_ns
                before, seen = self._written.get(path, (None, now))
                there[path] = written, seen if before == written else now
                if now - there[path][1] > patience:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._written = there


_brooms: list[Broom] = []


def sweep(root: Path) -> None:
    """From now on, remove what is put into `root` and not written to for LIFETIME; what is there now stays."""
    _brooms.append(Broom(root))
    if len(_brooms) == 1:
        threading.Thread(target=_sweeping, daemon=True).start()


def _sweeping() -> None:
    while home().is_dir():
        for broom in list(_brooms):
            with suppress(OSError):
                broom.sweep()
        visitors.tidy()
        ownership.tidy()
        cleared(home().parent)  # of one that was killed less than FRESH before this process began, too
        time.sleep(SWEEP)


class Shelf:
    """Puts arrays into files of a new folder and hands them back as they lie there.

    They are read where they are looked at, so that visitors who leave their pages open take the machine's disk, which
    is watched, and not its memory.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._laid: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # the arrays too, so that no number is used again

    def array(self, array: np.ndarray) -> np.ndarray:
        """The same, from the disk; small ones stay where they are."""
        if array.nbytes < SMALL:
            return array
        if id(array) not in self._laid:
            path = self.folder / f"{len(self._laid)}.npy"
            np.save(path, array)
            self._laid[id(array)] = array, np.asarray(np.load(path, mmap_mode="r"))
        return self._laid[id(array)][1]

    def sheet(self, array: np.ndarray) -> np.ndarray:
        """A copy to be written on, on the disk unless it is small."""
        if array.nbytes < SMALL:
            return array.copy()
        copy = np.lib.format.open_memmap(self.folder / "sheet.npy", "w+", array.dtype, array.shape)
        copy[...] = array
        return copy

    def volume(self, volume: Volume) -> Volume:
        return replace(volume, array=self.array(volume.array))

    def deformation(self, field: Deformation | None) -> Deformation | None:
        return field and replace(field, vectors=self.array(field.vectors))

    def result(self, result: Result) -> Result:
        volumes = {name: self.volume(v) for name, v in result.volumes.items()}
        there, back = self.deformation(result.deformation), self.deformation(result.inverse)
        return replace(result, volumes=volumes, deformation=there, inverse=back)


@dataclass(eq=False)
class Session:
    """The shown result, the point of the crosshair (3,) in RAS+ millimetres, and the reference it is compared with.

    `image` is what was put in. `shown` counts what was put on the page, so that every file has a name of its own. The
    voxels lie in `folder`.
    """

    _result: Result | None
    mm: np.ndarray
    reference: Volume | None = None
    image: Volume | None = None
    folder: Path = field(default_factory=folder)
    shown: int = 0

    def __post_init__(self) -> None:
        shelf = Shelf(self.folder / "voxels")
        self.result = shelf.result(self.result)
        self.reference = self.reference and shelf.volume(self.reference)
        self.image = self.image and shelf.volume(self.image)

    @property
    def result(self) -> Result:
        """Raises InputError once the session is closed."""
        if self._result is None:
            raise InputError("This result is no longer kept: run it again.")
        return self._result

    @result.setter
    def result(self, result: Result) -> None:
        self._result = result

    def close(self) -> None:
        """Remove the files and let go of what was read from them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._result = self.reference = self.image = None


class Closable(Protocol):
    """What has files to give back."""

    folder: Path

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
        """Make this what the visitor has at a place of the page, and close what was there before.

        If the disk runs full, those go for it whose page is closed, what has not changed longest first.
        """
        mine = self._sessions.pop(visitor, {})
        close(mine.pop(place, None))
        self._sessions[visitor] = mine | {place: session}
        self.make_room(visitor)
        return session

    def make_room(self, visitor: str = "") -> bool:
        """Remove what others have whose page is closed, while the disk is short; whether there is room now."""
        for other in list(self._sessions):
            if roomy():
                break
            if other != visitor and not departures.here(other):
                self._close(other)
        return roomy()

    def admit(self, visitor: str = "") -> None:
        """Raises InputError if there is no room for anything more of the visitor's."""
        if not self.make_room(visitor):
            raise InputError(FULL)

    def has(self, visitor: str) -> bool:
        """Whether something is kept for the visitor."""
        return visitor in self._sessions

    def tidy(self) -> None:
        """Forget what was closed otherwise, or whose folder was swept: not everybody says goodbye."""
        for visitor, mine in list(self._sessions.items()):
            if not any(session.folder.exists() for session in mine.values()):
                self._close(visitor)

    def leave(self, visitor: str) -> None:
        """Stop what the visitor has running and remove their files."""
        self.cancel(visitor)
        self._close(visitor)

    def _close(self, visitor: str) -> None:
        for session in self._sessions.pop(visitor, {}).values():
            session.close()

    @contextmanager
    def running(self, visitor: str) -> Iterator[threading.Event]:
        """A fresh Cancel flag for the run that this visitor starts now, as long as it lasts."""
        flag = self._flags[visitor] = threading.Event()
        try:
            yield flag
        finally:
            if self._flags.get(visitor) is flag:
                del self._flags[visitor]

    def cancel(self, visitor: str) -> None:
        """Ask the visitor's run to stop at its next step."""
        flag = self._flags.pop(visitor, None)
        if flag:
            flag.set()


visitors = Visitors()


def point(mm: object) -> np.ndarray:
    """(3,) RAS+ millimetres from what a browser says of its crosshair. Raises InputError if that is no point."""
    try:
        found = np.asarray(mm, np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (3,) or not (np.abs(found) < MAX_AWAY).all():
        raise InputError("The crosshair is at no point of the image.")
    return found


def check(flag: threading.Event) -> None:
    """Raises Cancelled once the flag is set."""
    if flag.is_set():
        raise Cancelled("Cancelled. Nothing was kept.")
