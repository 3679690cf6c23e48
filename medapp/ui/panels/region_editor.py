"""Drafting: regions found at a button, shown over the image, and changed by clicks before they are used."""

from typing import Any

import gradio as gr
import numpy as np

from medapp.errors import InputError
from medapp.imaging.geometry import is_flat, to_display_slices
from medapp.rendering import colour, slices
from medapp.rendering import region_overlay as overlay
from medapp.serving import runtime
from medapp.ui import form as forms
from medapp.ui import html
from medapp.ui.example_inputs import Used
from medapp.ui.region_map import Draft, drafted
from medapp.ui.session import Session, close_session, visitors
from medapp.ui.task_tab import GPU, PRIVATE, Given, Step, Tab, told
from medapp.ui.viewer.scene import digest
from medapp.ui.workspace import LIFETIME

FINDER = "find_regions_sam"
BUTTON = "Find regions"
LOOK, MERGE, REMOVE, ADD = "Look", "Merge two", "Remove", "Add one"
SAID = {
    LOOK: "Click a region to see its number and its size.",
    MERGE: "Click one region, then the one it is to be joined with.",
    REMOVE: "Click a region: its pixels join the regions around it.",
    ADD: "Click a structure: Segment Anything outlines it as a region of its own.",
}


class Drafting:
    """The panel of the regions, and the button that finds them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def button(self) -> None:
        self.find = gr.Button(BUTTON, elem_id=f"{self.name}-find")

    def panel(self) -> None:
        name = self.name
        with gr.Accordion("Regions: see and change them", open=True, visible=False, elem_id=f"{name}-draft") as panel:
            self.words = gr.HTML(elem_id=f"{name}-draft-words")
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
                    self.mode = gr.Radio(list(SAID), value=LOOK, label="A click means", elem_id=f"{name}-draft-mode")
                    self.slice = gr.Slider(1, 2, 1, step=1, label="Slice", visible=False)
                    self.everywhere = gr.Checkbox(False, label="In every slice", visible=False)
                    self.undo = gr.Button("Undo", interactive=False, elem_id=f"{name}-draft-undo")
                    self.reset = gr.Button("As found", interactive=False, elem_id=f"{name}-draft-reset")
                    self.download = gr.DownloadButton("Download the index map", elem_id=f"{name}-draft-download")
        self.accordion = panel
        self.kept = gr.State(None, time_to_live=LIFETIME, delete_callback=close_session)
        self.shown = [self.words, self.hint, self.picture, self.undo, self.reset, self.kept]
        self.opened = [*self.shown, self.accordion, self.slice, self.everywhere, self.download, self.mode]

    # ---- what is shown of a draft
    def show(self, draft: Draft, said: str = "") -> dict:
        """The picture with its outlines, and the words above it."""
        frame = draft.frame
        image = draft.image
        values = to_display_slices(image.array, image.grid)[frame.number]
        window = None if image.is_colour else colour.find_window(image.array, image.unit)
        return {
            self.words: html.regions(draft.count, len(np.unique(draft.stack[frame.number])), draft),
            self.hint: html.hint(said),
            self.picture: overlay.draw_borders(
                slices.draw_slice(values, frame, window),
                draft.stack[frame.number],
                picked=draft.picked,
                tint=0.0 if image.is_colour else 0.12,
            ),
            self.undo: gr.Button(interactive=bool(draft.past)),
            self.reset: gr.Button(interactive=draft.edited),
            self.kept: draft,
        }

    def open(self, draft: Draft, *, wide: bool) -> dict:
        """All of the panel for another draft."""
        flat = is_flat(draft.image.grid)
        return {
            **self.show(draft, SAID[LOOK]),
            self.accordion: gr.Accordion(visible=True, open=wide),
            self.slice: gr.Slider(maximum=max(2, len(draft.stack)), value=draft.number + 1, visible=not flat),
            self.everywhere: gr.Checkbox(value=False, visible=not flat),
            self.download: gr.DownloadButton(value=str(draft.file())),
            self.mode: LOOK,
        }

    # ---- what happens
    def wire(self, tab: Tab) -> None:
        @told
        def find(data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
            def work(step: Step, form: forms.Form, used: Used, volumes: Given) -> dict:
                data = used.data
                put_in = volumes[0]
                assert put_in is not None  # the form has asked for it
                own = next((v for v in volumes[1:] if v is not None), None)
                chosen = {n: data[k] for n, k in form.options.items() if n in ("regions", "points")}
                result = runtime.run(FINDER, put_in, own, progress=step, **chosen)
                how = "uploaded" if own is not None else str(data[form.options["regions"]])
                step(1.0, "Drawing")
                draft = drafted(put_in, result.volumes["image"], result.volumes["regions"], how)
                visitors.keep(request.session_hash, draft, f"{self.name}-draft")
                held: Session | None = data[tab.kept]
                another = held is None or held.image is None or digest(held.image) != draft.key
                return {
                    **self.open(draft, wide=True),
                    tab.status: html.headline(
                        f"{draft.count} regions found",
                        [f"Change them below if you like, then press {tab.task.RUN}.", *used.notes, *result.notes],
                    ),
                    **({tab.results: gr.Column(visible=False)} if another else {}),
                }

            return tab.attempt(BUTTON, work, data, request, progress)

        @told
        def click(draft: Draft | None, mode: str, everywhere: bool, event: gr.SelectData, request: gr.Request) -> dict:
            if draft is None:
                return {self.words: gr.skip()}
            row, column, number = draft.at(*event.index)
            if mode != draft.mode:
                draft.mode, draft.picked = mode, ()
            if mode == LOOK:
                draft.picked = (number,)
                return self.show(draft, html.region(draft, number))
            if mode == REMOVE:
                draft.remove(number, everywhere)
            elif mode == MERGE and not draft.picked:
                draft.picked = (number,)
                return self.show(draft, f"Region {number}: now click the one it is to be joined with.")
            elif mode == MERGE and draft.picked == (number,):
                draft.picked = ()
                return self.show(draft, SAID[MERGE])
            elif mode == MERGE:
                draft.merge(draft.picked[0], number, everywhere)
            else:
                draft.add(_prompted(draft, row, column))
            return self.show(draft, SAID[mode])

        def step(back: str) -> Any:
            def go(draft: Draft | None) -> dict:
                if draft is None:
                    return {self.words: gr.skip()}
                getattr(draft, back)()
                return self.show(draft)

            return go

        def turn(draft: Draft | None, number: int) -> dict:
            if draft is None:
                return {self.words: gr.skip()}
            draft.number, draft.picked = int(number) - 1, ()
            return self.show(draft)

        def write(draft: Draft | None) -> Any:
            return gr.skip() if draft is None else gr.DownloadButton(value=str(draft.file()))

        quiet: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
        lists = [box for form in tab.by_name.values() for box in form.series.values()]
        tab.follow(self.find, find, tab.everything, [*self.opened, *lists, tab.status, tab.results], drawn=False)
        done = [
            self.picture.select(
                click,
                [self.kept, self.mode, self.everywhere],
                self.shown,
                trigger_mode="multiple",
                show_progress="minimal",
                **GPU,
                **PRIVATE,
            ),
            self.undo.click(step("undo"), self.kept, self.shown, **quiet),
            self.reset.click(step("reset"), self.kept, self.shown, **quiet),
        ]
        for changed in done:
            changed.success(write, self.kept, self.download, **quiet)
        self.mode.input(lambda mode: html.hint(SAID[mode]), self.mode, self.hint, **quiet)  # no draft: a click may run
        self.slice.input(turn, [self.kept, self.slice], self.shown, trigger_mode="always_last", **quiet)


def _prompted(draft: Draft, row: int, column: int) -> np.ndarray:
    """(H, W) bool: what Segment Anything finds at a pixel of the slice shown. Raises InputError if that is nothing."""
    image, labels = draft.piece()
    i, j, k = slices.find_voxel(image.grid, 0, row, column)
    how = draft.how if draft.how.startswith(("mobilesam", "sam")) else "mobilesam"
    result = runtime.run(FINDER, image, labels, regions=how, prompt=f"{i},{j},{k}")
    found = to_display_slices(result.volumes["regions"].array, image.grid)[0]
    mask = found == found[row, column]
    if np.array_equal(mask, draft.stack[draft.number] == draft.stack[draft.number][row, column]):
        raise InputError("Segment Anything outlines nothing new at this point; try another one.")
    return mask
