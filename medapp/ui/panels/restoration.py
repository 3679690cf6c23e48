"""The body of the restoration tab: the swipe, the zoom, the signed map, and the regions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.presenters import restoration as task
from medapp.rendering import region_overlay as overlay
from medapp.rendering import slices
from medapp.rendering.layers import Layer
from medapp.result import Result
from medapp.ui import form as forms
from medapp.ui import html, payload
from medapp.ui.panels.region_editor import RegionEditor
from medapp.ui.panels.slice_comparison import OVERVIEW, PAIRS, Compared, Part
from medapp.ui.region_map import RegionMap, create_region_map
from medapp.ui.session import Session
from medapp.ui.task_tab import PRIVATE, Given, Tab
from medapp.ui.viewer.component import Viewer
from medapp.ui.viewer.scene import build_scene, digest_volume

BUTTONS: Any = ["download", "fullscreen"]


class Restored:
    """See `tab.Body`."""

    def __init__(self, name: str, cards: Sequence[Card]) -> None:
        self.name, self.cards = name, cards
        self.live: dict[str, dict[str, Any]] = {card.name: {} for card in cards}
        self.groups: dict[str, gr.Column] = {}
        self.region_editor = RegionEditor(name)

    # ---- laid out
    def button(self) -> None:
        self.region_editor.button()
        self.buttons = [self.region_editor.find]

    def above(self) -> None:
        self.region_editor.panel()
        self.more = [self.region_editor.region_map]

    def pictures(self) -> None:
        name = self.name
        with gr.Row():
            self.pair = gr.Radio(list(PAIRS)[:1], value=next(iter(PAIRS)), label="Swipe", elem_id=f"{name}-pair")
            self.preset = gr.Dropdown([], label="Window", visible=False, elem_id=f"{name}-window")
            self.slice = gr.Slider(1, 2, 1, step=1, label="Slice", visible=False, elem_id=f"{name}-slice")
        self.swipe = gr.ImageSlider(
            format="png",
            show_label=False,
            label="Before and after",
            type="numpy",
            max_height=640,
            buttons=BUTTONS,
            interactive=False,
            elem_id=f"{name}-swipe",
        )

    def report(self) -> None:
        self.numbers = gr.HTML(elem_id=f"{self.name}-numbers")
        self.table = gr.Dataframe(
            interactive=False,
            buttons=["copy"],
            max_height=320,
            label="Regions: click a row to zoom there",
            elem_id=f"{self.name}-table",
        )

    def tabs(self) -> None:
        name = self.name
        with gr.Tab("Zoom"), gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=220):
                gr.HTML(
                    '<p class="med-small">Click where to zoom; every panel shows the same part in the same window.</p>'
                )
                self.overview = gr.Image(
                    format="png",
                    label="Click where to zoom",
                    show_label=False,
                    buttons=[],
                    interactive=False,
                    elem_id=f"{name}-overview",
                )
                self.zoom = gr.Slider(2, 16, 4, step=1, label="Times larger")
                self.across = gr.Slider(0, 1, 0.5, step=0.01, label="Left to right")
                self.down = gr.Slider(0, 1, 0.5, step=0.01, label="Top to bottom")
            with gr.Column(scale=5, min_width=320):
                self.inset = gr.Image(
                    format="png",
                    label="The same part, the same window",
                    show_label=False,
                    buttons=BUTTONS,
                    interactive=False,
                    elem_id=f"{name}-inset",
                )
        with gr.Tab("Difference"):
            self.about = gr.HTML()
            self.difference = gr.Image(
                format="png",
                label="Signed difference",
                show_label=False,
                buttons=BUTTONS,
                interactive=False,
                elem_id=f"{name}-difference",
            )
        with gr.Tab("Three planes", visible=False) as self.planes:
            self.viewer = Viewer(elem_id=f"{name}-viewer", height=620)
        self.quick = [self.pair, self.preset, self.slice, self.swipe, self.numbers, self.table]
        self.quick += [self.planes, *self.region_editor.panel_outputs]
        self.parts = [self.overview, self.inset, self.about, self.difference]
        self.slow = [*self.parts, self.viewer, self.zoom, self.across, self.down]

    # ---- what goes in
    def given(self, form: forms.Form, data: dict, volumes: Given) -> tuple[Given, Callable[[Result], Result]]:
        """With the regions of the panel, if they were found in this image as the form asks, or changed by hand."""
        draft: RegionMap | None = data[self.region_editor.region_map]
        names = [source.name for source in form.card.inputs]
        how = "uploaded" if volumes[names.index("region_map")] is not None else data[form.options["regions"]]
        if (
            draft is None
            or volumes[0] is None
            or draft.image_digest != digest_volume(volumes[0])
            or not (draft.is_edited or draft.source == how)
        ):
            return volumes, lambda result: result
        used = f"{draft.source}, changed by hand" if draft.is_edited else draft.source
        put_in = [draft.to_volume() if n == "region_map" else v for n, v in zip(names, volumes, strict=True)]

        def remark(result: Result) -> Result:
            notes = ("The regions were used as you changed them.",) if draft.is_edited else ()
            return replace(result, settings={**result.settings, "regions": used}, notes=(*notes, *result.notes))

        return put_in, remark

    def forget(self) -> dict:
        return {self.region_editor.accordion: gr.Accordion(visible=False), self.region_editor.region_map: None}

    # ---- what is shown
    def show(self, held: Session, card: Card, fresh: bool) -> dict:
        result = held.result
        seen = Compared(result)
        number = seen.count // 2
        name, preset = seen.pairs[0], next(iter(seen.windows), None)
        table = result.tables.get(task.TABLE)
        put_in = held.image or result.volumes["image"]
        draft = create_region_map(
            put_in, result.volumes["image"], result.volumes["regions"], str(result.settings["regions"])
        )
        return {
            self.pair: gr.Radio(choices=seen.pairs, value=name, visible=len(seen.pairs) > 1),
            self.preset: gr.Dropdown(choices=list(seen.windows), value=preset, visible=bool(seen.windows)),
            self.slice: gr.Slider(maximum=max(2, seen.count), value=number + 1, visible=seen.count > 1),
            self.swipe: seen.pair(name, number, preset),
            self.numbers: html.render_image_quality(result),
            self.table: gr.Dataframe(
                value=[list(row) for row in table.rows] if table else [],
                headers=list(table.columns) if table else ["region"],
                visible=table is not None,
            ),
            self.planes: gr.Tab(visible=seen.count > 1),
            **self.region_editor.open(draft, wide=False),
        }

    def draw(self, held: Session | None) -> dict:
        if held is None:
            return {}
        seen = Compared(held.result)
        part = Part()
        viewed = build_scene(_layers(held.result), held.folder, mm=held.mm) if seen.count > 1 else gr.skip()
        return {
            **self._parts(seen, seen.count // 2, next(iter(seen.windows), None), part),
            self.viewer: viewed,
            self.zoom: part.zoom,
            self.across: part.across,
            self.down: part.down,
        }

    def _parts(self, seen: Compared, number: int, preset: str | None, part: Part) -> dict:
        return {
            self.overview: seen.overview(number, preset, part),
            self.inset: seen.insets(number, preset, part),
            self.about: html.render_difference_help(seen),
            self.difference: seen.difference(number),
        }

    # ---- wired
    def wire(self, tab: Tab) -> None:
        self.region_editor.wire(tab)

        def swipe(held: Session | None, name: str, preset: str | None, number: int) -> Any:
            return gr.skip() if held is None else Compared(held.result).pair(name, int(number) - 1, preset)

        def zoom(
            held: Session | None, preset: str | None, number: int, across: float, down: float, times: float
        ) -> dict:
            if held is None:
                return {part: gr.skip() for part in self.parts}
            return self._parts(Compared(held.result), int(number) - 1, preset, Part(across, down, times))

        def aim(held: Session | None, number: int, event: gr.SelectData) -> tuple:
            if held is None:
                return gr.skip(), gr.skip()
            frame = slices.make_frame(held.result.volumes["restored"].grid, int(number) - 1, OVERVIEW)
            return round(event.index[0] / frame.width, 3), round(event.index[1] / frame.height, 3)

        def go(held: Session | None, event: gr.SelectData) -> tuple:
            if held is None or task.TABLE not in held.result.tables:
                return gr.skip(), gr.skip()
            grid = held.result.volumes["restored"].grid
            return slices.locate_in_slice(grid, payload.row_position(task.place, held.result, event.row_value))

        quiet: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", **PRIVATE}
        seen = [tab.kept, self.pair, self.preset, self.slice]
        zoomed = [tab.kept, self.preset, self.slice, self.across, self.down, self.zoom]
        self.pair.input(swipe, seen, self.swipe, **quiet)
        for knob in (self.preset, self.slice):
            knob.input(swipe, seen, self.swipe, **quiet).then(zoom, zoomed, self.parts, **quiet)
        for knob in (self.across, self.down, self.zoom):
            knob.input(zoom, zoomed, self.parts, **quiet)
        for moved in (
            self.overview.select(aim, [tab.kept, self.slice], [self.across, self.down], **quiet),
            self.table.select(go, tab.kept, [self.across, self.down], **quiet),
        ):
            moved.then(zoom, zoomed, self.parts, **quiet)


def _layers(result: Result) -> dict[str, Layer]:
    """The result for a viewer of volumes: hundreds of regions only by their borders."""
    layers = {name: layer for name, layer in task.layers(result).items() if layer.kind != "mask"}
    return layers | {"Region borders": Layer(overlay.make_border_mask(result.volumes["regions"]), "mask", opacity=0.0)}
