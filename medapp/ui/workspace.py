"""Workspace: the folders on disk in which one process keeps its visitors' uploads and results.

Environment: MEDAPP_LIFETIME is the number of seconds for which files that nobody touches are kept, one hour by default.
MEDAPP_SPARE_MB is how much of the disk, in megabytes, must stay free.
"""

import atexit
import os
import shutil
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

LIFETIME = max(2, int(os.environ.get("MEDAPP_LIFETIME", 3600)))  # seconds for which untouched files are kept
HOME_PREFIX = "medapp-app-"  # begins the name of a process's folder
MIN_FREE_MB = 1024  # of the disk, unless MEDAPP_SPARE_MB says otherwise
LOCK_GRACE = 60.0  # seconds within which a new process locks its folder
DISK_FULL_MESSAGE = "The disk is full at the moment; try again in an hour."


@cache
def home_folder() -> Path:
    """Create the folder that holds all files of this process; it is removed when the process ends.

    Only this user may read it. It stays locked while the process lives, so that a later process can tell which folders
    a killed one left behind. From the first call on, Python's temporary files are created in it, too.
    """
    remove_abandoned_folders(Path(tempfile.gettempdir()))
    home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
    atexit.register(remove_folder, home)
    lock_folder(home)
    tempfile.tempdir = str(home)
    return home


def remove_folder(folder: Path) -> None:
    """Remove a folder that other threads may be writing to.

    First it gets a name under which they do not find it, and a file its old one, so that they cannot make it anew.
    """
    ended = folder.with_name(f"{folder.name}-ended")
    with suppress(OSError):
        folder.rename(ended)
        folder.touch()
    shutil.rmtree(ended if ended.exists() else folder, ignore_errors=True)
    with suppress(OSError):
        folder.unlink()


def lock_folder(folder: Path) -> int | None:
    """Lock a folder until this process ends or the returned file descriptor is closed.

    Returns None if another process holds the lock, and always on Windows, which has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def remove_abandoned_folders(parent: Path) -> None:
    """Remove the folders that killed processes have left in a folder of temporary files."""
    for abandoned in parent.glob(f"{HOME_PREFIX}*"):
        with suppress(OSError):  # another user's
            if time.time() - abandoned.stat().st_mtime > LOCK_GRACE and (lock := lock_folder(abandoned)) is not None:
                shutil.rmtree(abandoned, ignore_errors=True)
                os.close(lock)


@cache
def results_folder() -> Path:
    """Create the folder that holds the folders of `new_folder`."""
    return _create_folder("visitors")


@cache
def uploads_folder() -> Path:
    """Create the folder in which Gradio keeps uploads and the files that it serves."""
    return _create_folder("uploads")


def new_folder() -> Path:
    """Create an empty folder; the cleanup thread removes it once nothing was written to it for LIFETIME seconds."""
    return Path(tempfile.mkdtemp(dir=results_folder()))


@cache
def examples_folder() -> Path:
    """Create the folder that holds the folders of `create_example_folder`."""
    return _create_folder("examples")


def create_example_folder() -> Path:
    """Create an empty folder for the result of an example, which is kept as long as the process lives."""
    return Path(tempfile.mkdtemp(dir=examples_folder()))


def has_free_space() -> bool:
    """Whether at least MEDAPP_SPARE_MB of the disk are free."""
    free = shutil.disk_usage(home_folder()).free
    return free >= int(os.environ.get("MEDAPP_SPARE_MB", MIN_FREE_MB)) * 1024**2


def _create_folder(name: str) -> Path:
    folder = home_folder() / name
    folder.mkdir(0o700)
    return folder
