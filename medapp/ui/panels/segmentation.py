"""The panel of the segmentation tab: linked planes, live options, the table, and the slice attention."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from medapp.card import Card
from medapp.rendering import planes
from medapp.result import Result
from medapp.ui import form as forms
from medapp.ui import html, payload
from medapp.ui.events import AT_ONCE, HIDDEN, LIVE
from medapp.ui.panels.base import Frame, fill_table, lay_out_table, presenter_of
from medapp.ui.panels.slice_attention import SliceAttention, lay_out_attention
from medapp.ui.session import Session
from medapp.ui.tab import Tab, Volumes
from medapp.ui.viewer.component import Viewer, move_crosshair
from medapp.ui.viewer.scene import build_scene

AXES = ("Right to left", "Back to front", "Foot to head")


@dataclass(frozen=True)
class SegmentationPanel:
    """See `Panel`; `fallback` holds what is shown where the browser has no WebGL."""

    viewer: Viewer
    fallback: gr.Group
    picture: gr.Image
    shares: list[gr.Slider]
    table: gr.Dataframe
    numbers: gr.HTML
    attention: SliceAttention

    @property
    def inputs(self) -> list[Any]:
        """Nothing."""
        return []

    @property
    def shown(self) -> list[Any]:
        """What is looked at first."""
        return [self.viewer, self.picture, self.table, self.numbers]

    @property
    def drawn(self) -> list[Any]:
        """The attention."""
        return self.attention.components

    @property
    def buttons(self) -> list[Any]:
        """None."""
        return []

    def prepare(self, form: forms.Form, data: dict, volumes: Volumes) -> tuple[Volumes, Callable[[Result], Result]]:
        """The images as they are."""
        return volumes, lambda result: result

    def clear(self) -> dict:
        """Nothing."""
        return {}

    def show(self, session: Session, card: Card, is_new: bool) -> dict:
        """The planes, the table and the metrics."""
        result, presenter = session.result, presenter_of(session.result)
        layers = presenter.layers(result)
        return {
            self.viewer: build_scene(layers, session.folder, mm=session.mm if is_new else None),
            self.picture: planes.draw_three_planes(list(layers.values()), session.mm),
            self.table: fill_table(result, presenter.table_name),
            self.numbers: html.render_metrics(result)
            + "".join(map(html.render_table, presenter.further_tables(result))),
        }

    def draw(self, session: Session) -> dict:
        """The attention, which no live option changes."""
        return {} if session.shown > 1 else self.attention.draw(session)

    def connect(self, tab: Tab) -> None:
        """Follow the table, and the sliders that stand in for the viewer."""

        def go_to_row(session: Session | None, event: gr.SelectData) -> tuple:
            if session is None:
                return gr.skip(), gr.skip()
            presenter = presenter_of(session.result)
            table = presenter.table(session.result)
            if table is None or not table.rows:
                return gr.skip(), gr.skip()
            session.mm = payload.row_position(presenter.locate, session.result, event.row_value)
            return move_crosshair(session.mm), planes.draw_three_planes(
                list(presenter.layers(session.result).values()), session.mm
            )

        def go_to_shares(session: Session | None, *shares: float) -> np.ndarray:
            if session is None:
                return gr.skip()
            session.mm = html.position_at_shares(session.result.volumes["image"].grid, shares)
            layers = presenter_of(session.result).layers(session.result)
            return planes.draw_three_planes(list(layers.values()), session.mm)

        self.table.select(go_to_row, tab.kept, [self.viewer, self.picture], **HIDDEN)
        self.attention.connect(tab.kept, self.viewer)
        self.viewer.nowebgl(lambda: gr.Group(visible=True), None, self.fallback, **AT_ONCE)
        for slider in self.shares:
            slider.input(go_to_shares, [tab.kept, *self.shares], self.picture, **LIVE)


def lay_out_segmentation(frame: Frame) -> SegmentationPanel:
    """The panel in its tab."""
    name = frame.name
    with frame.pictures:
        viewer = Viewer(elem_id=f"{name}-viewer", height=620)
        with gr.Group(visible=False) as fallback:
            picture = gr.Image(
                format="png", label="Three planes", buttons=["download", "fullscreen"], interactive=False
            )
            with gr.Row():
                shares = [gr.Slider(0, 1, 0.5, step=0.005, label=label) for label in AXES]
    with frame.report:
        table = lay_out_table(name, "Click a row to go there")
        numbers = gr.HTML(elem_id=f"{name}-numbers")
    with frame.tabs:
        attention = lay_out_attention(name)
    return SegmentationPanel(viewer, fallback, picture, shares, table, numbers, attention)
