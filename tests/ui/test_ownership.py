"""Nobody has a file read, or a session touched, that is not theirs: by event, endpoint, tool or address."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from medapp.errors import InputError
from medapp.io import files, sandbox
from medapp.serving import weight_files
from medapp.ui import caller, workspace
from medapp.ui.caller import Caller
from medapp.ui.ownership import Ownership, ownership, upload_session
from medapp.ui.page import build_page

A, B = Caller("10.0.0.1", "a" * 43), Caller("10.0.0.1", "b" * 43)
NEAR, FAR = Caller("10.0.0.1"), Caller("10.0.0.2")
SECRET = b"what another visitor has"


@pytest.fixture
def place(tmp_path):
    """A file in a folder of its own, as Gradio lays down an upload."""

    def lay(name: str) -> str:
        (tmp_path / name).mkdir(exist_ok=True)
        (path := tmp_path / name / "scan.nii").write_bytes(SECRET)
        return str(path)

    return lay


def taken(owners: Ownership, path: str, who: Caller, session: str | None = None) -> bool:
    try:
        owners.check(path, who, session)
    except InputError:
        return False
    return True


def test_a_file_is_its_visitors_and_nobody_elses(place, tmp_path):
    owners, path = Ownership(), place("a")
    owners.give(path, A)
    assert taken(owners, path, A, "one") and taken(owners, path, A, "another tab") and owners.opens(path, A)
    for who in (B, NEAR, FAR):
        assert not taken(owners, path, who, "two") and not taken(owners, path, who) and not owners.opens(path, who)
    owners.give(path, B)  # the same bytes, uploaded by two
    assert taken(owners, path, B) and taken(owners, path, A)


def test_only_regular_files_can_be_had(place, tmp_path):
    owners, path = Ownership(), place("a")
    link, loop = tmp_path / "link.nii", tmp_path / "loop.nii"
    link.symlink_to(path)
    loop.symlink_to(loop)
    for each in (tmp_path, os.path.dirname(path), link, loop, "/dev/zero"):
        owners.give(each, A)
    for each in (str(tmp_path), os.path.dirname(path), str(link), str(loop), "/dev/zero", "", "\0", "a\0b", "x" * 9000):
        assert not taken(owners, each, A)


def test_without_cookies_the_first_session_that_names_an_upload_has_it(place):
    owners, path, other = Ownership(), place("a"), place("b")
    owners.give(path, NEAR)
    assert not taken(owners, path, FAR) and not taken(owners, path, A), "neither from elsewhere nor by another cookie"
    assert owners.opens(path, NEAR) and not owners.opens(path, A) and not owners.opens(path, FAR)
    assert owners.enter("one", NEAR) and taken(owners, path, NEAR, "one") and taken(owners, path, NEAR, "one")
    assert not taken(owners, path, NEAR, "two") and not taken(owners, path, NEAR)
    assert owners.opens(path, NEAR) and not owners.opens(path, FAR)
    owners.give(other, NEAR)
    assert all(taken(owners, other, NEAR) for _ in range(2)), "programs that name no session may use theirs again"


def test_who_gets_a_cookie_with_an_upload_may_keep_it_or_not(place):
    owners, path = Ownership(), place("a")
    owners.give(path, Caller("10.0.0.1", "a" * 43, fresh=True))
    assert taken(owners, path, A) and taken(owners, path, NEAR, "one") and not taken(owners, path, B)


def test_what_tools_hand_out_is_a_link_for_their_callers_address(place):
    owners, path, tool = Ownership(), place("a"), Caller("10.0.0.1", tool=True)
    owners.give(path, tool)
    assert owners.opens(path, NEAR) and owners.opens(path, A) and not owners.opens(path, FAR)
    assert taken(owners, path, tool) and not taken(owners, path, NEAR) and not taken(owners, path, A)


def test_a_session_is_whose_it_was_first():
    owners = Ownership()
    assert owners.enter("one", A) and owners.enter("one", A)
    assert not any(owners.enter("one", who) for who in (B, NEAR, FAR))
    assert owners.enter("two", NEAR) and not owners.enter("two", FAR)
    assert owners.enter("two", A) and not owners.enter("two", NEAR), "a cookie that comes later counts from then on"


def test_what_is_gone_from_the_disk_is_forgotten(place):
    owners, gone, kept = Ownership(), place("gone"), place("kept")
    for path in (gone, kept):
        owners.give(path, A)
    os.remove(gone)
    owners.forget_missing_files()
    assert taken(owners, kept, A) and place("gone") == gone and not taken(owners, gone, A)


def test_who_leaves_takes_along_what_nobody_else_has(place):
    owners = Ownership()
    mine, ours, tabs, other = (place(name) for name in ("mine", "ours", "tabs", "other"))
    owners.enter("one", A)
    owners.enter("two", A)
    owners.give(mine, A, "one")
    owners.give(ours, A, "one")
    owners.give(ours, B, "three")
    owners.give(tabs, A, "one")
    owners.check(tabs, A, "two")
    owners.give(other, A)
    owners.leave("one")
    assert [os.path.exists(path) for path in (mine, ours, tabs, other)] == [False, True, True, True]
    assert not os.path.exists(os.path.dirname(mine)) and not owners.opens(ours, A) and owners.opens(ours, B)
    owners.leave("two")
    assert not os.path.exists(tabs) and not os.path.exists(other) and os.path.exists(ours)
    owners.leave("nobody")


def test_who_leaves_takes_along_what_was_uploaded_and_never_used(place):
    owners, path = Ownership(), place("mine")
    owners.enter("one", A)
    owners.enter(upload_session("its progress"), A)  # as every upload of the page is
    owners.give(path, A)
    owners.leave("one")
    assert not os.path.exists(path)


def test_an_address_that_is_none_opens_nothing():
    assert not Ownership().opens("a\0b", A)


def test_a_cookie_that_is_none_of_ours_counts_for_nothing():
    scope = {"client": ("10.0.0.9", 1), "headers": [(b"cookie", b"x=1; medapp_visitor=short")]}
    assert caller.caller_of_scope(scope) == Caller("10.0.0.9")


@pytest.fixture(scope="module")
def page():
    return build_page()


def named_in(path: str, **more) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


@pytest.fixture
def attacks(place):
    """Ways to name what is not one's own, by what they are; among them a file of one's own beside another's."""
    theirs, mine = place("theirs"), place("mine")
    uploads = str(workspace.uploads_folder())
    inside = os.path.join(uploads, "0" * 64)
    os.makedirs(inside, exist_ok=True)
    lying = os.path.join(inside, "scan.nii")
    with open(lying, "wb") as file:
        file.write(SECRET)
    link = os.path.join(inside, "link.nii")
    if not os.path.lexists(link):
        os.symlink(lying, link)
    ownership.give(theirs, B, "theirs")
    ownership.give(lying, B, "theirs")
    ownership.give(mine, A, "mine")
    weights = next(weight_files.find_weights_folder().glob("*.safetensors"))
    address = f"http://127.0.0.1/gradio_api/file={lying}"
    return {
        "folder": named_in(uploads),
        "sub-folder": named_in(inside),
        "root": named_in("/"),
        "another's": named_in(theirs),
        "another's upload": named_in(lying),
        "another's, roundabout": named_in(f"{inside}/../{os.path.basename(inside)}/scan.nii"),
        "system": named_in("/etc/passwd"),
        "weights": named_in(str(weights)),
        "source": named_in(__file__),
        "link": named_in(link),
        "web": named_in("http://127.0.0.1:1/a.nii"),
        "address": named_in(address),
        "url": {"url": address, "meta": {"_type": "gradio.FileData"}},
        "both": named_in(mine, url=address, orig_name=lying),
        "without meta": {"path": lying},
        "text": lying,
        "address as text": address,
        "nested": [[named_in(lying)]],
        "among one's own": [named_in(mine), named_in(lying)],
        "under another key": {"image": named_in(lying), "meta": {}},
        "number": named_in(3),
        "stream": named_in(lying, is_stream=True),
    }


