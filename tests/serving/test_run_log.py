"""The journal tells what ran and how it ended, and nothing of who or what was looked at."""

import json
import logging
import subprocess
import sys
from contextlib import nullcontext

import numpy as np
import pytest

from medapp.errors import CancelledError, InputError
from medapp.imaging.volume import Volume
from medapp.serving import run_log

IMAGE = Volume(np.zeros((4, 5, 6), np.float32), np.eye(4), name="Jane Doe 1961")


def read_log(caplog, error: BaseException | None = None) -> tuple[dict, int]:
    caplog.clear()
    ends = pytest.raises(type(error)) if error else nullcontext()
    with caplog.at_level(logging.INFO, run_log.log.name), ends, run_log.log_run("a_method", (IMAGE, None)) as more:
        more["device"] = "cpu"
        if error:
            raise error
    (record,) = caplog.records
    assert "Jane" not in record.message
    return json.loads(record.message), record.levelno


def test_a_run_is_one_line(caplog):
    line, level = read_log(caplog)
    assert level == logging.INFO and line["outcome"] == "done" and line["pipeline"] == "a_method"
    assert line["shapes"] == [[4, 5, 6], None] and line["device"] == "cpu" and line["seconds"] >= 0


@pytest.mark.parametrize(
    ("error", "outcome", "level"),
    [
        (InputError("Jane Doe's file is empty"), "refused", logging.INFO),
        (CancelledError(), "cancelled", logging.INFO),
        (RuntimeError("Jane Doe"), "failed", logging.ERROR),
        (KeyboardInterrupt(), "failed", logging.ERROR),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_went_wrong_is_told_by_its_kind_alone(caplog, error, outcome, level):
    line, logged_level = read_log(caplog, error)
    assert line["outcome"] == outcome and logged_level == level
    assert line.get("fault") == (None if outcome == "cancelled" else type(error).__name__)


def test_aloud_writes_a_line_an_entry(capsys, monkeypatch):
    monkeypatch.setattr(run_log.log, "handlers", [])
    monkeypatch.setattr(run_log.log, "propagate", True)
    monkeypatch.setattr(run_log.log, "level", logging.NOTSET)
    run_log.log_to_stderr()
    run_log.log_to_stderr()  # a second launch does not double them
    with run_log.log_run("a_method", ()):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["pipeline"] == "a_method"


def test_nothing_else_gets_into_the_log_but_by_whose_and_where():
    script = """
import logging, sys, threading, traceback, warnings
from medapp.serving import run_log
run_log.capture_output()
run_log.capture_output()
print("* Running on local URL:  http://127.0.0.1:7860")

def visitor():
    message = 'Jane Doe\\n{"outcome": "done", "pipeline": "forged"}'
    print(message)
    print(message, file=sys.stderr)
    logging.getLogger("uvicorn.error").warning(message)
    logging.getLogger("uvicorn.error").error("%s", message)
    warnings.warn(message)
    for _ in range(2):
        try:
            raise ValueError(message)
        except ValueError:
            traceback.print_exc()
            logging.getLogger("mcp").exception(message)

thread = threading.Thread(target=visitor)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["* Running on local URL:  http://127.0.0.1:7860"]
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert len(lines) == 9 and "Jane" not in done.stderr and "forged" not in done.stderr
    assert [line.get("fault") for line in lines].count("ValueError") == 4
    assert all("visitor" in line["where"][-1] or line["logger"] == "py.warnings" for line in lines)
