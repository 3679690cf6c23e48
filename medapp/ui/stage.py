"""Stage: the picture of a tab, and what lies over it: whose result it shows, and how far a run has come."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from medapp.card import Card
from medapp.presenters import get_presenter
from medapp.presenters.base import Presenter
from medapp.rendering import planes
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui import html
from medapp.ui.events import AT_ONCE, LIVE
from medapp.ui.session import Session
from medapp.ui.toggle import lay_out_toggle
from medapp.ui.viewer.component import Viewer
from medapp.ui.viewer.scene import Scene, build_scene

AXES = ("Right to left", "Back to front", "Foot to head")


@dataclass(frozen=True)
class Stage:
    """The components: `whose` names the method of the shown result, `progress` is where a run tells how far it is.

    `plain` holds the pictures of the server, for browsers without WebGL, at the `shares` of the image's box.
    """

    name: str
    viewer: Viewer
    plain: gr.Group
    picture: gr.Image
    shares: list[gr.Slider]
    whose: gr.HTML
    progress: gr.HTML
    cancel: gr.Button

    @property
    def shown(self) -> list[Any]:
        """What `show` fills."""
        return [self.viewer, self.whose]

    def show(self, session: Session, card: Card, is_new: bool, scene: Scene | None = None) -> dict:
        """The `scene` of a result, built if it is not given; the crosshair stays unless the result `is_new`."""
        if scene is None:
            view = get_presenter(card).view(session.result)
            mm = session.mm if is_new else None
            scene = build_scene(view, session.folder, mm=mm, key=card.name, title=card.title)
        return {self.viewer: scene, self.whose: html.render_whose(card)}

    def connect(self, kept: gr.State, method: gr.Radio) -> None:
        """Mark the result of another than the chosen method, and draw the plain pictures where there is no WebGL."""
        mark = f"(method) => window.medappPage.markMethod('{self.name}', method)"
        for changed in (method.change, self.whose.change):
            changed(None, method, None, js=mark, **AT_ONCE)

        def draw(session: Session | None, *shares: float) -> Any:
            if session is None:
                return gr.skip()
            presenter = presenter_of(session.result)
            session.mm = html.position_at_shares(presenter.image(session.result).grid, shares)
            return draw_plain(session)

        def open_plain(session: Session | None) -> dict:
            picture = gr.skip() if session is None else draw_plain(session)
            return {self.plain: gr.Group(visible=True), self.picture: picture}

        self.viewer.nowebgl(open_plain, kept, [self.plain, self.picture], **LIVE)
        for slider in self.shares:
            slider.input(draw, [kept, *self.shares], self.picture, **LIVE)


def lay_out_stage(name: str) -> Stage:
    """The stage inside the current column; `name` begins the components' ids."""
    lay_out_toggle(f"{name}-work", "drawer-closed", f"{name}-drawer", "Inputs and examples", "☰")
    viewer = Viewer(elem_id=f"{name}-viewer", name=name)
    with gr.Group(visible=False, elem_id=f"{name}-plain", elem_classes="plain") as plain:
        picture = gr.Image(format="png", label="Three planes", buttons=["download", "fullscreen"], interactive=False)
        with gr.Row():
            shares = [gr.Slider(0, 1, 0.5, step=0.005, label=label) for label in AXES]
    whose = gr.HTML(elem_id=f"{name}-whose", elem_classes="whose")
    with gr.Column(elem_classes="running"):
        progress = gr.HTML(elem_id=f"{name}-progress", elem_classes="progress")
        cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id=f"{name}-cancel")
    return Stage(name, viewer, plain, picture, shares, whose, progress, cancel)


def presenter_of(result: Result) -> Presenter:
    """What shows a result of `runtime.run`."""
    return get_presenter(runtime.find_card_of(result))


def draw_plain(session: Session) -> np.ndarray:
    """Draw three planes through the session's point, uint8 (H, W, 3)."""
    return planes.draw_three_planes(list(presenter_of(session.result).layers(session.result).values()), session.mm)
