"""Kept upload: the files of one upload box, read once for what is said of them and for the run."""

import shutil
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import sandbox
from medapp.serving.input_fit import Fit
from medapp.ui.array_store import ArrayStore
from medapp.ui.visitors import visitors
from medapp.ui.workspace import new_folder

MAX_WAITING = 3  # looks at uploads that wait for others; more are left out, so that runs and pictures go on
_looking, _waiting = threading.BoundedSemaphore(1), threading.BoundedSemaphore(1 + MAX_WAITING)


class KeptUpload:
    """The files of a box, what they hold once they were read, and how it fits; a visitor's session among others.

    `key` tells whether it is of these files, read in this way.
    """

    def __init__(self, key: tuple, paths: Sequence[str], series: str | None, how: dict[str, Any]) -> None:
        """Nothing is read yet; `how` are options of `sandbox.read`."""
        self.key, self.folder = key, new_folder()
        self.fit: Fit | None = None
        self._arguments, self._how = (list(paths), series), how
        self._lock = threading.Lock()
        self._outcome: Volume | InputError | None = None

    def read(self) -> Volume:
        """Return what the files hold, its voxels in a file. Raises what `sandbox.read` raises, each time."""
        with self._lock:
            if self._outcome is None:
                try:
                    volume = sandbox.read(*self._arguments, **self._how)
                except InputError as error:
                    self._outcome = error
                else:
                    try:
                        self._outcome = ArrayStore(self.folder / "voxels").store_volume(volume)
                    except OSError:  # the disk is full, or the visitor has left
                        return volume
        if isinstance(self._outcome, InputError):
            raise self._outcome
        return self._outcome

    def close(self) -> None:
        """Remove the voxels."""
        self._outcome = self.fit = None
        shutil.rmtree(self.folder, ignore_errors=True)


def find_upload(visitor: str, place: str, paths: Sequence[str], series: str | None, **how: Any) -> KeptUpload:
    """Return what is kept of these files at a place of the visitor's, which takes the place of what was there."""
    key = (*paths, series or "", *sorted(how.items()))
    kept = visitors.find(visitor, place)
    if isinstance(kept, KeptUpload) and kept.key == key and kept.folder.exists():
        return kept
    return visitors.keep(visitor, KeptUpload(key, paths, series or None, how), place)


@contextmanager
def looking():
    """A context for a look at an upload, one at a time: yields False where too many wait already."""
    if not _waiting.acquire(blocking=False):
        yield False
        return
    try:
        with _looking:
            yield True
    finally:
        _waiting.release()
