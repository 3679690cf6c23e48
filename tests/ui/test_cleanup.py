"""Files that nobody has written to for a while are removed; nothing else is."""

import os
import time

import pytest

from medapp.ui import cleanup
from medapp.ui.cleanup import CleanupThread
from medapp.ui.workspace import LIFETIME


def test_old_files_are_removed_and_sooner_while_the_disk_is_full(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(cleanup.time, "monotonic", lambda: now)
    (permanent := tmp_path / "of the page").mkdir()
    thread = CleanupThread(tmp_path)
    old, used = tmp_path / "old", tmp_path / "used"
    for folder in (old, used):
        folder.mkdir()
        (folder / "mask.nii.gz").write_bytes(b"x")
    (unfinished := tmp_path / "unfinished upload").write_bytes(b"x")
    thread.remove_old_files()
    now += LIFETIME - 1
    (used / "report.html").write_bytes(b"x")
    thread.remove_old_files()
    assert old.exists()
    now += 2
    thread.remove_old_files()
    assert not old.exists() and not unfinished.exists() and used.exists()
    now += LIFETIME / 11
    thread.remove_old_files()
    assert used.exists()
    monkeypatch.setenv("MEDAPP_SPARE_MB", str(10**12))
    thread.remove_old_files()
    assert not used.exists() and permanent.exists()


@pytest.mark.parametrize("years", [-3, 3])
def test_a_change_of_the_system_time_removes_nothing(tmp_path, monkeypatch, years):
    thread = CleanupThread(tmp_path)
    (tmp_path / "mine").mkdir()
    thread.remove_old_files()
    before = time.time()
    monkeypatch.setattr(cleanup.time, "time", lambda: before + years * 3e7)
    os.utime(tmp_path / "mine", (before + years * 3e7,) * 2)
    thread.remove_old_files()
    thread.remove_old_files()
    assert (tmp_path / "mine").exists()
