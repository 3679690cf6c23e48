"""An app that is killed while it works: the visitor is told, the next one tidies up after it, and answers."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from conftest import open_form, open_page

from benchmarks import serving

EXAMPLE = "#segmentation-examples button.thumbnail-lg >> nth={}"
SLOW, FAST = EXAMPLE.format(4), EXAMPLE.format(0)


def test_a_killed_app_is_missed_and_its_successor_found(browser, tmp_path):
    alone = {"TMPDIR": str(tmp_path), "MEDAPP_PRECOMPUTE": "0", "MEDAPP_FIRST_VIEW": "0"}
    with serving.run_app(**alone) as (address, pid):
        port = int(address.rstrip("/").rpartition(":")[2])
        page = open_page(browser, address)
        page.click(SLOW)
        page.wait_for_selector("#segmentation-progress .wrap:not(.hide)")
        os.kill(pid, signal.SIGKILL)
        page.get_by_text("Connection to the server was lost").wait_for()
        (left,) = tmp_path.glob("medapp-app-*")
        assert any(left.iterdir()), "nothing to be tidied up: the test proves nothing"
        os.utime(left, (0, time.time() - 3600))

        with serving.run_app(port=port, **alone):
            page.get_by_text("Connection to the server was lost").wait_for(state="detached")
            open_form(page, "segmentation")
            page.click(FAST)
            page.locator("#segmentation-status h2", has_text="Dice").wait_for()
            assert not left.exists()
        page.context.close()


def test_an_app_in_the_background_of_a_script_that_is_told_to_end_while_a_network_computes_leaves_nothing(tmp_path):
    path = tmp_path / "log.txt"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells hand it on to what ends in &
    try:
        with path.open("w") as log, serving.run_app(log, TMPDIR=str(tmp_path)) as (_, pid):
            while '"outcome": "done"' not in path.read_text():  # the next example has begun
                time.sleep(0.2)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list(tmp_path.glob("medapp-app-*"))


def test_an_app_that_is_told_to_end_again_and_again_ends_well_and_leaves_nothing(tmp_path):
    with serving.run_app(TMPDIR=str(tmp_path)) as (_, pid):
        for _ in range(100):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            time.sleep(0.02)
    assert not list(tmp_path.glob("medapp-app-*"))


@pytest.mark.parametrize("began", [False, True])
def test_an_app_that_is_told_to_end_before_it_is_there_ends_well_and_leaves_nothing(tmp_path, began):
    app = subprocess.Popen([sys.executable, "app.py"], cwd=serving.ROOT, env=os.environ | {"TMPDIR": str(tmp_path)})
    while began and not list(tmp_path.glob("medapp-app-*")):
        time.sleep(0.05)
    time.sleep(1)  # Python itself needs a moment
    app.terminate()
    assert app.wait(30) == 0
    assert not list(tmp_path.glob("medapp-app-*"))
