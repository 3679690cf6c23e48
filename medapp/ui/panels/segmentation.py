"""The body of the segmentation tab: the linked planes, the live sliders, the table, what the network drew on."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import numpy as np

from medapp.analysis.ms_lesions import PLANE_AXES
from medapp.card import Card
from medapp.presenters import segmentation as task
from medapp.rendering import attention_maps, planes
from medapp.result import Result
from medapp.ui import form as forms
from medapp.ui import html, payload
from medapp.ui.session import Session, parse_position
from medapp.ui.task_tab import PRIVATE, Given, Tab, told
from medapp.ui.viewer.component import Viewer, move_crosshair
from medapp.ui.viewer.scene import build_scene

AXES = ("Right to left", "Back to front", "Foot to head")


class Segmented:
    """See `tab.Body`."""

    def __init__(self, name: str, cards: Sequence[Card]) -> None:
        self.name, self.cards = name, cards
        self.live: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, gr.Column] = {}
        self.more: list[Any] = []
        self.slow: list[Any] = []
        self.buttons: list[Any] = []

    def button(self) -> None:
        """Nothing."""

    def above(self) -> None:
        """Nothing."""

    def pictures(self) -> None:
        self.viewer = Viewer(elem_id=f"{self.name}-viewer", height=620)
        with gr.Group(visible=False) as self.fallback:
            self.picture = gr.Image(
                format="png", label="Three planes", buttons=["download", "fullscreen"], interactive=False
            )
            with gr.Row():
                self.where = [gr.Slider(0, 1, 0.5, step=0.005, label=label) for label in AXES]
        for card in self.cards:
            with gr.Column(visible=card is self.cards[0], elem_id=f"{card.name}-live") as self.groups[card.name]:
                self.live[card.name] = forms.layout_live_options(card)

    def report(self) -> None:
        self.table = gr.Dataframe(
            interactive=False,
            buttons=["copy"],
            max_height=320,
            label="Click a row to go there",
            elem_id=f"{self.name}-table",
        )
        self.numbers = gr.HTML(elem_id=f"{self.name}-numbers")
        self.quick = [self.viewer, self.picture, self.table, self.numbers]

    def tabs(self) -> None:
        name = self.name
        with gr.Tab("Attention", visible=False) as self.attention:
            gr.HTML(
                '<p class="med-small">Which slices a slice draws on before the network decides. It follows the '
                "crosshair; the frame marks the slice, the tint how much it draws on each.</p>"
            )
            with gr.Row():
                titles = [(plane.capitalize(), plane) for plane in PLANE_AXES]
                self.plane = gr.Radio(titles, value="axial", label="Slices", elem_id=f"{name}-attention-plane")
                self.row = gr.Slider(1, 2, 1, step=1, label="Slice (blocks of about 16 mm)")
            with gr.Row(equal_height=False):
                self.strip = gr.Image(format="png", show_label=False, label="The slices from the edge", buttons=[],
                                      interactive=False, elem_id=f"{name}-attention-strip")  # fmt: skip
                self.profile = gr.Plot(show_label=False, format="png")
            self.maps = gr.Plot(show_label=False, format="png", elem_id=f"{name}-attention-maps")
        self.attended = [self.row, self.strip, self.profile, self.maps]
        self.slow = [self.attention, self.plane, *self.attended]

    def given(self, form: forms.Form, data: dict, volumes: Given) -> tuple[Given, Callable[[Result], Result]]:
        return volumes, lambda result: result

    def forget(self) -> dict:
        return {}

    def show(self, held: Session, card: Card, fresh: bool) -> dict:
        layers, table = task.layers(held.result), task.table(held.result)
        return {
            self.viewer: build_scene(layers, held.folder, mm=held.mm if fresh else None),
            self.picture: planes.draw_three_planes(list(layers.values()), held.mm),
            self.table: gr.Dataframe(value=[list(row) for row in table.rows], headers=list(table.columns)),
            self.numbers: html.render_metrics(held.result) + "".join(map(html.render_table, task.further(held.result))),
        }

    def draw(self, held: Session | None) -> dict:
        if held is None or held.shown > 1:
            return {}
        tables = task.attention(held.result)
        plane = next(iter(tables), "axial")
        return {self.attention: gr.Tab(visible=bool(tables)), self.plane: plane, **self.looked(held, plane)}

    def looked(self, held: Session, plane: str, row: int | None = None) -> dict:
        """What a slice of the plane draws on: the row of blocks of that number, else that of the crosshair."""
        tables, image = task.attention(held.result), held.result.volumes["image"]
        if plane not in tables:
            return dict.fromkeys(self.attended, gr.skip())
        count = len(tables[plane].rows)
        at = attention_maps.find_row(tables[plane], image.grid, plane, held.mm) if row is None else min(row, count) - 1
        return {
            self.row: gr.Slider(maximum=max(2, count), value=at + 1) if row is None else gr.skip(),
            self.strip: attention_maps.draw_attention(image, tables[plane], plane, at, held.mm),
            self.profile: attention_maps.plot_attention_row(tables[plane], plane, at),
            self.maps: attention_maps.plot_attention(tables, plane, at),
        }

    def wire(self, tab: Tab) -> None:
        @told
        def move(data: dict) -> dict:
            held: Session | None = data[tab.kept]
            if held is None:
                return {tab.status: gr.skip()}
            knobs = tab.form_of(held.result).live
            held.result = task.moved(
                held.result, held.reference, dict(held.result.settings) | {n: data[k] for n, k in knobs.items()}
            )
            return tab.show(held, fresh=False)

        def go(held: Session | None, event: gr.SelectData) -> tuple:
            if held is None or not task.table(held.result).rows:
                return gr.skip(), gr.skip()
            held.mm = payload.row_position(task.place, held.result, event.row_value)
            return move_crosshair(held.mm), planes.draw_three_planes(list(task.layers(held.result).values()), held.mm)

        def look(held: Session | None, *shares: float) -> np.ndarray:
            if held is None:
                return gr.skip()
            held.mm = html.position_at_shares(held.result.volumes["image"].grid, shares)
            return planes.draw_three_planes(list(task.layers(held.result).values()), held.mm)

        def attend(held: Session | None, plane: str, row: int | None = None) -> dict:
            return self.looked(held, plane, row) if held else dict.fromkeys(self.attended, gr.skip())

        @told
        def follow(held: Session | None, plane: str, event: gr.EventData) -> dict:
            if held is None or not task.attention(held.result):
                return dict.fromkeys(self.attended, gr.skip())
            held.mm = parse_position(event.mm)
            return self.looked(held, plane)

        latest: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", **PRIVATE}
        for knobs in self.live.values():
            for knob in knobs.values():
                moved = knob.input(move, tab.everything, tab.quick, **latest)
                moved.then(tab.draw, tab.kept, tab.slow, **latest)
        self.table.select(go, tab.kept, [self.viewer, self.picture], show_progress="hidden", **PRIVATE)
        self.plane.input(attend, [tab.kept, self.plane], self.attended, **latest)
        self.row.input(attend, [tab.kept, self.plane, self.row], self.attended, **latest)
        self.viewer.select(follow, [tab.kept, self.plane], self.attended, **latest)
        self.viewer.nowebgl(lambda: gr.Group(visible=True), None, self.fallback, queue=False, **PRIVATE)
        for slider in self.where:
            slider.input(look, [tab.kept, *self.where], self.picture, **latest)
