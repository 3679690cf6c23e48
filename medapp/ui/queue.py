"""Queue: who waits for what, whose turn it is, and how many places one visitor may take.

Environment: MEDAPP_PLACES is how many computations may wait or run for one address at a time, 0 for any number, as on a
Space, where all visitors come from one address.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gradio as gr
from fastapi import HTTPException, Request
from gradio import queueing, route_utils, utils
from gradio.context import LocalContext
from gradio.data_classes import PredictBodyInternal

from medapp.errors import CancelledError
from medapp.ui import hosts
from medapp.ui.caller import caller_of_request
from medapp.ui.session_state import BoundedStateHolder

COMPUTE_LINE = "gpu"  # computations, one at a time
DISPLAY_LINE = "page"  # drawing, looking up, writing files
MAX_RUNNING = {COMPUTE_LINE: 1, DISPLAY_LINE: 8}
MAX_PENDING = {COMPUTE_LINE: 60, DISPLAY_LINE: 1000}  # places in all
MAX_PER_ADDRESS = {COMPUTE_LINE: 20, DISPLAY_LINE: 200}
MAX_PER_VISITOR = {
    COMPUTE_LINE: 8,
    DISPLAY_LINE: 40,
}  # who keeps no cookie and names no session is one at their address
LISTENER_TIMEOUT = 60.0  # seconds for which somebody may not listen before what they wait for is dropped
MAX_CALLERS = 1000  # callers of whom is remembered when it was their turn

CallerKey = tuple[str, ...]


class MessageQueue(asyncio.Queue):
    """What one session is to be told; knows whether anybody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners, self.last_heard = 0, time.monotonic()

    async def get(self) -> Any:
        self.listeners += 1
        try:
            return await super().get()
        finally:
            self.listeners -= 1
            self.last_heard = time.monotonic()


class QueuedEvent(queueing.Event):
    """Gradio's, with where it comes from and when, in turns of its line."""

    address: str
    visitor: str  # a cookie, or a session; empty for who keeps and names none
    arrival: int

    @property
    def callers(self) -> tuple[CallerKey, CallerKey]:
        """Line, address and visitor; and line and address."""
        line = self.concurrency_id, self.address
        return (*line, self.visitor), line


def use_display_line(handler: Callable, when: Callable[[PredictBodyInternal], bool]) -> Callable:
    """The handler of something that computes, which is done among what does not where `when` says so."""
    handler.uses_display_line = when  # type: ignore[attr-defined]
    return handler


def check_abandoned() -> None:
    """Raises CancelledError once nobody waits any more for what this thread computes."""
    blocks, number = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    queue = getattr(blocks, "_queue", None)
    if isinstance(queue, FairQueue) and number is not None:
        event = queue.event_ids_to_events.get(number)
        if event is None or not event.alive:
            raise CancelledError("Cancelled: nobody waited for it any more.")


def order_fairly(events: Iterable[QueuedEvent], last_turns: Mapping[CallerKey, int]) -> list[QueuedEvent]:
    """Order events in rounds: one of each address, and among these one of each visitor.

    Within a round, the caller whose last turn is the longest ago comes first.
    """
    ordered = sorted(events, key=lambda event: event.enqueue_time)
    for level in (0, 1):  # visitors, then addresses
        rounds: Counter[CallerKey] = Counter()
        keyed = []
        for event in ordered:
            caller = event.callers[level]
            keyed.append(((rounds[caller], last_turns.get(caller, event.arrival - 1)), event))
            rounds[caller] += 1
        ordered = [event for _, event in sorted(keyed, key=lambda each: each[0])]
    return ordered


