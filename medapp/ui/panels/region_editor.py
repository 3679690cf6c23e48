"""Drafting: regions found at a button, shown over the image, and changed by clicks before they are used."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from medapp.errors import InputError
from medapp.imaging.geometry import is_flat, to_display_slices
from medapp.rendering import colour, slices
from medapp.rendering import region_overlay as overlay
from medapp.serving import runtime
from medapp.ui import form as forms
from medapp.ui import html
from medapp.ui.error_messages import report_errors
from medapp.ui.events import GPU, PRIVATE
from medapp.ui.example_inputs import RunInputs
from medapp.ui.panels.base import Volumes
from medapp.ui.region_map import RegionMap, create_region_map
from medapp.ui.session import Session, close_session, visitors
from medapp.ui.viewer.scene import digest_volume
from medapp.ui.workspace import LIFETIME

if TYPE_CHECKING:
    from medapp.ui.task_tab import TaskTab

FIND_REGIONS = "find_regions_sam"
FIND_BUTTON = "Find regions"
INSPECT = "Look"
MERGE = "Merge two"
REMOVE = "Remove"
ADD = "Add one"
MODE_HELP = {
    INSPECT: "Click a region to see its number and its size.",
    MERGE: "Click one region, then the one it is to be joined with.",
    REMOVE: "Click a region: its pixels join the regions around it.",
    ADD: "Click a structure: Segment Anything outlines it as a region of its own.",
}


class RegionEditor:
    """The panel of the regions, and the button that finds them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def button(self) -> None:
        self.find = gr.Button(FIND_BUTTON, elem_id=f"{self.name}-find")

    def panel(self) -> None:
        name = self.name
        with gr.Accordion("Regions: see and change them", open=True, visible=False, elem_id=f"{name}-draft") as panel:
            self.summary = gr.HTML(elem_id=f"{name}-draft-words")
            self.hint = gr.HTML(elem_id=f"{name}-draft-hint")
            with gr.Row(equal_height=False):
                with gr.Column(scale=3, min_width=320):
                    self.picture = gr.Image(
                        format="png",
                        label="Regions over the image",
                        show_label=False,
                        buttons=["download", "fullscreen"],
                        interactive=False,
                        height=520,
                        elem_id=f"{name}-draft-picture",
                    )
                with gr.Column(scale=1, min_width=180):
                    self.mode = gr.Radio(
                        list(MODE_HELP), value=INSPECT, label="A click means", elem_id=f"{name}-draft-mode"
                    )
                    self.slice = gr.Slider(1, 2, 1, step=1, label="Slice", visible=False)
                    self.everywhere = gr.Checkbox(False, label="In every slice", visible=False)
                    self.undo = gr.Button("Undo", interactive=False, elem_id=f"{name}-draft-undo")
                    self.reset = gr.Button("As found", interactive=False, elem_id=f"{name}-draft-reset")
                    self.download = gr.DownloadButton("Download the index map", elem_id=f"{name}-draft-download")
        self.accordion = panel
        self.region_map = gr.State(None, time_to_live=LIFETIME, delete_callback=close_session)
        self.map_outputs = [self.summary, self.hint, self.picture, self.undo, self.reset, self.region_map]
        self.panel_outputs = [*self.map_outputs, self.accordion, self.slice, self.everywhere, self.download, self.mode]

    # ---- what is shown of a draft
    def show(self, draft: RegionMap, said: str = "") -> dict:
        """The picture with its outlines, and the words above it."""
        frame = draft.frame
        image = draft.image
        values = to_display_slices(image.array, image.grid)[frame.number]
        window = None if image.is_colour else colour.find_window(image.array, image.unit)
        return {
            self.summary: html.render_region_count(draft.count, len(np.unique(draft.stack[frame.number])), draft),
            self.hint: html.render_hint(said),
            self.picture: overlay.draw_borders(
                slices.draw_slice(values, frame, window),
                draft.stack[frame.number],
                picked=draft.selected,
                tint=0.0 if image.is_colour else 0.12,
            ),
            self.undo: gr.Button(interactive=bool(draft.undo_steps)),
            self.reset: gr.Button(interactive=draft.is_edited),
            self.region_map: draft,
        }

    def open(self, draft: RegionMap, *, wide: bool) -> dict:
        """All of the panel for another draft."""
        flat = is_flat(draft.image.grid)
        return {
            **self.show(draft, MODE_HELP[INSPECT]),
            self.accordion: gr.Accordion(visible=True, open=wide),
            self.slice: gr.Slider(maximum=max(2, len(draft.stack)), value=draft.slice_index + 1, visible=not flat),
            self.everywhere: gr.Checkbox(value=False, visible=not flat),
            self.download: gr.DownloadButton(value=str(draft.write_file())),
            self.mode: INSPECT,
        }

    # ---- what happens
    def wire(self, tab: "TaskTab") -> None:
        @report_errors
        def find(data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
            def work(step: Callable[[float, str], None], form: forms.Form, used: RunInputs, volumes: Volumes) -> dict:
                data = used.data
                put_in = volumes[0]
                assert put_in is not None  # the form has asked for it
                own = next((v for v in volumes[1:] if v is not None), None)
                chosen = {n: data[k] for n, k in form.options.items() if n in ("regions", "points_per_side")}
                result = runtime.run(FIND_REGIONS, put_in, own, progress=step, **chosen)
                how = "uploaded" if own is not None else str(data[form.options["regions"]])
                step(1.0, "Drawing")
                draft = create_region_map(put_in, result.volumes["image"], result.volumes["regions"], how)
                visitors.keep(request.session_hash, draft, f"{self.name}-draft")
                held: Session | None = data[tab.kept]
                another = held is None or held.image is None or digest_volume(held.image) != draft.image_digest
                return {
                    **self.open(draft, wide=True),
                    tab.status: html.render_headline(
                        f"{draft.count} regions found",
                        [f"Change them below if you like, then press {tab.task.run}.", *used.notes, *result.notes],
                    ),
                    **({tab.results: gr.Column(visible=False)} if another else {}),
                }

            return tab.attempt(FIND_BUTTON, work, data, request, progress)

        @report_errors
        def click(
            draft: RegionMap | None, mode: str, everywhere: bool, event: gr.SelectData, request: gr.Request
        ) -> dict:
            if draft is None:
                return {self.summary: gr.skip()}
            row, column, number = draft.pixel_and_region(*event.index)
            if mode != draft.mode:
                draft.mode, draft.selected = mode, ()
            if mode == INSPECT:
                draft.selected = (number,)
                return self.show(draft, html.describe_region(draft, number))
            if mode == REMOVE:
                draft.remove(number, everywhere)
            elif mode == MERGE and not draft.selected:
                draft.selected = (number,)
                return self.show(draft, f"Region {number}: now click the one it is to be joined with.")
            elif mode == MERGE and draft.selected == (number,):
                draft.selected = ()
                return self.show(draft, MODE_HELP[MERGE])
            elif mode == MERGE:
                draft.merge(draft.selected[0], number, everywhere)
            else:
                draft.add(_outline_at(draft, row, column))
            return self.show(draft, MODE_HELP[mode])

        def step(back: str) -> Any:
            def go(draft: RegionMap | None) -> dict:
                if draft is None:
                    return {self.summary: gr.skip()}
                getattr(draft, back)()
                return self.show(draft)

            return go

        def turn(draft: RegionMap | None, number: int) -> dict:
            if draft is None:
                return {self.summary: gr.skip()}
            draft.slice_index, draft.selected = int(number) - 1, ()
            return self.show(draft)

        def write(draft: RegionMap | None) -> Any:
            return gr.skip() if draft is None else gr.DownloadButton(value=str(draft.write_file()))

        quiet: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
        lists = [box for form in tab.by_name.values() for box in form.series.values()]
        tab.follow(self.find, find, tab.everything, [*self.panel_outputs, *lists, tab.status, tab.results], draws=False)
        done = [
            self.picture.select(
                click,
                [self.region_map, self.mode, self.everywhere],
                self.map_outputs,
                trigger_mode="multiple",
                show_progress="minimal",
                **GPU,
                **PRIVATE,
            ),
            self.undo.click(step("undo"), self.region_map, self.map_outputs, **quiet),
            self.reset.click(step("reset"), self.region_map, self.map_outputs, **quiet),
        ]
        for changed in done:
            changed.success(write, self.region_map, self.download, **quiet)
        self.mode.input(
            lambda mode: html.render_hint(MODE_HELP[mode]), self.mode, self.hint, **quiet
        )  # no draft: a click may run
        self.slice.input(turn, [self.region_map, self.slice], self.map_outputs, trigger_mode="always_last", **quiet)


def _outline_at(draft: RegionMap, row: int, column: int) -> np.ndarray:
    """(H, W) bool: what Segment Anything finds at a pixel of the slice shown. Raises InputError if that is nothing."""
    image, labels = draft.slice_volumes()
    i, j, k = slices.find_voxel(image.grid, 0, row, column)
    how = draft.source if draft.source.startswith(("mobilesam", "sam")) else "mobilesam"
    result = runtime.run(FIND_REGIONS, image, labels, regions=how, prompt=f"{i},{j},{k}")
    found = to_display_slices(result.volumes["regions"].array, image.grid)[0]
    mask = found == found[row, column]
    if np.array_equal(mask, draft.stack[draft.slice_index] == draft.stack[draft.slice_index][row, column]):
        raise InputError("Segment Anything outlines nothing new at this point; try another one.")
    return mask
