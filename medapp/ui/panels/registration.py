"""The body of the registration tab: one plane in many views, the linked planes, the regions, and what went in."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from medapp.analysis import region_overlap
from medapp.card import Card
from medapp.imaging.volume import Volume
from medapp.presenters import brain_pair as task_pair
from medapp.presenters import registration as task
from medapp.rendering import colour, planes
from medapp.rendering.deformation_maps import GRID_HELP
from medapp.rendering.image_comparison import draw_colour_overlay
from medapp.rendering.layers import Layer
from medapp.rendering.lesion_charts import AXIS_ENDS
from medapp.rendering.slice_grids import PLANE_NORMALS, PLANES, Plane
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui import form as forms
from medapp.ui import html, payload
from medapp.ui.array_store import ArrayStore
from medapp.ui.example_inputs import RunInputs
from medapp.ui.panels.metric_table import measures, reading
from medapp.ui.panels.registration_views import (
    ABOUT,
    FLICKER,
    GRID,
    GRIDS,
    PAIRED,
    PAIRS,
    SWIPE,
    VIEWS,
    Section,
    flicker,
    pairs,
    views,
)
from medapp.ui.session import Session, close_session, parse_position, visitors
from medapp.ui.task_tab import PRIVATE, Given, Step, Tab, told
from medapp.ui.viewer.component import Viewer, move_crosshair
from medapp.ui.viewer.scene import build_scene, digest_volume
from medapp.ui.workspace import LIFETIME, new_folder

BUTTONS: Any = ["download", "fullscreen"]
LOOK, READIER = "Look at the pair first", "prepare_brain_pair"
PREPARED = {
    "both": "Fixed in blue, moving in orange: grey where they agree",
    "fixed_prepared": "Fixed",
    "moving_prepared": "Moving, after the affine",
}


@dataclass(eq=False)
class Looked:
    """Of a pair that was looked at: what it was put in, and the label maps that were found in it, by input.

    The voxels lie in `folder`.
    """

    key: tuple[str, ...]
    labels: dict[str, Volume]
    folder: Path = field(default_factory=new_folder)

    def __post_init__(self) -> None:
        store = ArrayStore(self.folder / "voxels")
        self.labels = {name: store.store_volume(labels) for name, labels in self.labels.items()}

    def close(self) -> None:
        """Remove the files and let go of what was read from them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.key, self.labels = (), {}


