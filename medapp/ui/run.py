"""Run: one computation of a visitor's, which can be cancelled and tells how far it is."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from medapp.ui import queue
from medapp.ui.tab import Step
from medapp.ui.visitors import check_cancelled, visitors

MIN_SECONDS, MIN_FRACTION = 2.0, 0.05  # before which nothing can be said


class TimeLeft:
    """The time since it was made."""

    def __init__(self) -> None:
        """Start now."""
        self.start = time.monotonic()

    def describe(self, stage: str, fraction: float) -> str:
        """The stage with the seconds that are left, when `fraction` (0 to 1) of it is done."""
        seconds = time.monotonic() - self.start
        if seconds < MIN_SECONDS or not MIN_FRACTION <= fraction < 1:
            return stage
        left = seconds * (1 - fraction) / fraction
        words = f"{max(1, round(left))} s" if left < 60 else f"{round(left / 60)} min"
        return f"{stage}, about {words} left"


@contextmanager
def run_of(request: gr.Request, progress: gr.Progress | None = None) -> Iterator[Step]:
    """A context for one run of a visitor's: yields what is called at every step, which raises CancelledError."""
    clock = TimeLeft()
    with visitors.running(request.session_hash) as flag:

        def step(fraction: float, stage: str) -> None:
            check_cancelled(flag)
            queue.check_abandoned()
            if progress is not None:
                progress(fraction, desc=clock.describe(stage, fraction))

        yield step
