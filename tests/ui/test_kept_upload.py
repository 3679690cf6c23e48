"""The files of a box are read once, for the line above Run and for the run; nobody else gets them."""

import threading

import numpy as np
import pytest

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.ui import kept_upload
from medapp.ui.kept_upload import MAX_WAITING, find_upload, looking
from medapp.ui.visitors import visitors


@pytest.fixture
def reads(monkeypatch):
    """What is read, path by path; a path that begins with "bad" cannot be."""
    log = []

    def read(paths, series, **how):
        log.append(paths[0])
        if paths[0].startswith("bad"):
            raise InputError("It is damaged.")
        return Volume(np.zeros((120, 120, 120), np.float32), np.eye(4), **how)

    monkeypatch.setattr(kept_upload.sandbox, "read", read)
    yield log
    for visitor in ("one", "other"):
        visitors.leave(visitor)


def test_a_file_is_read_once_and_a_refusal_is_kept(reads):
    upload = find_upload("one", "ms/flair", ["a"], None, name="FLAIR")
    assert upload.read() is find_upload("one", "ms/flair", ["a"], "", name="FLAIR").read() and reads == ["a"]
    for _ in range(2):
        with pytest.raises(InputError, match="damaged"):
            find_upload("one", "ms/flair", ["bad"], None, name="FLAIR").read()
    assert reads == ["a", "bad"]
    assert not upload.folder.exists(), "what was there before is gone"


def test_uploads_are_a_visitors_own(reads):
    mine = find_upload("one", "ms/flair", ["a"], None, name="FLAIR")
    mine.read()
    assert find_upload("other", "ms/flair", ["a"], None, name="FLAIR") is not mine
    assert find_upload("one", "ms/flair", ["a"], "2", name="FLAIR") is not mine, "another series"
    visitors.leave("one")
    assert not mine.folder.exists() and visitors.find("one", "ms/flair") is None


def test_an_emptied_box_keeps_nothing(reads):
    upload = find_upload("one", "ms/flair", ["a"], None, name="FLAIR")
    upload.read()
    visitors.drop("one", "ms/flair")
    assert not upload.folder.exists()
    visitors.drop("one", "ms/flair")
    visitors.drop("nobody", "ms/flair")


def test_only_a_few_looks_wait():
    """So that slow files do not take the places of pictures."""
    free, waiting = threading.Event(), []

    def look():
        with looking() as is_turn:
            waiting.append(is_turn)
            free.wait(10)

    threads = [threading.Thread(target=look) for _ in range(1 + MAX_WAITING)]
    for thread in threads:
        thread.start()
    while kept_upload._waiting._value:
        pass
    with looking() as is_turn:
        assert not is_turn
    free.set()
    for thread in threads:
        thread.join()
    assert waiting == [True] * (1 + MAX_WAITING)
