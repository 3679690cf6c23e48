"""Queue: the order in which events are computed, and how many one visitor may have in it.

Environment: MEDAPP_PLACES is how many computations of one address may wait or run at a time; 0 means any number, as on
a Space, where all visitors come from one address.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gradio as gr
from fastapi import HTTPException, Request

from medapp.errors import CancelledError
from medapp.ui import gradio_compat, hosts
from medapp.ui.caller import caller_of_request
from medapp.ui.gradio_compat import PredictBodyInternal
from medapp.ui.session_state import BoundedStateHolder

COMPUTE_LINE = "gpu"  # computations, one at a time
DISPLAY_LINE = "page"  # drawing, looking up, writing files
MAX_RUNNING = {COMPUTE_LINE: 1, DISPLAY_LINE: 8}
MAX_PENDING = {COMPUTE_LINE: 60, DISPLAY_LINE: 1000}  # waiting or running, of all visitors
MAX_PER_ADDRESS = {COMPUTE_LINE: 20, DISPLAY_LINE: 200}
MAX_PER_VISITOR = {COMPUTE_LINE: 8, DISPLAY_LINE: 40}  # callers without cookie and session are one visitor per address
LISTENER_TIMEOUT = 60.0  # seconds without a listener after which an event is dropped
MAX_CALLERS = 1000  # whose last turn is remembered

CallerKey = tuple[str, ...]


class MessageQueue(asyncio.Queue):
    """The messages for one session, and whether somebody listens to them."""

    def __init__(self) -> None:
        """Start without messages or listeners."""
        super().__init__()
        self.listeners, self.last_heard = 0, time.monotonic()

    async def get(self) -> Any:
        """Return the next message and count its reader as a listener meanwhile."""
        self.listeners += 1
        try:
            return await super().get()
        finally:
            self.listeners -= 1
            self.last_heard = time.monotonic()


class QueuedEvent(gradio_compat.Event):
    """Gradio's event with its caller, and `arrival`: how many turns had been taken when it came."""

    address: str  # empty if addresses are not told apart
    visitor: str  # a cookie or a session; empty for callers without either
    arrival: int

    @property
    def callers(self) -> tuple[CallerKey, CallerKey]:
        """The visitor as (line, address, visitor), and the address as (line, address)."""
        line = self.concurrency_id, self.address
        return (*line, self.visitor), line


def use_display_line(handler: Callable, when: Callable[[PredictBodyInternal], bool]) -> Callable:
    """Mark the handler of a computation: where `when(body)` holds, its event waits in the display line instead."""
    handler.uses_display_line = when  # type: ignore[attr-defined]
    return handler


def check_abandoned() -> None:
    """Raise CancelledError if nobody waits any more for what this thread computes."""
    queue, event_id = gradio_compat.current_event()
    if isinstance(queue, FairQueue) and event_id is not None:
        event = queue.event_ids_to_events.get(event_id)
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


