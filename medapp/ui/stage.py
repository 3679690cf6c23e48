"""Stage: the picture of a tab, and what lies over it: whose result it shows, and how far a run has come."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from medapp.analysis.hand_correction import CORRECTION
from medapp.card import Card
from medapp.imaging.volume import Volume
from medapp.rendering import planes
from medapp.ui import html
from medapp.ui.compared_sessions import add_other
from medapp.ui.events import AT_ONCE, LIVE
from medapp.ui.result_kind import presenter_of
from medapp.ui.session import Session
from medapp.ui.toggle import lay_out_toggle
from medapp.ui.viewer.component import Viewer
from medapp.ui.viewer.scene import Scene, build_scene
from medapp.ui.viewer.sharing import describe_sharing

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
        """The `scene` of a result, by default that of before; the crosshair stays unless the result `is_new`."""
        result = session.result
        hand = result.volumes.get(CORRECTION) if is_new else None  # which the browser may not have
        scene = scene or session.scene
        if scene is None or (hand is not None and scene.live is not None and scene.live.hand is None):
            scene = build_session_scene(session, card, hand)
        session.scene = scene
        headline = presenter_of(result).headline(result)
        own: dict[str, Any] = {  # of a scene that may be shown to several visitors
            "case": session.case,
            "strokes": session.strokes,
            "crosshair": [float(x) for x in session.mm] if is_new else None,
            "sharing": describe_sharing(card, headline, session.example, result.settings),
            "state": session.state if is_new else None,
        }
        if is_new and session.state and session.state.mm:
            own["crosshair"] = session.state.mm
        return {self.viewer: scene.model_copy(update=own), self.whose: html.render_whose(card)}

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


def build_session_scene(session: Session, card: Card, hand: Volume | None) -> Scene:
    """Build what the browser shows of a session, with what is beside it; `hand` is the correction that it has not."""
    result = session.result
    view = add_other(presenter_of(result).view(result), session)
    title = f"{card.title}, corrected by hand" if result.is_corrected else card.title
    return build_scene(view, session.folder, key=f"{card.name} {view.kind}".strip(), title=title, hand=hand)


def draw_plain(session: Session) -> np.ndarray:
    """Draw three planes through the session's point, uint8 (H, W, 3)."""
    return planes.draw_three_planes(list(presenter_of(session.result).layers(session.result).values()), session.mm)
