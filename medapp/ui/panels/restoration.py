"""The panel of the restoration tab: before and after, the zoom, the signed difference, and the regions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.rendering import region_overlay, slices
from medapp.rendering.layers import Layer
from medapp.result import Result
from medapp.ui import form as forms
from medapp.ui import html, payload
from medapp.ui.events import LIVE
from medapp.ui.panels.base import (
    Frame,
    fill_table,
    lay_out_image,
    lay_out_image_slider,
    lay_out_table,
    presenter_of,
)
from medapp.ui.panels.region_editor import RegionEditor, lay_out_region_editor
from medapp.ui.panels.slice_comparison import OVERVIEW_SIZE, PAIRS, SliceComparison, ZoomArea
from medapp.ui.region_map import RegionMap, create_region_map
from medapp.ui.session import Session
from medapp.ui.tab import Tab, Volumes
from medapp.ui.viewer.component import Viewer
from medapp.ui.viewer.scene import build_scene
from medapp.ui.viewer.volume_files import digest_volume


@dataclass(frozen=True)
class RestorationPanel:
    """See `Panel`; `swipe` is the picture of two images, `pair` chooses them."""

    editor: RegionEditor
    pair: gr.Radio
    window: gr.Dropdown
    slice: gr.Slider
    swipe: gr.ImageSlider
    numbers: gr.HTML
    table: gr.Dataframe
    overview: gr.Image
    zoom: gr.Slider
    across: gr.Slider
    down: gr.Slider
    inset: gr.Image
    about: gr.HTML
    difference: gr.Image
    planes: gr.Tab
    viewer: Viewer

    @property
    def inputs(self) -> list[Any]:
        """The regions of the editor."""
        return [self.editor.region_map]

    @property
    def shown(self) -> list[Any]:
        """What is looked at first."""
        first = [self.pair, self.window, self.slice, self.swipe, self.numbers, self.table, self.planes]
        return [*first, *self.editor.panel_outputs]

    @property
    def drawn(self) -> list[Any]:
        """The rest."""
        return [*self.parts, self.viewer, self.zoom, self.across, self.down]

    @property
    def parts(self) -> list[Any]:
        """What follows the slice, the window and the zoom."""
        return [self.overview, self.inset, self.about, self.difference]

    @property
    def buttons(self) -> list[Any]:
        """That which finds regions."""
        return [self.editor.find]

    def prepare(self, form: forms.Form, data: dict, volumes: Volumes) -> tuple[Volumes, Callable[[Result], Result]]:
        """With the regions of the editor, if they were found in this image as the form asks, or changed by hand."""
        draft: RegionMap | None = data[self.editor.region_map]
        names = [source.name for source in form.card.inputs]
        if (
            draft is None
            or "region_map" not in names
            or volumes[0] is None
            or draft.image_digest != digest_volume(volumes[0])
        ):
            return volumes, lambda result: result
        uploaded = volumes[names.index("region_map")] is not None
        if not draft.is_edited and draft.source != ("uploaded" if uploaded else data[form.options["regions"]]):
            return volumes, lambda result: result
        origin = f"{draft.source}, changed by hand" if draft.is_edited else draft.source
        notes = ("The regions were used as you changed them.",) if draft.is_edited else ()

        def add_origin(result: Result) -> Result:
            return replace(result, settings={**result.settings, "regions": origin}, notes=(*notes, *result.notes))

        with_regions = [draft.to_volume() if n == "region_map" else v for n, v in zip(names, volumes, strict=True)]
        return with_regions, add_origin

    def clear(self) -> dict:
        """Without regions."""
        return {self.editor.accordion: gr.Accordion(visible=False), self.editor.region_map: None}

    def show(self, session: Session, card: Card, is_new: bool) -> dict:
        """Before and after, the metrics, the table and the regions."""
        result = session.result
        comparison = SliceComparison(result)
        number = comparison.count // 2
        pair, window = comparison.pairs[0], next(iter(comparison.windows), None)
        return {
            self.pair: gr.Radio(choices=comparison.pairs, value=pair, visible=len(comparison.pairs) > 1),
            self.window: gr.Dropdown(choices=list(comparison.windows), value=window, visible=bool(comparison.windows)),
            self.slice: gr.Slider(maximum=max(2, comparison.count), value=number + 1, visible=comparison.count > 1),
            self.swipe: comparison.draw_pair(pair, number, window),
            self.numbers: html.render_image_quality(result),
            self.table: fill_table(result, presenter_of(result).table_name),
            self.planes: gr.Tab(visible=comparison.count > 1),
            **self._open_editor(session),
        }

    def _open_editor(self, session: Session) -> dict:
        """The regions that were used; an empty editor where the method uses none."""
        result = session.result
        if "regions" not in result.volumes:
            return self.clear()
        image = session.image or result.volumes["image"]
        how = str(result.settings.get("regions", ""))
        return self.editor.open(
            create_region_map(image, result.volumes["image"], result.volumes["regions"], how), wide=False
        )

    def draw(self, session: Session) -> dict:
        """The zoom, the difference, and the viewer for volumes."""
        comparison, part = SliceComparison(session.result), ZoomArea()
        layers = self._list_layers(session.result)
        return {
            **self._draw_parts(comparison, comparison.count // 2, next(iter(comparison.windows), None), part),
            self.viewer: build_scene(layers, session.folder, mm=session.mm) if comparison.count > 1 else gr.skip(),
            self.zoom: part.zoom,
            self.across: part.across,
            self.down: part.down,
        }

    def _draw_parts(self, comparison: SliceComparison, number: int, window: str | None, area: ZoomArea) -> dict:
        return {
            self.overview: comparison.draw_overview(number, window, area),
            self.inset: comparison.draw_insets(number, window, area),
            self.about: html.render_difference_help(comparison),
            self.difference: comparison.draw_difference(number),
        }

    def _list_layers(self, result: Result) -> dict[str, Layer]:
        """The layers for a viewer of volumes: hundreds of regions only by their borders."""
        layers = presenter_of(result).layers(result)
        images = {name: layer for name, layer in layers.items() if layer.kind != "mask"}
        if "regions" not in result.volumes:
            return images
        borders = region_overlay.make_border_mask(result.volumes["regions"])
        return images | {"Region borders": Layer(borders, "mask", opacity=0.0)}

    def connect(self, tab: Tab) -> None:
        """Follow the choices, the zoom and the table."""
        self.editor.connect(tab)

        def swipe(session: Session | None, pair: str, window: str | None, number: int) -> Any:
            return (
                gr.skip()
                if session is None
                else SliceComparison(session.result).draw_pair(pair, int(number) - 1, window)
            )

        def zoom(
            session: Session | None, window: str | None, number: int, across: float, down: float, times: float
        ) -> dict:
            if session is None:
                return {part: gr.skip() for part in self.parts}
            return self._draw_parts(
                SliceComparison(session.result), int(number) - 1, window, ZoomArea(across, down, times)
            )

        def aim(session: Session | None, number: int, event: gr.SelectData) -> tuple:
            if session is None:
                return gr.skip(), gr.skip()
            frame = slices.make_frame(session.result.volumes["restored"].grid, int(number) - 1, OVERVIEW_SIZE)
            return round(event.index[0] / frame.width, 3), round(event.index[1] / frame.height, 3)

        def go_to_row(session: Session | None, event: gr.SelectData) -> tuple:
            if session is None or presenter_of(session.result).table(session.result) is None:
                return gr.skip(), gr.skip()
            locate = presenter_of(session.result).locate
            grid = session.result.volumes["restored"].grid
            return slices.locate_in_slice(grid, payload.row_position(locate, session.result, event.row_value))

        chosen = [tab.kept, self.pair, self.window, self.slice]
        zoomed = [tab.kept, self.window, self.slice, self.across, self.down, self.zoom]
        self.pair.input(swipe, chosen, self.swipe, **LIVE)
        for control in (self.window, self.slice):
            control.input(swipe, chosen, self.swipe, **LIVE).then(zoom, zoomed, self.parts, **LIVE)
        for control in (self.across, self.down, self.zoom):
            control.input(zoom, zoomed, self.parts, **LIVE)
        for moved in (
            self.overview.select(aim, [tab.kept, self.slice], [self.across, self.down], **LIVE),
            self.table.select(go_to_row, tab.kept, [self.across, self.down], **LIVE),
        ):
            moved.then(zoom, zoomed, self.parts, **LIVE)


def lay_out_restoration(frame: Frame) -> RestorationPanel:
    """The panel in its tab."""
    name = frame.name
    editor = lay_out_region_editor(frame)
    with frame.pictures:
        with gr.Row():
            pair = gr.Radio(list(PAIRS)[:1], value=next(iter(PAIRS)), label="Swipe", elem_id=f"{name}-pair")
            window = gr.Dropdown([], label="Window", visible=False, elem_id=f"{name}-window")
            slice_ = gr.Slider(1, 2, 1, step=1, label="Slice", visible=False, elem_id=f"{name}-slice")
        swipe = lay_out_image_slider("Before and after", f"{name}-swipe")
    with frame.report:
        numbers = gr.HTML(elem_id=f"{name}-numbers")
        table = lay_out_table(name, "Regions: click a row to zoom there")
    with frame.tabs:
        with gr.Tab("Zoom"), gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=220):
                gr.HTML(html.render_help("Click where to zoom; every panel shows the same part in the same window."))
                overview = lay_out_image("Click where to zoom", f"{name}-overview", show_label=False, buttons=[])
                zoom = gr.Slider(2, 16, 4, step=1, label="Zoom")
                across = gr.Slider(0, 1, 0.5, step=0.01, label="Left to right")
                down = gr.Slider(0, 1, 0.5, step=0.01, label="Top to bottom")
            with gr.Column(scale=5, min_width=320):
                inset = lay_out_image("The same part, the same window", f"{name}-inset", show_label=False)
        with gr.Tab("Difference"):
            about = gr.HTML()
            difference = lay_out_image("Signed difference", f"{name}-difference", show_label=False)
        with gr.Tab("Three planes", visible=False) as planes:
            viewer = Viewer(elem_id=f"{name}-viewer", height=620)
    return RestorationPanel(
        editor=editor,
        pair=pair,
        window=window,
        slice=slice_,
        swipe=swipe,
        numbers=numbers,
        table=table,
        overview=overview,
        zoom=zoom,
        across=across,
        down=down,
        inset=inset,
        about=about,
        difference=difference,
        planes=planes,
        viewer=viewer,
    )