class Registered:
    """See `tab.Body`."""

    def __init__(self, name: str, cards: Sequence[Card]) -> None:
        self.name, self.cards = name, cards
        self.live: dict[str, dict[str, Any]] = {card.name: {} for card in cards}
        self.groups: dict[str, gr.Column] = {}
        self.more: list[Any] = []
        self.buttons: list[Any] = []

    # ---- laid out
    def button(self) -> None:
        self.look = gr.Button(LOOK, elem_id=f"{self.name}-look")
        self.buttons = [self.look]

    def above(self) -> None:
        with gr.Accordion(
            "What the registration sees", open=False, visible=False, elem_id=f"{self.name}-prepared"
        ) as self.prepared:
            gr.HTML('<p class="med-small">The pair made ready: without skull, aligned, 1 mm, from 0 to 1.</p>')
            self.inputs = {
                role: gr.Image(format="png", label=said, buttons=BUTTONS, interactive=False)
                for role, said in PREPARED.items()
            }
        self.looked = gr.State(None, time_to_live=LIFETIME, delete_callback=close_session)
        self.more = [self.looked]

    def pictures(self) -> None:
        name, pair, way = self.name, next(iter(PAIRS)), next(iter(GRIDS))
        self.view = gr.Radio(list(VIEWS), value=SWIPE, label="View", elem_id=f"{name}-view")
        with gr.Row():
            self.plane = gr.Radio(
                [p.capitalize() for p in PLANES], value="Axial", label="Plane", elem_id=f"{name}-plane"
            )
            self.slice = gr.Slider(-1, 1, 0, step=1, label=_along("axial"), elem_id=f"{name}-slice")
            self.pair = gr.Radio(list(PAIRS), value=pair, label="Images", elem_id=f"{name}-pair")
            self.way = gr.Radio(list(GRIDS), value=way, label="Which grid", visible=False, elem_id=f"{name}-way")
            self.step = gr.Slider(4, 20, 8, step=1, label="Grid spacing (mm)", visible=False)
        self.about = gr.HTML(elem_id=f"{name}-about")
        common: dict[str, Any] = {"format": "png", "show_label": False, "buttons": BUTTONS, "interactive": False}
        self.swipe = gr.ImageSlider(label="Two images", type="numpy", max_height=640, elem_id=f"{name}-swipe", **common)
        self.picture = gr.Image(label="The plane", height=640, visible=False, elem_id=f"{name}-picture", **common)
        self.flicker = gr.HTML(visible=False, elem_id=f"{name}-flicker")
        self.reading = gr.HTML(visible=False, elem_id=f"{name}-reading")
        self.shown = [self.slice, self.pair, self.way, self.step, self.about, self.swipe, self.picture, self.flicker]
        self.shown += [self.reading]

    def report(self) -> None:
        self.numbers = gr.HTML(elem_id=f"{self.name}-numbers")
        self.table = gr.Dataframe(
            interactive=False,
            buttons=["copy"],
            max_height=360,
            label="Regions: click a row to go there",
            elem_id=f"{self.name}-table",
        )

    def tabs(self) -> None:
        name = self.name
        with gr.Tab("Three planes") as self.linked:
            self.viewer = Viewer(elem_id=f"{name}-viewer", height=620)
        with gr.Tab("Side by side") as self.synced:
            gr.HTML('<p class="med-small">The fixed and the warped moving image; both follow each other.</p>')
            self.both = []
            with gr.Row():
                for side in ("fixed", "warped"):
                    with gr.Column(min_width=420):
                        self.both.append(Viewer(elem_id=f"{name}-{side}", height=460, sync=f"{name}-both"))
        with gr.Tab("Arrows"):
            gr.HTML('<p class="med-small">From points of the fixed image to where they go in the moving one.</p>')
            self.longer = gr.Slider(1, 5, 1, step=0.5, label="Times longer", elem_id=f"{name}-longer")
            self.arrows = gr.Plot(show_label=False, format="png", elem_id=f"{name}-arrows")
        self.quick = [self.view, self.plane, *self.shown, self.numbers, self.table, self.prepared]
        self.quick += self.inputs.values()
        self.slow = [self.viewer, *self.both, self.arrows]

    # ---- what goes in
    def given(self, form: forms.Form, data: dict, volumes: Given) -> tuple[Given, Callable[[Result], Result]]:
        """With the regions that were found when the visitor looked at this pair: they need not be found again."""
        looked: Looked | None = data[self.looked]
        if looked is None or looked.key != _key(volumes):
            return volumes, lambda result: result
        names = [source.name for source in form.card.inputs]
        return [v or looked.labels.get(n) for n, v in zip(names, volumes, strict=True)], lambda result: result

    def forget(self) -> dict:
        return {self.prepared: gr.Accordion(visible=False), self.looked: None}

    # ---- what is shown
    def show(self, held: Session, card: Card, fresh: bool) -> dict:
        result = held.result
        table = result.tables.get(task.TABLE)
        return {
            self.plane: "Axial",
            **self._drawn(held, SWIPE, "Axial", next(iter(PAIRS)), next(iter(GRIDS)), 8),
            self.view: gr.Radio(choices=views(result), value=SWIPE),
            self.pair: gr.Radio(choices=pairs(result), value=next(iter(PAIRS)), visible=True),
            self.numbers: measures(result),
            self.table: gr.Dataframe(
                value=[list(row) for row in table.rows] if table else [],
                headers=list(table.columns) if table else ["region"],
                visible=table is not None,
            ),
            **self._ready(result, False),
        }

    def draw(self, held: Session | None) -> dict:
        if held is None:
            return {}
        layers = task.layers(held.result)
        first = {name: layer for name, layer in layers.items() if name in ("Fixed", "Regions")}
        return {
            self.viewer: build_scene(layers, held.folder, mm=held.mm),
            self.both[0]: build_scene(first, held.folder, mm=held.mm),
            self.both[1]: build_scene(task.warped_layers(held.result), held.folder, mm=held.mm),
            self.arrows: Section(held.result, "axial", held.mm).arrows(1),
        }

    def _ready(self, result: Result, wide: bool) -> dict:
        """The pair as it was made ready, each alone and both together."""
        saw = [result.volumes[role] for role in PREPARED if role in result.volumes]
        if len(saw) < 2:
            return {self.prepared: gr.Accordion(visible=False), **dict.fromkeys(self.inputs.values())}
        extent = planes.find_field_of_view([Layer(saw[0])])
        shown = [_three(volume, extent) for volume in saw]
        both = draw_colour_overlay(shown[1], shown[0])
        return {
            self.prepared: gr.Accordion(visible=True, open=wide),
            **dict(zip(self.inputs.values(), [both, *shown], strict=True)),
        }

    def _drawn(self, held: Session, view: str, plane: str, pair: str, way: str, step: float) -> dict:
        """The plane through the session's point in the chosen view; the other views are put away."""
        cut = _named(plane)
        section = Section(held.result, cut, held.mm)
        low, high = section.span
        at = int(np.clip(round(held.mm[PLANE_NORMALS[cut]]), low, high))
        about = GRID_HELP[GRIDS[way]] + "." if view == GRID else ABOUT[view]
        one = view not in (SWIPE, FLICKER)
        return {
            self.slice: gr.Slider(minimum=low, maximum=high, value=at, label=_along(cut)),
            self.pair: gr.Radio(visible=view in PAIRED),
            self.way: gr.Radio(visible=view == GRID),
            self.step: gr.Slider(visible=view == GRID),
            self.about: f'<p class="med-small">{about}</p>',
            self.swipe: gr.ImageSlider(value=section.pair(pair), visible=True)
            if view == SWIPE
            else gr.ImageSlider(visible=False),
            self.picture: gr.Image(value=section.picture(view, pair, way, step), visible=True)
            if one
            else gr.Image(visible=False),
            self.flicker: gr.HTML(value=flicker(*section.pair(pair)), visible=True)
            if view == FLICKER
            else gr.HTML(visible=False),
            self.reading: gr.HTML(value=reading(section.read(held.mm)), visible=one),
        }

    # ---- wired
    def wire(self, tab: Tab) -> None:
        nothing = {part: gr.skip() for part in self.shown}

        @told
        def ready(data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
            def work(step: Step, _form: forms.Form, used: RunInputs, volumes: Given) -> dict:
                result = runtime.run(READIER, *volumes, progress=step)
                found = {"fixed_labels": "labels", "moving_labels": "moving_labels"}
                labels = {
                    name: result.volumes[role]
                    for name, role in found.items()
                    if result.volumes[role].name == region_overlap.PREDICTED_SOURCE
                }
                held: Session | None = data[tab.kept]
                another = held is None or held.image is None or digest_volume(held.image) != _key(volumes)[0]
                seen = Looked(_key(volumes), labels)
                return {
                    **self._ready(result, True),
                    self.looked: visitors.keep(request.session_hash, seen, f"{self.name}-looked"),
                    tab.status: html.render_headline(
                        html.summarize_result(task_pair, result),
                        [
                            f"Look at the pair below; if the brains lie upon each other, press {task.RUN}.",
                            *used.notes,
                            *result.notes,
                        ],
                        result.warnings,
                    ),
                    **({tab.results: gr.Column(visible=False)} if another else {}),
                }

            return tab.attempt(LOOK, work, data, request, progress)

        lists = [box for form in tab.by_name.values() for box in form.series.values()]
        outputs = [self.prepared, *self.inputs.values(), self.looked, *lists, tab.status, tab.results]
        tab.follow(self.look, ready, tab.everything, outputs, drawn=False)

        def look(held: Session | None, *chosen: Any) -> dict:
            return nothing if held is None else self._drawn(held, *chosen)

        def slide(held: Session | None, number: float, *chosen: Any) -> dict:
            if held is None:
                return {part: gr.skip() for part in self.shown[1:]}
            held.mm = np.array(held.mm, float)
            held.mm[PLANE_NORMALS[_named(chosen[1])]] = number
            return {part: value for part, value in self._drawn(held, *chosen).items() if part is not self.slice}

        def aim(
            held: Session | None, view: str, plane: str, pair: str, way: str, step: float, event: gr.SelectData
        ) -> dict:
            mm = None if held is None else Section(held.result, _named(plane), held.mm).under(*event.index)
            if held is None or mm is None:
                return {**nothing, self.viewer: gr.skip()}
            held.mm = mm
            return {**self._drawn(held, view, plane, pair, way, step), self.viewer: move_crosshair(mm)}

        def go(
            held: Session | None, view: str, plane: str, pair: str, way: str, step: float, event: gr.SelectData
        ) -> dict:
            viewers = [self.viewer, *self.both]
            if held is None or task.TABLE not in held.result.tables:
                return {**nothing, **{viewer: gr.skip() for viewer in viewers}}
            held.mm = payload.row_position(task.place, held.result, event.row_value)
            drawn = self._drawn(held, view, plane, pair, way, step)
            return {**drawn, **{viewer: move_crosshair(held.mm) for viewer in viewers}}

        @told
        def follow(
            held: Session | None, view: str, plane: str, pair: str, way: str, step: float, event: gr.EventData
        ) -> dict:
            if held is None:
                return nothing
            held.mm = parse_position(event.mm)
            return self._drawn(held, view, plane, pair, way, step)

        def there(held: Session | None) -> Any:
            return gr.skip() if held is None else move_crosshair(held.mm)

        def arrows(held: Session | None, plane: str, longer: float) -> Any:
            return gr.skip() if held is None else Section(held.result, _named(plane), held.mm).arrows(longer)

        quiet: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", **PRIVATE}
        chosen = [self.view, self.plane, self.pair, self.way, self.step]
        pointed = [tab.kept, self.plane, self.longer]
        for knob in chosen:
            knob.input(look, [tab.kept, *chosen], self.shown, **quiet)
        self.slice.input(slide, [tab.kept, self.slice, *chosen], self.shown[1:], **quiet)
        self.picture.select(aim, [tab.kept, *chosen], [*self.shown, self.viewer], **quiet)
        self.table.select(go, [tab.kept, *chosen], [*self.shown, self.viewer, *self.both], **quiet)
        for viewer in (self.viewer, *self.both):
            viewer.select(follow, [tab.kept, *chosen], self.shown, **quiet)
        self.linked.select(there, tab.kept, self.viewer, **quiet)
        self.synced.select(there, tab.kept, self.both[0], **quiet)
        self.longer.input(arrows, pointed, self.arrows, **quiet)
        for moved in (self.plane.input, self.slice.release):
            moved(arrows, pointed, self.arrows, **quiet)


def _key(volumes: Given) -> tuple[str, ...]:
    """Tells one set of uploads from another."""
    return tuple("" if volume is None else digest_volume(volume) for volume in volumes)


def _named(plane: str) -> Plane:
    """The plane of a choice."""
    return next(p for p in PLANES if p.capitalize() == plane)


def _along(plane: Plane) -> str:
    """The title of the slider that moves a plane."""
    start, end = AXIS_ENDS[PLANE_NORMALS[plane]]
    return f"Position, {start} to {end} (mm)"


def _three(volume: Volume, extent: np.ndarray) -> np.ndarray:
    """The three planes through the middle of a prepared image, 0 to 1; `extent` as `planes.field` gives it."""
    mm = volume.grid.to_mm((np.array(volume.shape) - 1) / 2)
    return planes.draw_three_planes(
        [Layer(volume, window=colour.Window(0.0, 1.0))], mm, height=300, extent=extent, crosshair=False
    )
