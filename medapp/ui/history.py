"""History: a visitor's last results in a tab as small cards, to be shown again or put beside the shown one.

A card lives as long as its session: nothing is kept for it beyond that.
"""

import base64
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from medapp.errors import InputError
from medapp.rendering import planes
from medapp.rendering.slice_grids import find_plane, is_flat
from medapp.serving import runtime
from medapp.ui.compared_sessions import compare_sessions, follow_other, render_compared, stop_comparing
from medapp.ui.error_messages import report_errors
from medapp.ui.events import HIDDEN
from medapp.ui.example_results import ExampleResult
from medapp.ui.payload import MalformedRequestError
from medapp.ui.result_cards import ResultCard, render_history
from medapp.ui.result_kind import presenter_of
from medapp.ui.session import Closable, Session
from medapp.ui.tab import Tab
from medapp.ui.visitors import visitors

MAX_RESULTS = 5  # of a tab that are kept; a large one takes hundreds of megabytes of the disk
THUMBNAIL_SIZE = (120, 80)  # pixels: width, height
SCRIPT = (Path(__file__).parent / "history.js").read_text("utf-8")
GONE_MESSAGE = "This result is no longer kept: run it again."


class History:
    """The cards of a tab, in the current column. Events of `cards`: `again` and `beside` with `evt.case`, `alone`, and
    `use` with `evt.case` and `evt.method`, which the page connects (`ui.scan_transfer`)."""

    def __init__(self, name: str) -> None:
        """Lay out the cards; `name` begins their id."""
        self.name = name
        self.cards = gr.HTML(
            "",
            js_on_load=SCRIPT,
            apply_default_css=False,
            padding=False,
            elem_id=f"{name}-history",
            elem_classes="history",
        )

    def keep(self, visitor: str, session: Session) -> Session:
        """Make this the visitor's shown result; the oldest of more than MAX_RESULTS goes."""
        before = visitors.find(visitor, self.name)
        visitors.keep(visitor, session, self.name, MAX_RESULTS)
        if isinstance(before, Session):
            with suppress(OSError):  # the disk is full, or the visitor has left: it stays in memory
                before.store()
        return session

    def open_example(self, visitor: str, computed: ExampleResult) -> Session:
        """Make the result of an example the shown one: the one that is kept and was not changed, or another."""
        same = (session for session in self.list_results(visitor) if session.result is computed.result)
        if (session := next(same, None)) is None:
            return self.keep(visitor, computed.open_session())
        visitors.choose(visitor, session, self.name)
        return session

    def list_results(self, visitor: str) -> list[Session]:
        """Return the visitor's results that are kept, the newest first."""
        kept = visitors.list_kept(visitor, self.name)
        return [session for session in kept if isinstance(session, Session) and not session.is_closed]

    def find(self, visitor: str, case: object) -> Session | None:
        """Return the visitor's result of that name; None where it is not kept."""
        return next((session for session in self.list_results(visitor) if session.case == case), None)

    def require(self, visitor: str, event: gr.EventData) -> Session:
        """Return the result that an event names. Raises InputError where it is not kept."""
        case = (event._data or {}).get("case")
        if not isinstance(case, str):
            raise MalformedRequestError("it does not say which result it means")
        if (session := self.find(visitor, case)) is None:
            raise InputError(GONE_MESSAGE)
        return session

    def render(self, visitor: str) -> str:
        """Return the cards, and what two results that are beside each other have in common."""
        shown = visitors.find(visitor, self.name)
        sessions = self.list_results(visitor)
        cards = [describe_card(session, shown) for session in sessions]
        compared = render_compared(shown) if isinstance(shown, Session) and not shown.is_closed else ""
        return render_history(self.name, cards, compared)

    def draw(self, request: gr.Request) -> str:
        """Return the cards as they are now, for an event that follows a change."""
        return self.render(request.session_hash or "")

    def connect(self, tab: Tab) -> None:
        """Connect the cards, once the tab has all of its components."""
        outputs = [*tab.shown, *(control for form in tab.by_name.values() for control in form.live.values())]

        @report_errors
        def show_again(event: gr.EventData, request: gr.Request) -> dict:
            session = self.require(request.session_hash, event)
            visitors.choose(request.session_hash, session, self.name)
            return show_kept(tab, session)

        @report_errors
        def put_beside(event: gr.EventData, request: gr.Request) -> dict:
            shown, other = visitors.find(request.session_hash, self.name), self.require(request.session_hash, event)
            if not isinstance(shown, Session) or shown is other:
                raise InputError("Choose another result than the one that is shown.")
            with shown.lock:
                compare_sessions(shown, other)
                return tab.show(shown, is_new=False)

        @report_errors
        def show_alone(request: gr.Request) -> dict:
            shown = visitors.find(request.session_hash, self.name)
            if not isinstance(shown, Session) or shown.is_closed:
                return {tab.status: gr.skip()}
            with shown.lock:
                stop_comparing(shown)
                return tab.show(shown, is_new=False)

        for event, handler in (
            (self.cards.again, show_again),
            (self.cards.beside, put_beside),
            (self.cards.alone, show_alone),
        ):
            tab.draw_rest(event(handler, None, outputs, trigger_mode="always_last", **HIDDEN))


def show_kept(tab: Tab, session: Session) -> dict[Any, Any]:
    """Return all of a kept result as it was, its live options included, by component."""
    with session.lock:
        session.check_open()
        follow_other(session)
        settings = session.result.settings
        live = {
            control: settings[name] for name, control in tab.form_of(session.result).live.items() if name in settings
        }
        return tab.show(session, is_new=True) | live


def describe_card(session: Session, shown: Closable | None) -> ResultCard:
    """Return what the card of a result says beside the one that is shown."""
    result, presenter = session.result, presenter_of(session.result)
    card = runtime.find_card_of(result)
    others = map(runtime.find_card, session.fits)
    fits = [(other.title, other.name, other.task) for other in others]
    return ResultCard(
        session.case,
        card.title,
        presenter.headline(result),
        draw_thumbnail(session),
        is_corrected=result.is_corrected,
        is_shown=session is shown,
        is_beside=isinstance(shown, Session) and shown.beside is session,
        fits=fits,
    )


def draw_thumbnail(session: Session) -> str:
    """Return a small picture of a result as a data address; drawn once for each state of it."""
    if session.thumbnail is None or session.thumbnail[0] is not session.result:
        session.thumbnail = session.result, _draw_thumbnail(session)
    return session.thumbnail[1]


def _draw_thumbnail(session: Session) -> str:
    presenter = presenter_of(session.result)
    layers = [layer for layer in presenter.layers(session.result).values() if layer.opacity]
    grid = layers[0].volume.grid
    pixels = planes.draw_plane(layers, find_plane(grid) if is_flat(grid) else "axial", session.mm)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((2 * THUMBNAIL_SIZE[0], 2 * THUMBNAIL_SIZE[1]))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
