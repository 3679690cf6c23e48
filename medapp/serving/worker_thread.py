"""Worker thread: the one thread in which networks compute for a page, whose other work goes first.

A page has to answer while a network takes all processors: the thread, and those that it starts, have a lower priority.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import TypeVar

from medapp import hardware

T = TypeVar("T")


def call_in_worker(function: Callable[[], T]) -> T:
    """Call a function in the worker thread, with the caller's context variables, and wait for what it returns."""
    return _worker().submit(copy_context().run, function).result()


@cache
def _worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "networks", hardware.lower_thread_priority)
