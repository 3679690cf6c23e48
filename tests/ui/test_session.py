"""What visitors have is theirs, and is gone when they leave or after a time."""

import mmap
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from medapp.errors import InputError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.result import Result
from medapp.ui import session as sessions
from medapp.ui.disconnects import Departures
from medapp.ui.session import LIFETIME, Session, Visitors


def test_folders_are_of_one_visitor_and_of_no_other_user_of_the_machine():
    first, second = sessions.folder(), sessions.folder()
    assert first != second
    for place in (first, second, first.parent, sessions.uploads()):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert not sessions.uploads().is_relative_to(first.parent)
    assert sessions.home() in sessions.uploads().parents and sessions.home() in first.parents
    assert stat.S_IMODE(sessions.home().stat().st_mode) == 0o700
    assert Path(tempfile.gettempdir()) == sessions.home(), "where readers unpack goes with all the rest"


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    script = (
        "import sys, tempfile, time; from medapp.ui import session;"
        "(session.uploads() / 'scan.nii').write_text('x'); (session.folder() / 'mask.nii').write_text('x');"
        "print(session.home(), flush=True); time.sleep(float(sys.argv[1]))"
    )

    def started(seconds: int) -> tuple[subprocess.Popen, Path]:
        command = [sys.executable, "-c", script, str(seconds)]
        process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE)
        return process, Path(process.stdout.readline().decode().strip())

    (killed, left), (alive, used) = started(600), started(600)
    killed.kill()
    killed.wait()
    for place in (left, used):
        os.utime(place, (time.time() - 2 * sessions.FRESH,) * 2)
    assert (left / "uploads" / "scan.nii").exists()
    last, own = started(0)
    assert last.wait() == 0 and not own.exists(), "who ends takes everything along"
    assert not left.exists() and (used / "uploads" / "scan.nii").exists()
    alive.kill()
    alive.wait()


def test_old_folders_are_swept_without_anybody_coming(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now)
    (first := tmp_path / "what the page consists of").mkdir()
    old, used, broom = tmp_path / "old", tmp_path / "used", sessions.Broom(tmp_path)
    for place in (old, used):
        place.mkdir()
        (place / "mask.nii.gz").write_bytes(b"x")
    (half := tmp_path / "half an upload").write_bytes(b"x")
    broom.sweep()
    now += LIFETIME - 1
    (used / "report.html").write_bytes(b"x")
    broom.sweep()
    assert old.exists()
    now += 2
    broom.sweep()
    assert not old.exists() and not half.exists() and used.exists()
    now += LIFETIME / 11
    broom.sweep()
    assert used.exists()
    monkeypatch.setenv("MEDAPP_SPARE_MB", str(10**12))
    broom.sweep()
    assert not used.exists() and first.exists()


@pytest.mark.parametrize("years", [-3, 3])
def test_a_clock_that_jumps_takes_nothing_from_anybody(tmp_path, monkeypatch, years):
    broom = sessions.Broom(tmp_path)
    (tmp_path / "mine").mkdir()
    broom.sweep()
    before = time.time()
    monkeypatch.setattr(sessions.time, "time", lambda: before + years * 3e7)
    os.utime(tmp_path / "mine", (before + years * 3e7,) * 2)
    broom.sweep()
    broom.sweep()
    assert (tmp_path / "mine").exists()


def test_who_leaves_takes_everything_along_and_nothing_of_others():
    visitors, mm = Visitors(), np.zeros(3)
    mine = [visitors.keep("a", Session(Result({}), mm), place) for place in ("one", "two")]
    other = visitors.keep("b", Session(Result({}), mm), "one")
    mine.append(visitors.keep("a", Session(Result({}), mm), "one"))
    assert not mine[0].folder.exists() and mine[1].folder.exists()
    with visitors.running("a") as flag, visitors.running("b") as others:
        visitors.leave("a")
        visitors.leave("a")
    assert not any(held.folder.exists() for held in mine) and flag.is_set()
    assert other.folder.exists() and not others.is_set()
    visitors.leave("b")


def test_nobody_is_remembered_who_never_said_goodbye():
    visitors, mm = Visitors(), np.zeros(3)
    held = [visitors.keep(name, Session(Result({}), mm), place) for name in "ab" for place in ("one", "two")]
    with pytest.raises(ZeroDivisionError), visitors.running("a"):
        raise ZeroDivisionError
    for session in held:
        assert session.folder.exists()
        sessions.close(session)  # as Gradio does after LIFETIME
        assert not session.folder.exists()
    visitors.tidy()
    assert not visitors._sessions and not visitors._flags


def test_what_is_shown_lies_on_the_disk_until_it_is_closed():
    array = np.random.default_rng(0).normal(size=(80, 80, 60)).astype(np.float32)
    image = Volume(array, np.diag([1, 2, 3, 1.0]), name="FLAIR", unit="HU")
    field = Deformation(np.stack([array] * 3), image.affine)
    session = Session(Result({"image": image, "twice": image}, deformation=field), np.zeros(3), None, image)
    held = session.result.volumes["image"]
    np.testing.assert_array_equal(held.array, array)
    np.testing.assert_array_equal(session.result.deformation.vectors[1], array)
    assert (held.name, held.unit) == ("FLAIR", "HU") and not held.array.flags.writeable
    assert all(mapped(each) for each in (held.array, session.result.deformation.vectors, session.image.array))
    assert len(list((session.folder / "voxels").iterdir())) == 2, "each is written once"
    session.close()
    assert session.image is None and not session.folder.exists()
    with pytest.raises(InputError, match="run it again"):
        _ = session.result


def test_on_a_full_disk_those_make_room_whose_page_is_closed_the_oldest_first(monkeypatch):
    visitors, here, mm, free = Visitors(), Departures(), np.zeros(3), [10**12]
    monkeypatch.setattr(sessions, "departures", here)
    monkeypatch.setattr(sessions.shutil, "disk_usage", lambda place: SimpleNamespace(free=free[0]))
    kept = {name: visitors.keep(name, Session(Result({}), mm)) for name in "abcd"}
    for name in "abd":
        here.arrive(name)
    here.part("d")
    free[0] = 0
    kept["e"] = visitors.keep("e", Session(Result({}), mm))
    assert [held.folder.exists() for held in kept.values()] == [True, True, False, False, True]
    with pytest.raises(InputError, match="disk is full"):
        visitors.admit("e")
    assert kept["e"].folder.exists() and kept["a"].folder.exists()
    with pytest.raises(InputError, match="disk is full"):
        visitors.admit("f")
    assert not kept["e"].folder.exists(), "nobody looks at it"
    assert visitors.has("a") and not visitors.has("e")
    free[0] = 10**12
    visitors.admit("f")
    for name in "ab":
        visitors.leave(name)
    assert not any(visitors.has(name) for name in kept)


def mapped(array: np.ndarray) -> bool:
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None


def test_a_crosshair_from_the_browser_is_a_point_or_refused():
    np.testing.assert_array_equal(sessions.point([1, -2.5, 3]), [1, -2.5, 3])
    for bad in (
        None,
        "x",
        [1, 2],
        [[1, 2, 3]],
        [1, 2, float("nan")],
        [1, 2, 1e300],
        {"a": 1},
        [1, "b", 3],
        [[1], [2, 3]],
    ):
        with pytest.raises(InputError):
            sessions.point(bad)