def request(who: Caller) -> gr.Request:
    return gr.Request(request=SimpleNamespace(scope={caller.CALLER_KEY: who}))


def asked(page, fn, data, event_data=None, who=A, session_hash="mine"):
    """What an event answers; its word where it is refused."""
    said = gr.EventData(None, event_data) if event_data is not None else None
    work = page.process_api(fn, data, request=request(who), session_hash=session_hash, event_data=said)
    try:
        return asyncio.run(work)
    except gr.Error as error:
        return error.message


def usual(fn) -> list:
    return [None if block.stateful else getattr(block, "value", None) for block in fn.inputs]


@pytest.fixture
def read(monkeypatch):
    """The paths that are read."""
    paths_read: list = []

    def spy(paths, *_, **__):
        paths_read.extend(paths)
        raise InputError("It would have been read.")

    monkeypatch.setattr(sandbox, "read", spy)
    monkeypatch.setattr(files, "read", spy)
    return paths_read


def test_no_event_reads_what_is_not_its_callers(page, attacks, read):
    for fn in page.fns.values():
        places = [n for n, block in enumerate(fn.inputs) if not block.stateful]
        boxes = [n for n in places if isinstance(fn.inputs[n], gr.File)] or places
        for turn, (name, value) in enumerate(attacks.items()):
            if boxes:
                at = boxes[turn % len(boxes)]
                word = asked(page, fn, [value if n == at else other for n, other in enumerate(usual(fn))])
                assert isinstance(word, str), f"{name} in {fn.name}"
                assert "scan.nii" not in word and str(workspace.home_folder()) not in word and "/etc" not in word
            if fn.collects_event_data:
                for said in (value, {"index": 0, "value": value, "row_value": [value], "mm": value}):
                    assert isinstance(asked(page, fn, usual(fn), said), str), f"{name} with {fn.name}"
    assert not read


def test_ones_own_file_is_read(page, attacks, read):
    own = attacks["among one's own"][0]
    fn = next(fn for fn in page.fns.values() if fn.api_name == "segment_glioma_ar2unet")
    data = [own, *usual(fn)[1:]]
    forget = next(fn for fn in page.fns.values() if fn.targets and fn.targets[0][1] == "change" and not fn.inputs)
    address = f"http://127.0.0.1:7860/gradio_api/file={own['path']}"
    assert "data" in asked(page, forget, [], [own | {"url": address, "orig_name": "scan.nii"}]), "as the page sends it"
    assert asked(page, fn, data) == "It would have been read."
    assert [Path(path).read_bytes() for path in read] == [SECRET]
    assert "not yours" in asked(page, fn, data, who=B, session_hash="theirs")
    assert "another visitor's" in asked(page, fn, data, who=B, session_hash="mine")
