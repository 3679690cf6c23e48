"""Cleanup: a thread that removes files which nobody has touched for a while."""

import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from medapp.ui.ownership import ownership
from medapp.ui.visitors import visitors
from medapp.ui.workspace import LIFETIME, has_free_space, home_folder, remove_abandoned_folders

CLEANUP_INTERVAL = max(1, LIFETIME // 12)  # seconds


class CleanupThread(threading.Thread):
    """Remove what is put into `folders` and not written to for LIFETIME seconds; what is there at the start stays.

    Ages are measured on the monotonic clock, so that a change of the system's time removes nothing. While the disk is
    nearly full, a twelfth of LIFETIME suffices.
    """

    def __init__(self, *folders: Path) -> None:
        """Note what is in the folders now."""
        super().__init__(daemon=True, name="cleanup")
        self.folders = folders
        self._permanent = {path for folder in folders for path in folder.iterdir()}
        self._last_writes: dict[Path, tuple[int, float]] = {}  # modification time, and when it was first seen

    def run(self) -> None:
        """Clean up every CLEANUP_INTERVAL seconds while the process's folder exists."""
        while home_folder().is_dir():
            self.remove_old_files()
            visitors.forget_closed()
            ownership.forget_missing_files()
            remove_abandoned_folders(home_folder().parent)  # also of a process killed less than LOCK_GRACE ago
            time.sleep(CLEANUP_INTERVAL)

    def remove_old_files(self) -> None:
        """Remove everything in the folders that is too old by now."""
        now = time.monotonic()
        max_age = LIFETIME if has_free_space() else LIFETIME / 12
        last_writes = {}
        for path in self._paths():
            with suppress(OSError):  # removed by somebody else
                written = path.stat().st_mtime_ns
                before, since = self._last_writes.get(path, (None, now))
                last_writes[path] = written, since if before == written else now
                if now - last_writes[path][1] > max_age:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._last_writes = last_writes

    def _paths(self) -> list[Path]:
        paths = []
        for folder in self.folders:
            with suppress(OSError):  # the process ends
                paths += [path for path in folder.iterdir() if path not in self._permanent]
        return paths
