"""Rater masks: what a visitor uploads as the masks of other raters, each file one mask, compared with the result."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import gradio as gr

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import sandbox
from medapp.presenters.raters import check_rater, name_rater
from medapp.ui.compared_sessions import rate_session
from medapp.ui.error_messages import report_errors
from medapp.ui.events import PRIVATE
from medapp.ui.result_kind import presenter_of
from medapp.ui.session import Session
from medapp.ui.tab import Tab

NO_MASK_MESSAGE = "The other raters' masks were not compared: the results of this method are no single mask."


class RaterMasks:
    """The box of other raters' masks of a tab, or none: `boxes`."""

    def __init__(self, box: gr.File | None) -> None:
        """`box` takes several files."""
        self.boxes = [] if box is None else [box]

    def rate(self, session: Session, data: dict, volumes: Mapping[str, Volume | None]) -> None:
        """Compare a result with the masks in the box; `volumes` are the images that it was made of, by name."""
        paths = [path for box in self.boxes for path in data[box] or ()]
        if not paths and not session.raters:
            return
        if not presenter_of(session.result).mask_role:
            gr.Warning(NO_MASK_MESSAGE)
            return
        masks, notes = read_raters(paths, volumes)
        session.raters = tuple(masks)
        rate_session(session)
        for note in notes:
            gr.Warning(note, duration=20)

    def connect(self, tab: Tab) -> None:
        """Compare the shown result anew when files come or go, once the tab has all of its components."""

        @report_errors
        def compare(data: dict, request: gr.Request) -> dict:
            session: Session | None = data[tab.kept]
            if session is None and any(data[box] for box in self.boxes):
                session = tab.open_first_view(request)
            if session is None:
                return {tab.status: gr.skip()}
            image = presenter_of(session.result).image(session.result)
            return tab.show_changed(session, lambda: self.rate(session, data, {"image": image}), request)

        for box in self.boxes:
            given = gr.on(
                [box.upload, box.clear, box.delete],
                compare,
                {box, tab.kept},
                tab.shown,
                show_progress_on=[tab.stage.progress],
                trigger_mode="always_last",
                **PRIVATE,
            )
            tab.draw_rest(given)


def read_raters(paths: Sequence[str], volumes: Mapping[str, Volume | None]) -> tuple[list[Volume], list[str]]:
    """Return the masks that lie on the image, named after their files, and why others are not compared.

    `volumes` are the inputs of the method, by name.
    """
    masks: list[Volume] = []
    notes: list[str] = []
    for path in paths:
        try:
            masks.append(check_rater(sandbox.read([path], name=name_rater(path), labels=True), volumes))
        except InputError as error:
            notes.append(f"{Path(path).name} was not compared: {error}")
    return masks, notes
