"""Of who is gone nothing stays in memory, and of a request that makes no sense nothing in the log."""

import json
import time
import urllib.request

import gradio as gr
import httpx
import pytest
from gradio_client import Client

from medapp.serving import run_log
from medapp.ui.connections import connections
from medapp.ui.page import Page


@pytest.fixture
def little():
    """A page of one box and one button, and its address."""
    with Page() as demo:
        box = gr.Radio(["a", "b"])
        gr.Button().click(lambda choice: {}[f"Jane Doe {choice}"], box, box, api_name="fail", queue=False)
        demo.unload(demo.leave)
    _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False)
    yield demo, address
    demo.close()


def test_who_leaves_is_forgotten(little, monkeypatch):
    demo, address = little
    monkeypatch.setattr(connections, "grace", 1.0)
    client = Client(address, verbose=False)
    with pytest.raises(Exception, match="fault is ours"):
        client.predict("a", api_name="/fail")
    kept = demo.state_holder.session_data
    assert len(kept) == 1
    client.close()
    for n in range(3):
        urllib.request.urlopen(f"{address}gradio_api/heartbeat/visitor{n}").close()
    deadline = time.monotonic() + 40
    while kept or demo.state_holder.time_last_used:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_log_holds_no_word_of_a_request(little, capfd):
    run_log.log_to_stderr()
    client = Client(little[1], verbose=False)
    with pytest.raises(Exception, match="fault is ours"):
        client.predict("a", api_name="/fail")
    with pytest.raises(Exception, match="choices"):
        client.predict("Jane Doe", api_name="/fail")
    file = {"path": "/home/Jane Doe.nii", "meta": {"_type": "gradio.FileData"}}
    assert "malformed" in httpx.post(f"{little[1]}gradio_api/run/fail", json={"data": [file]}).text
    client.close()
    log = capfd.readouterr().err
    assert "Jane" not in log and "Traceback" not in log
    assert [json.loads(line)["fault"] for line in log.splitlines() if line.startswith("{")] == ["KeyError"]
