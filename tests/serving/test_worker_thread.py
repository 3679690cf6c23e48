"""What networks compute for a page leaves the processors to the page."""

import os
import sys
import threading
from contextvars import ContextVar

import pytest

from medapp.errors import InputError
from medapp.serving.worker_thread import call_in_worker

ASKED = ContextVar("asked", default="")


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_the_worker_and_its_threads_come_after_the_caller():
    def look() -> list[int]:
        found = []
        further = threading.Thread(target=lambda: found.append(priority()))
        further.start()
        further.join()
        return [priority(), *found]

    before = priority()
    assert call_in_worker(look) == [min(19, before + 5)] * 2 and priority() == before


def test_it_knows_who_has_asked_and_passes_errors_on():
    ASKED.set("me")
    assert call_in_worker(ASKED.get) == "me"

    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        call_in_worker(fail)
