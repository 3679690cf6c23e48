"""What makes no sense is the caller's fault, and is said so before it waits for anything; the log has nothing of it."""

import asyncio
import json
import logging
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from starlette.testclient import TestClient

from benchmarks.fuzz_requests import WRONG_VALUES
from medapp.errors import InputError
from medapp.io import sandbox
from medapp.serving import run_log
from medapp.ui import caller
from medapp.ui.caller import Caller
from medapp.ui.page import build_page
from medapp.ui.payload import MalformedRequestError, check_nesting, check_values
from medapp.ui.request_checks import RequestChecker
from medapp.ui.security import SecurityMiddleware
from medapp.ui.task_tab import TaskTab

JOIN = "/gradio_api/queue/join"


@pytest.fixture(scope="module")
def page():
    return build_page()


@pytest.fixture(scope="module")
def client(page):
    """Of the guard before an app to which all is well."""

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDAPP_RATE", "0")
        yield TestClient(SecurityMiddleware(app, RequestChecker(page)), "http://localhost")


def posted(client: TestClient, door: str, body) -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body)
    return client.post(f"/gradio_api/{door}", content=raw, headers={"content-type": "application/json"}).status_code


def usual(fn) -> list:
    return [None if block.stateful else getattr(block, "value", None) for block in fn.inputs]


def test_what_the_page_sends_is_let_through(page, client):
    for fn in page.fns.values():
        if fn.fn is not None and not fn.collects_event_data:
            body = {"data": usual(fn), "fn_index": fn._id, "session_hash": "page", "trigger_id": None}
            assert posted(client, "queue/join", body) == 200, fn.name
            assert posted(client, f"run/{fn.api_name}", body | {"fn_index": None}) == 200
    public = next(fn for fn in page.fns.values() if fn.api_name == "segment_glioma_ar2unet")
    assert posted(client, f"call/{public.api_name}", {"data": usual(public)}) == 200
    assert posted(client, f"call/v2/{public.api_name}", {"flair": None}) == 200
    gallery = next(fn for fn in page.fns.values() if fn.name == "pick" and fn.collects_event_data)
    picked = {"data": usual(gallery), "fn_index": gallery._id, "session_hash": "page"}
    assert posted(client, "queue/join", picked | {"event_data": {"index": 0, "value": None}}) == 200
    assert posted(client, "queue/join", picked | {"event_data": {"index": 99, "value": None}}) == 422


@pytest.mark.parametrize(
    "door", ["queue/join", "run/predict", "api/predict", "call/predict", "call/v2/predict", "cancel"]
)
def test_what_is_no_request_goes_no_further(client, door):
    deep = b"[" * 5000 + b"]" * 5000
    for raw in (b"", b"{", b"null", b"[]", b'"x"', b"3", b"\xff\xfe", b"[" * 100_000, deep, b'{"data": ' + deep + b"}"):
        assert posted(client, door, raw) in (404, 422), raw[:9]
    for wrong in (each for each in WRONG_VALUES if not isinstance(each, str | None) or each == ""):
        assert posted(client, door, {"session_hash": wrong, "data": []}) in (404, 422), wrong


@pytest.mark.parametrize("number", [-1, 10**6, 10**400, "1", 1.5, True, [], {}, "x"], ids=str)
def test_an_event_that_does_not_exist_is_not_looked_for(client, number):
    for door in ("queue/join", "run/predict"):
        assert posted(client, door, {"data": [], "fn_index": number, "session_hash": "a"}) in (404, 422)
    assert posted(client, "call/nothing", {"data": []}) == posted(client, "run/nothing", {"data": []}) == 404


def test_values_of_other_kinds_are_named(page):
    def word(fn, data, event_data=None):
        with pytest.raises(MalformedRequestError) as refused:
            check_values(fn, page.blocks, data, event_data)
        return str(refused.value)

    fn = next(fn for fn in page.fns.values() if fn.api_name == "segment_glioma_ar2unet")
    data = usual(fn)
    at = next(n for n, block in enumerate(fn.inputs) if isinstance(block, gr.Slider))
    assert "not finite" in word(fn, [float("nan") if n == at else v for n, v in enumerate(data)])
    for wrong in ("x", None, True, 10**400, [], {}):
        assert fn.inputs[at].label in word(fn, [wrong if n == at else v for n, v in enumerate(data)])
    for wrong in ("x", 3, True, [], {"path": "x"}, {"path": 3, "meta": {"_type": "gradio.FileData"}}, [None]):
        assert "File" in word(fn, [wrong, *data[1:]])
    assert "were sent" in word(fn, data[1:]) and "were sent" in word(fn, [*data, None])
    with pytest.raises(MalformedRequestError, match="deep"):
        check_nesting([[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]])


def test_no_values_are_taken_for_a_fault_of_ours(page, monkeypatch, caplog):
    def never(*_, **__):
        raise InputError("It would have been read.")

    monkeypatch.setattr(sandbox, "read", never)
    monkeypatch.setattr(TaskTab, "open_first_view", lambda *_: None)  # computes
    request = gr.Request(request=SimpleNamespace(scope={caller.CALLER_KEY: Caller("here", "c" * 43)}))

    state, words = SessionState(page), {}  # made once: Gradio describes every component in it

    async def ask(fn, data, event_data):
        try:
            event = gr.EventData(None, event_data) if event_data is not None else None
            state.state_data.clear()  # nothing is left of the event before
            await page.process_api(fn, data, state, request=request, session_hash="malformed", event_data=event)
        except gr.Error as error:
            words[fn.name, repr(data)[:200], repr(event_data)[:200]] = error.message

    async def everything():
        kinds = {(fn.name, len(fn.inputs)): fn for fn in page.fns.values() if fn.inputs and fn.name != "pick"}
        for number, fn in enumerate(kinds.values()):  # but for examples, which compute
            for turn, wrong in enumerate(WRONG_VALUES[number % 4 :: 4]):
                data = usual(fn)
                data[turn * 7 % len(data)] = wrong
                await ask(fn, data, {"index": 0, "value": None})
                if fn.collects_event_data:
                    await ask(fn, usual(fn), wrong)

    with caplog.at_level(logging.INFO, run_log.log.name):
        asyncio.run(everything())
    assert not {what: word for what, word in words.items() if "fault is ours" in word}
    assert not [record for record in caplog.records if "failed" in record.message]
