"""The folders on disk are private to one user of the machine, and go with the process that made them."""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from medapp.ui.workspace import LOCK_GRACE, home_folder, new_folder, remove_folder, uploads_folder


def test_folders_are_distinct_and_readable_by_this_user_alone():
    first, second = new_folder(), new_folder()
    assert first != second
    for folder in (first, second, first.parent, uploads_folder(), home_folder()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not uploads_folder().is_relative_to(first.parent)
    assert home_folder() in uploads_folder().parents and home_folder() in first.parents
    assert Path(tempfile.gettempdir()) == home_folder(), "temporary files of libraries are removed with all others"


def test_folders_of_a_killed_process_are_removed_by_the_next_one(tmp_path):
    script = (
        "import sys, time; from medapp.ui import workspace;"
        "(workspace.uploads_folder() / 'scan.nii').write_text('x');"
        "(workspace.new_folder() / 'mask.nii').write_text('x');"
        "print(workspace.home_folder(), flush=True); time.sleep(float(sys.argv[1]))"
    )

    def start(seconds: int) -> tuple[subprocess.Popen, Path]:
        command = [sys.executable, "-c", script, str(seconds)]
        process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE)
        return process, Path(process.stdout.readline().decode().strip())

    (killed, abandoned), (alive, used) = start(600), start(600)
    killed.kill()
    killed.wait()
    for folder in (abandoned, used):
        os.utime(folder, (time.time() - 2 * LOCK_GRACE,) * 2)
    assert (abandoned / "uploads" / "scan.nii").exists()
    last, own = start(0)
    assert last.wait() == 0 and not own.exists(), "a process that ends removes its folder"
    assert not abandoned.exists() and (used / "uploads" / "scan.nii").exists()
    alive.kill()
    alive.wait()


def test_a_folder_is_removed_while_something_is_written_to_it(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    wanted, written = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not wanted.is_set():
            number += 1
            with contextlib.suppress(OSError):
                (home / str(number)).write_text("a patient")
            written.set()

    thread = threading.Thread(target=write)
    thread.start()
    written.wait(10)
    remove_folder(home)
    wanted.set()
    thread.join(10)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_made_anew_while_it_is_removed(tmp_path, monkeypatch):
    home, remove = tmp_path / "home", shutil.rmtree
    home.mkdir()

    def write_meanwhile(folder, **options) -> None:
        with pytest.raises(OSError, match="home"):
            (home / "uploads").mkdir(parents=True)
        remove(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", write_meanwhile)
    remove_folder(home)
    assert not list(tmp_path.iterdir())
