"""Only the queue computes, nobody takes all of its places, everybody gets a turn, and what nobody waits for ends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from gradio_client import Client

from medapp.errors import CancelledError
from medapp.ui import mcp_tools, queue, session_state
from medapp.ui.error_messages import report_errors
from medapp.ui.events import GPU
from medapp.ui.page import Page, install_middleware
from medapp.ui.queue import order_fairly


class House:
    """A page of one thing that computes until it is let go, and one that does not; what has happened there."""

    def __init__(self) -> None:
        self.go, self.started, self.ended, self.done = threading.Event(), [], [], []
        with Page() as self.demo:
            box, file, out = gr.Textbox(), gr.File(), gr.Textbox()
            gr.Button().click(self.compute, [box, file], out, api_name="compute", **GPU)
            gr.Button().click(lambda text: text, box, out, api_name="light")
            example = queue.use_display_line(report_errors(self.example), lambda body: body.data == ["kept"])
            gr.Button().click(example, box, out, api_name="example", **GPU)
            self.demo.unload(self.demo.leave)

    @staticmethod
    def example(text: str) -> str:
        return text

    def compute(self, text: str, file: str | None = None) -> str:
        self.started.append(text)
        try:
            while not self.go.wait(0.02):
                queue.check_abandoned()
        except CancelledError:
            self.ended.append(text)
            raise gr.Error("cancelled", print_exception=False) from None
        self.done.append(text)
        return text


@pytest.fixture
def house():
    mcp_tools.replace_mcp_server()
    here = House()
    _, here.address, _ = here.demo.launch(
        prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False, mcp_server=True,
        app_kwargs={"lifespan": install_middleware},
    )  # fmt: skip
    yield here
    here.go.set()
    here.demo.close()


def until(what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def called(house, text, name="compute", **more):
    data = [text, None] if name == "compute" else [text]
    return httpx.post(f"{house.address}gradio_api/call/{name}", json={"data": data, **more}, timeout=60)


@contextmanager
def listened(house, *answers):
    """The streams of calls, open as long as this lasts."""
    paths = [f"{house.address}gradio_api/call/compute/{answer.json()['event_id']}" for answer in answers]
    with httpx.Client(timeout=60) as client:
        opened = [client.stream("GET", path) for path in paths]
        for stream in opened:
            stream.__enter__()
        yield
        for stream in opened:
            stream.__exit__(None, None, None)


@pytest.mark.parametrize("door", ["run", "api"])
def test_nothing_computes_past_the_queue(house, door):
    answers = [
        httpx.post(
            f"{house.address}gradio_api/{door}/compute", json={"data": ["a", None], "session_hash": f"s{n}"}, timeout=60
        )
        for n in range(8)
    ]
    assert {answer.status_code for answer in answers} == {404} and "queue" in answers[0].json()["detail"]
    assert not house.started


def test_who_never_listens_gets_nothing_computed_and_no_place_for_long(house, monkeypatch):
    monkeypatch.setattr(queue, "LISTENER_TIMEOUT", 0.5)
    gone = [called(house, "gone") for _ in range(4)]
    assert all(answer.status_code == 200 for answer in gone)
    house.go.set()
    client = Client(house.address, verbose=False)
    assert client.predict("here", None, api_name="/compute") == "here"
    until(lambda: not house.demo._queue.event_ids_to_events)
    until(lambda: not house.demo._queue.pending_event_ids_session)
    assert house.done == ["here"]
    client.close()


@pytest.mark.parametrize("door", ["call", "page", "tool"])
def test_what_nobody_waits_for_any_more_ends_at_its_next_step(house, door):
    work = house.demo._queue
    if door == "call":
        with listened(house, called(house, "first"), called(house, "second")):
            until(lambda: house.started == ["first"])
    elif door == "page":
        for text in ("first", "second"):
            body = {"data": [text, None], "fn_index": 0, "session_hash": "me"}
            assert httpx.post(f"{house.address}gradio_api/queue/join", json=body, timeout=60).status_code == 200
        stream = f"{house.address}gradio_api/queue/data?session_hash=me"
        with httpx.Client(timeout=60) as client, client.stream("GET", stream):
            until(lambda: house.started == ["first"])
    else:
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                 "params": {"name": "compute", "arguments": {"text": "first"}}}  # fmt: skip
        head = {"accept": "application/json, text/event-stream"}
        with (
            httpx.Client(timeout=60) as client,
            client.stream("POST", f"{house.address}gradio_api/mcp/", json=asked, headers=head),
        ):
            until(lambda: house.started == ["first"])
    until(lambda: house.ended == ["first"])
    until(lambda: not work.event_ids_to_events and not len(work))
    assert house.started == ["first"] and not house.done


def test_one_client_cannot_take_all_places_and_is_told_so(house, monkeypatch):
    monkeypatch.setitem(queue.MAX_PER_VISITOR, queue.COMPUTE_LINE, 3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: called(house, f"a{n}"), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 9
    assert "waiting already" in next(a for a in answers if a.status_code == 429).json()["detail"]
    house.go.set()
    client = Client(house.address, verbose=False)
    assert client.predict("b", None, api_name="/compute") == "b"
    client.close()


def test_an_address_has_places_whatever_names_its_sessions_take(house, monkeypatch):
    house.demo._queue.max_per_address[queue.COMPUTE_LINE] = 4
    answers = [called(house, "a", session_hash=f"s{n}") for n in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert "your address" in answers[-1].json()["detail"]


def test_all_places_together_have_an_end(house, monkeypatch):
    monkeypatch.setitem(queue.MAX_PENDING, queue.COMPUTE_LINE, 2)
    answers = [called(house, "a") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert "try again" in answers[-1].json()["detail"]


def test_what_does_not_compute_waits_for_nothing_that_does(house):
    with listened(house, *(called(house, f"a{n}") for n in range(5))):
        until(lambda: house.started)
        client = Client(house.address, verbose=False)
        began = time.monotonic()
        assert client.predict("x", api_name="/light") == "x"
        assert client.predict("kept", api_name="/example") == "kept"
        assert time.monotonic() - began < 5
        assert client.submit("not kept", api_name="/example").done() is False
        until(lambda: len(house.demo._queue) == 5)
        client.close()


@pytest.mark.parametrize(
    "data", [[], ["a"], ["a", None, 1], ["a", 7], ["a", ["b"]], ["a", {"path": 3}], [3, None], ["a" * 500_000, None]]
)
def test_what_makes_no_sense_takes_no_place(house, data):
    body = {"data": data, "fn_index": 0, "session_hash": "me"}
    for _ in range(70):
        assert httpx.post(f"{house.address}gradio_api/queue/join", json=body, timeout=60).status_code == 422
    assert not len(house.demo._queue) and not house.demo._queue.event_ids_to_events


def test_a_slow_reader_holds_up_nobody(house, monkeypatch):
    monkeypatch.setattr(queue, "LISTENER_TIMEOUT", 0.5)
    answers = queue.MessageQueue()
    answers.last_heard = time.monotonic() - 10
    house.demo._queue.pending_messages_per_session["slow"] = answers
    event = called(house, "slow", session_hash="slow")
    assert event.status_code == 200
    house.go.set()
    client = Client(house.address, verbose=False)
    assert client.predict("b", None, api_name="/compute") == "b"
    until(lambda: "slow" not in house.demo._queue.pending_messages_per_session)
    client.close()


def line(*callers: str, served: dict | None = None) -> list[str]:
    """The order in which callers, `address` or `address/session`, are served who came in this order."""
    events = []
    for n, each in enumerate(callers):
        address, _, session = each.partition("/")
        callers_of = (queue.COMPUTE_LINE, address, session), (queue.COMPUTE_LINE, address)
        events.append(SimpleNamespace(enqueue_time=n, arrival=5, callers=callers_of, name=each))
    return [event.name for event in order_fairly(events, served or {})]


def test_addresses_take_turns_and_sessions_of_an_address_among_themselves():
    assert line("a", "a", "a", "b") == ["a", "b", "a", "a"]
    assert line("a", "a", "b", served={(queue.COMPUTE_LINE, "a"): 5, (queue.COMPUTE_LINE, "a", ""): 5}) == [
        "b",
        "a",
        "a",
    ]
    assert line("a/1", "a/1", "a/2", "b/3", "b/3") == ["a/1", "b/3", "a/2", "b/3", "a/1"]
    late = {(queue.COMPUTE_LINE, "a"): 1, (queue.COMPUTE_LINE, "a", ""): 1}
    assert line("b", "c", "a", served=late)[0] == "a", "who waits longest is not passed by ever new ones"


def test_a_session_costs_next_to_nothing_and_none_that_is_live_is_given_up(house, monkeypatch):
    holder = house.demo.state_holder
    assert isinstance(holder, session_state.BoundedStateHolder)
    monkeypatch.setattr(holder, "capacity", 6)
    with listened(house, called(house, "waits", session_hash="waits")):
        until(lambda: house.started)
        codes = [called(house, "x", "light", session_hash=f"s{n}").status_code for n in range(5)]
        assert codes == [200] * 5 and len(holder.session_data) == 6
        full = called(house, "x", "light", session_hash="newcomer")
        assert full.status_code == 503 and "try again" in full.json()["detail"]
        assert "waits" in holder.session_data
        monkeypatch.setattr(house.demo._queue, "is_busy", lambda name: name == "waits")
        assert called(house, "x", "light", session_hash="newcomer").status_code == 200
        assert "waits" in holder.session_data and len(holder.session_data) == 6
        house.go.set()
        until(lambda: house.done == ["waits"])
    began = time.monotonic()
    kept = [session_state.LeanSessionState(house.demo) for _ in range(100)]
    assert (time.monotonic() - began) / len(kept) < 0.005
    assert not any(state.config_values for state in kept)


def test_new_sessions_are_charged(house, monkeypatch):
    monkeypatch.setattr(session_state, "NEW_SESSION_COST", 500)
    codes = [called(house, "x", "light", session_hash=f"s{n}") for n in range(4)]
    assert [code.status_code for code in codes] == [200, 200, 429, 429]
    assert called(house, "x", "light", session_hash="s0").status_code == 200
    assert "new sessions" in codes[-1].json()["detail"]
