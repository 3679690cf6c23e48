"""Region editor: regions found at a button, shown over the image, and edited by clicks before they are used."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from medapp.imaging.geometry import is_flat, to_display_slices
from medapp.imaging.volume import digest_volume
from medapp.rendering import colour, slices
from medapp.rendering import region_overlay as overlay
from medapp.ui import form as forms
from medapp.ui import html, region_search
from medapp.ui.error_messages import report_errors
from medapp.ui.events import AT_ONCE, GPU, PRIVATE
from medapp.ui.example_inputs import RunInputs
from medapp.ui.panels.base import Frame, lay_out_image
from medapp.ui.region_map import RegionMap
from medapp.ui.session import Session, close_session
from medapp.ui.tab import Step, Tab, Volumes
from medapp.ui.visitors import visitors
from medapp.ui.workspace import LIFETIME

FIND_BUTTON = "Find regions"
PICTURE_NAME = "Regions over the image"
INSPECT = "Inspect"
MERGE = "Merge"
REMOVE = "Remove"
ADD = "Add"
MODE_HELP = {
    INSPECT: "Click a region to see its number, size and mean.",
    MERGE: "Click two regions to merge them.",
    REMOVE: "Click a region: its pixels join the neighbouring regions.",
    ADD: "Click a structure to add it as a region.",
}


@dataclass(frozen=True)
class RegionEditor:
    """The components that edit regions, and the button that finds them; `region_map` holds the `RegionMap`."""

    name: str
    find: gr.Button
    accordion: gr.Accordion
    summary: gr.HTML
    hint: gr.HTML
    picture: gr.Image
    mode: gr.Radio
    size: gr.Radio
    slice: gr.Slider
    everywhere: gr.Checkbox
    undo: gr.Button
    reset: gr.Button
    download: gr.DownloadButton
    region_map: gr.State

    @property
    def map_outputs(self) -> list[Any]:
        """What `show` fills."""
        return [self.summary, self.hint, self.picture, self.size, self.undo, self.reset, self.region_map]

    @property
    def panel_outputs(self) -> list[Any]:
        """What `open` fills."""
        return [*self.map_outputs, self.accordion, self.slice, self.everywhere, self.download, self.mode]

    # ---- display
    def show(self, region_map: RegionMap, hint: str = "") -> dict:
        """Return the picture with outlines, the sizes of a region just added, and the words, by component."""
        frame = region_map.frame
        image = region_map.image
        values = to_display_slices(image.array, image.grid)[frame.number]
        window = None if image.is_colour else colour.find_window(image.array, image.unit)
        added = region_map.added
        return {
            self.summary: html.render_region_count(
                region_map.count, len(np.unique(region_map.stack[frame.number])), region_map
            ),
            self.hint: html.render_hint(hint),
            self.picture: overlay.draw_borders(
                slices.draw_slice(values, frame, window),
                region_map.stack[frame.number],
                picked=region_map.selected or ((added.number,) if added else ()),
                tint=0.0 if image.is_colour else 0.12,
            ),
            self.size: self._offer_sizes(region_map),
            self.undo: gr.Button(interactive=bool(region_map.undo_steps)),
            self.reset: gr.Button(interactive=region_map.is_edited),
            self.region_map: region_map,
        }

    def _offer_sizes(self, region_map: RegionMap) -> gr.Radio:
        added = region_map.added
        if added is None or len(added.masks) < 2:
            return gr.Radio(visible=False)
        areas = [html.describe_area(region_map.image, int(mask.sum())) for mask in added.masks]
        choices = [(area, number) for number, area in enumerate(areas)]
        return gr.Radio(choices, value=added.chosen, label=f"Size of region {added.number}", visible=True)

    def open(self, region_map: RegionMap, *, wide: bool) -> dict:
        """Return all of the panel for another region map, by component; `wide` opens it, and it widens the panel."""
        flat = is_flat(region_map.image.grid)
        return {
            **self.show(region_map, MODE_HELP[INSPECT]),
            self.accordion: gr.Accordion(visible=True, open=wide),
            self.slice: gr.Slider(
                maximum=max(2, len(region_map.stack)), value=region_map.slice_index + 1, visible=not flat
            ),
            self.everywhere: gr.Checkbox(value=False, visible=not flat),
            self.download: gr.DownloadButton(value=str(region_map.write_file())),
            self.mode: INSPECT,
        }

    def close(self) -> dict:
        """Without regions."""
        return {self.accordion: gr.Accordion(visible=False, open=False), self.region_map: None}

    # ---- events
    def connect(self, tab: Tab) -> None:
        """Connect the components, once the tab has all of its own."""

        @report_errors
        def find(data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
            def work(step: Step, form: forms.Form, used: RunInputs, volumes: Volumes) -> dict:
                data = used.data
                image = volumes[0]
                assert image is not None  # the form has asked for it
                uploaded_map = next((v for v in volumes[1:] if v is not None), None)
                options = {n: data[k] for n, k in form.options.items() if n in ("regions", "points_per_side")}
                region_map, notes = region_search.find_region_map(image, uploaded_map, options, step)
                visitors.keep(request.session_hash, region_map, f"{self.name}-region-editor")
                session: Session | None = data[tab.kept]
                is_other = (
                    session is None or session.image is None or digest_volume(session.image) != region_map.image_digest
                )
                return {
                    **self.open(region_map, wide=True),
                    tab.status: html.render_headline(
                        f"{region_map.count} regions found",
                        [f"Edit them below if you like, then press {tab.task.run}.", *used.notes, *notes],
                    ),
                    **({tab.results: gr.Column(visible="hidden")} if is_other else {}),
                }

            return tab.attempt(FIND_BUTTON, work, data, request, progress)

        @report_errors
        def click(
            region_map: RegionMap | None, mode: str, everywhere: bool, event: gr.SelectData, request: gr.Request
        ) -> dict:
            if region_map is None:
                return {self.summary: gr.skip()}
            row, column, number = region_map.pixel_and_region(*event.index)
            if mode != region_map.mode:
                region_map.mode, region_map.selected = mode, ()
            if mode == INSPECT:
                region_map.selected = (number,)
                return self.show(region_map, html.describe_region(region_map, number))
            if mode == REMOVE:
                region_map.remove(number, everywhere)
            elif mode == MERGE and not region_map.selected:
                region_map.selected = (number,)
                return self.show(region_map, f"Region {number}: now click the region to merge it with.")
            elif mode == MERGE and region_map.selected == (number,):
                region_map.selected = ()
                return self.show(region_map, MODE_HELP[MERGE])
            elif mode == MERGE:
                region_map.merge(region_map.selected[0], number, everywhere)
            elif not region_map.add(region_search.find_structures(region_map, row, column), (row, column)):
                return self.show(region_map, "Segment Anything finds no new region here; try another point.")
            return self.show(region_map, MODE_HELP[mode])

        def resize(region_map: RegionMap | None, mode: str, chosen: int | None) -> dict:
            if region_map is None or region_map.added is None or chosen is None:
                return {self.size: gr.Radio(visible=False)}
            region_map.resize_added(chosen)
            shown = self.show(region_map, MODE_HELP[mode])
            return {component: shown[component] for component in shown if component is not self.size}  # as it is

        def create_handler(method: str) -> Any:
            def handle(region_map: RegionMap | None, mode: str) -> dict:
                if region_map is None:
                    return {self.summary: gr.skip()}
                getattr(region_map, method)()
                return self.show(region_map, MODE_HELP[mode])

            return handle

        def show_slice(region_map: RegionMap | None, mode: str, number: int) -> dict:
            if region_map is None:
                return {self.summary: gr.skip()}
            region_map.slice_index, region_map.selected = int(number) - 1, ()
            return self.show(region_map, MODE_HELP[mode])

        def write(region_map: RegionMap | None) -> Any:
            return gr.skip() if region_map is None else gr.DownloadButton(value=str(region_map.write_file()))

        for changed, is_open in ((self.accordion.expand, "true"), (self.accordion.collapse, "false")):
            widen = f"() => window.medappPage.widenFor('{self.accordion.elem_id}', '{self.name}', {is_open})"
            changed(None, js=widen, **AT_ONCE)
        name_picture = f"() => window.medappPage.namePicture('{self.picture.elem_id}', '{PICTURE_NAME}')"
        self.picture.change(None, js=name_picture, **AT_ONCE)
        quiet: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
        current = [self.region_map, self.mode]
        lists = [box for form in tab.by_name.values() for box in form.series.values()]
        tab.follow(self.find, find, tab.everything, [*self.panel_outputs, *lists, tab.status, tab.results], draws=False)
        done = [
            self.picture.select(
                click,
                [*current, self.everywhere],
                self.map_outputs,
                trigger_mode="multiple",
                show_progress="minimal",
                **GPU,
                **PRIVATE,
            ),
            self.undo.click(create_handler("undo"), current, self.map_outputs, **quiet),
            self.reset.click(create_handler("reset"), current, self.map_outputs, **quiet),
            self.size.input(resize, [*current, self.size], self.map_outputs, trigger_mode="always_last", **quiet),
        ]
        for changed in done:
            changed.success(write, self.region_map, self.download, **quiet)
        self.mode.input(
            lambda mode: html.render_hint(MODE_HELP[mode]), self.mode, self.hint, **quiet
        )  # without the map as input, since a click may be computing
        self.slice.input(show_slice, [*current, self.slice], self.map_outputs, trigger_mode="always_last", **quiet)


def lay_out_region_editor(frame: Frame) -> RegionEditor:
    """The button beside Run, and the editor above the result, hidden until there are regions."""
    name = frame.name
    with frame.buttons:
        find = gr.Button(FIND_BUTTON, elem_id=f"{name}-find")
    begin = f"{name}-region-editor"
    with frame.above:
        with gr.Accordion("Edit regions", open=False, visible=False, elem_id=begin) as accordion:
            summary = gr.HTML(elem_id=f"{begin}-words")
            hint = gr.HTML(elem_id=f"{begin}-hint")
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=280):
                    picture = lay_out_image(PICTURE_NAME, f"{begin}-picture", show_label=False)
                with gr.Column(scale=1, min_width=160):
                    mode = gr.Radio(list(MODE_HELP), value=INSPECT, label="Click action", elem_id=f"{begin}-mode")
                    size = gr.Radio([], visible=False, elem_id=f"{begin}-size")
                    slice_ = gr.Slider(1, 2, 1, step=1, label="Slice", visible=False)
                    everywhere = gr.Checkbox(False, label="In every slice", visible=False)
                    undo = gr.Button("Undo", interactive=False, elem_id=f"{begin}-undo", size="sm")
                    reset = gr.Button("Reset to detected", interactive=False, elem_id=f"{begin}-reset", size="sm")
                    download = gr.DownloadButton("Download region map", elem_id=f"{begin}-download", size="sm")
        region_map = gr.State(None, time_to_live=LIFETIME, delete_callback=close_session)
    return RegionEditor(
        name=name,
        find=find,
        accordion=accordion,
        summary=summary,
        hint=hint,
        picture=picture,
        mode=mode,
        size=size,
        slice=slice_,
        everywhere=everywhere,
        undo=undo,
        reset=reset,
        download=download,
        region_map=region_map,
    )