class FairQueue(queueing.Queue):
    """Gradio's, fair: who is let in, in which order they are served, and who is dropped.

    Two lines, what computes and what the page draws, do not wait for each other. In each, addresses take turns, and the
    visitors of one address among themselves. Nothing starts before its caller listens for the answer, and what nobody
    listens for during PATIENCE seconds is dropped, or stopped at its next step.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(True, blocks.max_threads, 1, None, blocks, MAX_RUNNING[DISPLAY_LINE])
        self.event_queue_per_concurrency_id = {line: queueing.EventQueue(line, n) for line, n in MAX_RUNNING.items()}
        self.pending_messages_per_session: dict[str, MessageQueue] = {}
        self.per_address = int(
            os.environ.get("MEDAPP_PLACES", 0 if hosts.is_space() else MAX_PER_ADDRESS[COMPUTE_LINE])
        )
        self.turn = 0
        self.last_turns: dict[CallerKey, int] = {}

    # ---- coming in
    async def push(self, body: PredictBodyInternal, request: Request, username: str | None) -> tuple[bool, Any, Any]:
        """See `queueing.Queue`. Raises HTTPException with a sentence for who is not let in."""
        function = route_utils.get_fn(self.blocks, None, body)
        event = QueuedEvent(body.session_hash, function, request, username)
        when = getattr(function.fn, "uses_display_line", None)
        computes = function.concurrency_id == COMPUTE_LINE and not (when and when(body))
        event.concurrency_id = COMPUTE_LINE if computes else DISPLAY_LINE
        who = caller_of_request(request)
        event.address, event.visitor = who.address if self.per_address else "", who.cookie or body.session_hash or ""
        event.arrival = self.turn
        self._check_limits(event)
        body.session_hash, body.event_id, body.batched = event.session_hash, event._id, False
        event.data = body
        async with self.pending_message_lock:
            self.pending_messages_per_session.setdefault(event.session_hash, MessageQueue())
            self.pending_event_ids_session.setdefault(event.session_hash, set()).add(event._id)
        self.event_ids_to_events[event._id] = event
        self.event_queue_per_concurrency_id[event.concurrency_id].queue.append(event)
        self.broadcast_estimations(event.concurrency_id)
        return True, event._id, "success"

    def _check_limits(self, event: QueuedEvent) -> None:
        line = event.concurrency_id
        there = [e for e in self.event_ids_to_events.values() if e.concurrency_id == line]
        mine, ours = (sum(e.callers[n] == event.callers[n] for e in there) for n in (0, 1))
        words = "computations" if line == COMPUTE_LINE else "requests"
        if mine >= MAX_PER_VISITOR[line]:
            raise HTTPException(429, f"{mine} {words} of yours are waiting already: wait until one is done.")
        if self.per_address and ours >= (self.per_address if line == COMPUTE_LINE else MAX_PER_ADDRESS[DISPLAY_LINE]):
            raise HTTPException(429, f"{ours} {words} from your address are waiting already: wait until one is done.")
        if len(there) >= MAX_PENDING[line]:
            raise HTTPException(503, f"{len(there)} {words} are waiting already: try again in a few minutes.")

    # ---- whose turn it is
    def get_events(self) -> tuple[list[queueing.Event], bool, str] | None:
        for line, waiting in self.event_queue_per_concurrency_id.items():
            if waiting.current_concurrency < MAX_RUNNING[line]:
                event = next((e for e in waiting.queue if self._is_heard(e)), None)
                if event is not None:
                    waiting.queue.remove(event)
                    self._count_turn(event)
                    return [event], False, line
        return None

    def broadcast_estimations(self, concurrency_id: str, after: int | None = None) -> None:
        """Put the line into its order, and tell those who wait for a computation where they stand."""
        line = self.event_queue_per_concurrency_id[concurrency_id]
        line.queue[:] = order_fairly(line.queue, self.last_turns)
        if concurrency_id == COMPUTE_LINE:
            super().broadcast_estimations(concurrency_id)

    def _count_turn(self, event: QueuedEvent) -> None:
        self.turn += 1
        for caller in event.callers:
            self.last_turns.pop(caller, None)
            self.last_turns[caller] = self.turn
        while len(self.last_turns) > MAX_CALLERS:
            del self.last_turns[next(iter(self.last_turns))]

    # ---- going
    def _is_heard(self, event: queueing.Event) -> bool:
        answers = self.pending_messages_per_session.get(event.session_hash)
        return answers is not None and answers.listeners > 0

    def start(self) -> None:
        super().start()
        utils.run_coro_in_background(self._run_housekeeping)

    async def _run_housekeeping(self) -> None:
        while not self.stopped:
            await asyncio.sleep(min(1.0, LISTENER_TIMEOUT / 4))
            await self.drop_abandoned()
            if isinstance(holder := getattr(self.blocks, "state_holder", None), BoundedStateHolder):
                holder.forget_idle(LISTENER_TIMEOUT)

    async def drop_abandoned(self) -> None:
        """Drop what nobody listens for, and answers that nobody fetched."""
        now = time.monotonic()
        busy = {event.session_hash: event.enqueue_time for event in list(self.event_ids_to_events.values())}  # the last
        for name in {*self.pending_messages_per_session, *self.pending_event_ids_session}:
            answers = self.pending_messages_per_session.get(name)
            if answers and (
                answers.listeners or now - max(answers.last_heard, busy.get(name, 0.0)) <= LISTENER_TIMEOUT
            ):
                continue
            await self.clean_events(session_hash=name)
            if not any(event.session_hash == name for event in self.event_ids_to_events.values()):
                self.pending_messages_per_session.pop(name, None)
                self.pending_event_ids_session.pop(name, None)

    async def remove_from_queue(self, event_id: str) -> None:
        """Of what runs already: stop it at its next step."""
        await super().remove_from_queue(event_id)
        if (event := self.event_ids_to_events.get(event_id)) is not None:
            event.alive = False

    def is_busy(self, name: str) -> bool:
        """Whether the session waits for something, or listens."""
        answers = self.pending_messages_per_session.get(name)
        listens = answers is not None and answers.listeners > 0
        return listens or any(event.session_hash == name for event in self.event_ids_to_events.values())
