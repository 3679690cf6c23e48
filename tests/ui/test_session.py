"""What visitors have is theirs alone, and is removed when they leave or when the disk runs full."""

from types import SimpleNamespace

import numpy as np
import pytest

from medapp.errors import CancelledError, InputError
from medapp.imaging.volume import Volume
from medapp.result import Result
from medapp.ui import visitors as visiting
from medapp.ui import workspace
from medapp.ui.connections import Connections
from medapp.ui.session import Session, close_session, parse_position
from medapp.ui.visitors import Visitors, check_cancelled


def test_who_leaves_takes_everything_along_and_nothing_of_others():
    visitors, mm = Visitors(), np.zeros(3)
    mine = [visitors.keep("a", Session(Result({}), mm), place) for place in ("one", "two")]
    other = visitors.keep("b", Session(Result({}), mm), "one")
    mine.append(visitors.keep("a", Session(Result({}), mm), "one"))
    assert not mine[0].folder.exists() and mine[1].folder.exists()
    with visitors.running("a") as flag, visitors.running("b") as others:
        visitors.leave("a")
        visitors.leave("a")
    assert not any(session.folder.exists() for session in mine)
    with pytest.raises(CancelledError):
        check_cancelled(flag)
    check_cancelled(others)
    assert other.folder.exists()
    visitors.leave("b")


def test_visitors_who_never_say_goodbye_are_forgotten():
    visitors, mm = Visitors(), np.zeros(3)
    kept = [visitors.keep(name, Session(Result({}), mm), place) for name in "ab" for place in ("one", "two")]
    with pytest.raises(ZeroDivisionError), visitors.running("a"):
        raise ZeroDivisionError
    for session in kept:
        assert session.folder.exists()
        close_session(session)  # as Gradio does after LIFETIME
        assert not session.folder.exists()
    visitors.forget_closed()
    assert not any(visitors.has_session(name) or visitors.is_running(name) for name in "ab")


def test_a_closed_session_keeps_neither_files_nor_images():
    image = Volume(np.zeros((80, 80, 60), np.float32), np.eye(4))
    session = Session(Result({"image": image}), np.zeros(3), image, image)
    assert len(list((session.folder / "voxels").iterdir())) == 1
    session.close()
    assert session.image is None and session.reference is None and not session.folder.exists()
    with pytest.raises(InputError, match="run it again"):
        _ = session.result


def test_on_a_full_disk_sessions_of_closed_pages_are_removed_oldest_first(monkeypatch):
    visitors, connections, mm, free = Visitors(), Connections(), np.zeros(3), [10**12]
    monkeypatch.setattr(visiting, "connections", connections)
    monkeypatch.setattr(workspace.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    kept = {name: visitors.keep(name, Session(Result({}), mm)) for name in "abcd"}
    for name in "abd":
        connections.open(name)
    connections.close("d")
    free[0] = 0
    kept["e"] = visitors.keep("e", Session(Result({}), mm))
    assert [session.folder.exists() for session in kept.values()] == [True, True, False, False, True]
    with pytest.raises(InputError, match="disk is full"):
        visitors.check_space("e")
    assert kept["e"].folder.exists() and kept["a"].folder.exists()
    with pytest.raises(InputError, match="disk is full"):
        visitors.check_space("f")
    assert not kept["e"].folder.exists(), "its page is closed"
    assert visitors.has_session("a") and not visitors.has_session("e")
    free[0] = 10**12
    visitors.check_space("f")
    for name in "ab":
        visitors.leave(name)
    assert not any(visitors.has_session(name) for name in kept)


@pytest.mark.parametrize(
    "value",
    [None, "x", [1, 2], [[1, 2, 3]], [1, 2, float("nan")], [1, 2, 1e300], {"a": 1}, [1, "b", 3], [[1], [2, 3]]],
    ids=str,
)
def test_a_position_that_is_no_point_is_refused(value):
    np.testing.assert_array_equal(parse_position([1, -2.5, 3]), [1, -2.5, 3])
    with pytest.raises(InputError):
        parse_position(value)