class FairQueue(gradio_compat.Queue):
    """Gradio's queue with two lines, in each of which addresses take turns, and an address's visitors among themselves.

    Computations and what the page displays do not wait for each other. No event starts before its caller listens for
    the answer. An event without a listener for LISTENER_TIMEOUT seconds is dropped, or stopped at its next step.
    """

    def __init__(self, blocks: gr.Blocks) -> None:
        """Create the lines for the events of a page; MEDAPP_PLACES is read here."""
        super().__init__(True, blocks.max_threads, 1, None, blocks, MAX_RUNNING[DISPLAY_LINE])
        self.event_queue_per_concurrency_id = {
            line: gradio_compat.EventQueue(line, limit) for line, limit in MAX_RUNNING.items()
        }
        self.pending_messages_per_session: dict[str, MessageQueue] = {}
        default = 0 if hosts.is_space() else MAX_PER_ADDRESS[COMPUTE_LINE]
        self.max_per_address = {**MAX_PER_ADDRESS, COMPUTE_LINE: int(os.environ.get("MEDAPP_PLACES", default))}
        self.tells_addresses_apart = self.max_per_address[COMPUTE_LINE] > 0
        self.turn = 0
        self.last_turns: dict[CallerKey, int] = {}

    # ---- arriving
    async def push(self, body: PredictBodyInternal, request: Request, username: str | None) -> tuple[bool, Any, Any]:
        """Add an event, as Gradio's `Queue.push` does. Raises HTTPException if the caller has too many already."""
        function = gradio_compat.find_function(self.blocks, body)
        event = QueuedEvent(body.session_hash, function, request, username)
        is_display = getattr(function.fn, "uses_display_line", lambda body: False)
        computes = function.concurrency_id == COMPUTE_LINE and not is_display(body)
        event.concurrency_id = COMPUTE_LINE if computes else DISPLAY_LINE
        caller = caller_of_request(request)
        event.address = caller.address if self.tells_addresses_apart else ""
        event.visitor = caller.cookie or body.session_hash or ""
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
        pending = [other for other in self.event_ids_to_events.values() if other.concurrency_id == line]
        of_visitor, of_address = (sum(other.callers[n] == event.callers[n] for other in pending) for n in (0, 1))
        noun = "computations" if line == COMPUTE_LINE else "requests"
        if of_visitor >= MAX_PER_VISITOR[line]:
            raise HTTPException(429, f"{of_visitor} {noun} of yours are waiting already: wait until one is done.")
        if self.tells_addresses_apart and of_address >= self.max_per_address[line]:
            message = f"{of_address} {noun} from your address are waiting already: wait until one is done."
            raise HTTPException(429, message)
        if len(pending) >= MAX_PENDING[line]:
            raise HTTPException(503, f"{len(pending)} {noun} are waiting already: try again in a few minutes.")

    # ---- starting
    def get_events(self) -> tuple[list[gradio_compat.Event], bool, str] | None:
        """Take the next event that may start out of its line, as Gradio's `Queue.get_events` does."""
        for line, waiting in self.event_queue_per_concurrency_id.items():
            if waiting.current_concurrency < MAX_RUNNING[line]:
                event = next((event for event in waiting.queue if self._has_listener(event.session_hash)), None)
                if event is not None:
                    waiting.queue.remove(event)
                    self._count_turn(event)
                    return [event], False, line
        return None

    def broadcast_estimations(self, concurrency_id: str, after: int | None = None) -> None:
        """Order a line, and tell visitors who wait for a computation their position in it."""
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

    # ---- leaving
    def start(self) -> None:
        """Start the queue, and a task that drops abandoned events."""
        super().start()
        gradio_compat.run_coro_in_background(self._run_housekeeping)

    async def _run_housekeeping(self) -> None:
        while not self.stopped:
            await asyncio.sleep(min(1.0, LISTENER_TIMEOUT / 4))
            await self.drop_abandoned()
            if isinstance(holder := getattr(self.blocks, "state_holder", None), BoundedStateHolder):
                holder.forget_idle(LISTENER_TIMEOUT)

    async def drop_abandoned(self) -> None:
        """Drop events without a listener for LISTENER_TIMEOUT seconds, and messages that nobody has fetched."""
        now = time.monotonic()
        last_events = {event.session_hash: event.enqueue_time for event in list(self.event_ids_to_events.values())}
        for session in {*self.pending_messages_per_session, *self.pending_event_ids_session}:
            messages = self.pending_messages_per_session.get(session)
            if messages:
                last_active = max(messages.last_heard, last_events.get(session, 0.0))
                if messages.listeners or now - last_active <= LISTENER_TIMEOUT:
                    continue
            await self.clean_events(session_hash=session)
            if not self._has_event(session):
                self.pending_messages_per_session.pop(session, None)
                self.pending_event_ids_session.pop(session, None)

    async def remove_from_queue(self, event_id: str) -> None:
        """Remove a waiting event; stop a running one at its next step."""
        await super().remove_from_queue(event_id)
        if (event := self.event_ids_to_events.get(event_id)) is not None:
            event.alive = False

    # ---- asking
    def is_busy(self, session: str) -> bool:
        """Whether the session has an event in the queue, or listens for messages."""
        return self._has_listener(session) or self._has_event(session)

    def find_session(self, event_id: str) -> str | None:
        """Return the session of an event that waits, runs, or whose messages have not been fetched; None otherwise."""
        if event_id in self.event_ids_to_events:
            return self.event_ids_to_events[event_id].session_hash
        pending = list(self.pending_event_ids_session.items())
        return next((session for session, events in pending if event_id in events), None)

    def _has_listener(self, session: str) -> bool:
        messages = self.pending_messages_per_session.get(session)
        return messages is not None and messages.listeners > 0

    def _has_event(self, session: str) -> bool:
        return any(event.session_hash == session for event in self.event_ids_to_events.values())
