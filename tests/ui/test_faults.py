"""What nobody expected is told to the user in a sentence, and to the journal without what the user wrote."""

import errno
import json
import logging

import gradio as gr
import pytest

from medapp.errors import InputError
from medapp.serving import run_log
from medapp.ui.error_messages import report_errors
from medapp.ui.result_tabs import try_to_draw

SECRET = "/tmp/Jane_Doe_1961.nii.gz"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(SECRET), "memory"),
        (RuntimeError(f"DefaultCPUAllocator: can't allocate memory for {SECRET}"), "memory"),
        (OSError(errno.ENOSPC, "No space left on device", SECRET), "disk of this machine is full"),
        (PermissionError(errno.EACCES, "Permission denied", SECRET), "PermissionError"),
        (ZeroDivisionError(SECRET), "the fault is ours"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_fault_is_a_sentence_here_and_a_line_there(caplog, error, words):
    @report_errors
    def handler():
        raise error

    with caplog.at_level(logging.INFO, run_log.log.name), pytest.raises(gr.Error) as shown:
        handler()
    assert words in shown.value.message and not shown.value.print_exception
    (record,) = caplog.records
    line = json.loads(record.message)
    assert line["fault"] == type(error).__name__ and "test_faults.py" in line["where"][-1]
    assert "Jane" not in record.message + shown.value.message


def test_what_the_user_can_mend_is_said_as_it_is(caplog):
    @report_errors
    def handler(error):
        raise error

    with caplog.at_level(logging.INFO, run_log.log.name):
        for error in (InputError("The image is empty."), gr.Error("The image is empty.")):
            with pytest.raises(gr.Error) as shown:
                handler(error)
            assert shown.value.message == "The image is empty."
    assert not caplog.records


def test_a_figure_that_fails_costs_the_files_nothing(caplog, monkeypatch):
    told_of = []
    monkeypatch.setattr(gr, "Warning", lambda text, **more: told_of.append(text))
    with caplog.at_level(logging.INFO, run_log.log.name):
        assert try_to_draw(lambda: 1 / 0, "nothing") == "nothing" and try_to_draw(lambda: 3, "nothing") == 3
    assert ["files are complete" in text for text in told_of] == [True]
    assert json.loads(caplog.records[0].message)["fault"] == "ZeroDivisionError"
