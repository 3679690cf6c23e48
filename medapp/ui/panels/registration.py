"""The panel of the registration tab: one plane in many views, the linked planes, the regions, and what went in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from medapp.card import Card
from medapp.presenters.registration import list_warped_layers
from medapp.rendering.deformation_maps import GRID_HELP
from medapp.rendering.lesion_charts import AXIS_ENDS
from medapp.rendering.slice_grids import PLANE_NORMALS, PLANES, Plane
from medapp.result import Result
from medapp.ui import form as forms
from medapp.ui import html, payload
from medapp.ui.error_messages import report_errors
from medapp.ui.events import LIVE
from medapp.ui.panels.base import (
    Frame,
    fill_table,
    lay_out_image,
    lay_out_image_slider,
    lay_out_table,
    presenter_of,
)
from medapp.ui.panels.metric_table import render_readings, render_registration_metrics
from medapp.ui.panels.pair_preview import PairPreview, lay_out_preview
from medapp.ui.panels.registration_views import (
    FLICKER,
    GRID,
    GRIDS,
    PAIRED,
    PAIRS,
    SWIPE,
    VIEW_HELP,
    VIEWS,
    RegistrationSlice,
    list_pairs,
    list_views,
    render_flicker,
)
from medapp.ui.session import Session, parse_position
from medapp.ui.tab import Tab, Volumes
from medapp.ui.viewer.component import Viewer, move_crosshair
from medapp.ui.viewer.scene import build_scene

GRID_SPACING = 8  # mm
SIDES = ("fixed", "warped")


@dataclass(frozen=True)
class RegistrationPanel:
    """See `Panel`; `view`, `plane`, `pair`, `way` and `step` choose the picture of the plane at `slice`."""

    preview: PairPreview
    view: gr.Radio
    plane: gr.Radio
    slice: gr.Slider
    pair: gr.Radio
    way: gr.Radio
    step: gr.Slider
    about: gr.HTML
    swipe: gr.ImageSlider
    picture: gr.Image
    flicker: gr.HTML
    reading: gr.HTML
    numbers: gr.HTML
    table: gr.Dataframe
    planes_tab: gr.Tab
    viewer: Viewer
    beside_tab: gr.Tab
    beside: list[Viewer]
    scale: gr.Slider
    arrows: gr.Plot

    @property
    def inputs(self) -> list[Any]:
        """The previewed pair."""
        return [self.preview.kept]

    @property
    def choices(self) -> list[Any]:
        """What chooses the picture."""
        return [self.view, self.plane, self.pair, self.way, self.step]

    @property
    def section(self) -> list[Any]:
        """What shows the plane, the slider of its position first."""
        controls = [self.slice, self.pair, self.way, self.step, self.about]
        return [*controls, self.swipe, self.picture, self.flicker, self.reading]

    @property
    def shown(self) -> list[Any]:
        """What is looked at first."""
        return [self.view, self.plane, *self.section, self.numbers, self.table, *self.preview.shown]

    @property
    def drawn(self) -> list[Any]:
        """The viewers and the arrows."""
        return [self.viewer, *self.beside, self.arrows]

    @property
    def buttons(self) -> list[Any]:
        """That of the preview."""
        return [self.preview.button]

    def prepare(self, form: forms.Form, data: dict, volumes: Volumes) -> tuple[Volumes, Callable[[Result], Result]]:
        """With the label maps of the preview."""
        return self.preview.prepare(form, data, volumes), lambda result: result

    def clear(self) -> dict:
        """Without a previewed pair."""
        return self.preview.clear()

    def show(self, session: Session, card: Card, is_new: bool) -> dict:
        """The swipe in the axial plane, the metrics, the table, and what went in."""
        result = session.result
        pair, way = next(iter(PAIRS)), next(iter(GRIDS))
        return {
            self.plane: "Axial",
            **self._draw_section(session, SWIPE, "Axial", pair, way, GRID_SPACING),
            self.view: gr.Radio(choices=list_views(result), value=SWIPE),
            self.pair: gr.Radio(choices=list_pairs(result), value=pair, visible=True),
            self.numbers: render_registration_metrics(result),
            self.table: fill_table(result, presenter_of(result).table_name),
            **self.preview.show(result, is_open=False),
        }

    def draw(self, session: Session) -> dict:
        """The viewers, linked and side by side, and the arrows."""
        layers = presenter_of(session.result).layers(session.result)
        fixed = {name: layer for name, layer in layers.items() if name in ("Fixed", "Regions")}
        warped = list_warped_layers(session.result)
        return {
            self.viewer: build_scene(layers, session.folder, mm=session.mm),
            self.beside[0]: build_scene(fixed, session.folder, mm=session.mm),
            self.beside[1]: build_scene(warped, session.folder, mm=session.mm),
            self.arrows: RegistrationSlice(session.result, "axial", session.mm).plot_arrows(1),
        }

    def _draw_section(self, session: Session, view: str, plane: str, pair: str, way: str, step: float) -> dict:
        """The plane through the session's point in the chosen view; the other views are hidden."""
        cut = _find_plane(plane)
        section = RegistrationSlice(session.result, cut, session.mm)
        low, high = section.span
        position = int(np.clip(round(session.mm[PLANE_NORMALS[cut]]), low, high))
        about = GRID_HELP[GRIDS[way]] + "." if view == GRID else VIEW_HELP[view]
        is_picture = view not in (SWIPE, FLICKER)
        return {
            self.slice: gr.Slider(minimum=low, maximum=high, value=position, label=_label_position(cut)),
            self.pair: gr.Radio(visible=view in PAIRED),
            self.way: gr.Radio(visible=view == GRID),
            self.step: gr.Slider(visible=view == GRID),
            self.about: html.render_help(about),
            self.swipe: gr.ImageSlider(value=section.draw_pair(pair), visible=True)
            if view == SWIPE
            else gr.ImageSlider(visible=False),
            self.picture: gr.Image(value=section.draw_view(view, pair, way, step), visible=True)
            if is_picture
            else gr.Image(visible=False),
            self.flicker: gr.HTML(value=render_flicker(*section.draw_pair(pair)), visible=True)
            if view == FLICKER
            else gr.HTML(visible=False),
            self.reading: gr.HTML(value=render_readings(section.read_values(session.mm)), visible=is_picture),
        }

    def connect(self, tab: Tab) -> None:
        """Follow the choices, the position, clicks in pictures and table, and the crosshairs of the viewers."""
        self.preview.connect(tab)
        nothing = {part: gr.skip() for part in self.section}
        viewers = [self.viewer, *self.beside]

        def choose(session: Session | None, *choices: Any) -> dict:
            return nothing if session is None else self._draw_section(session, *choices)

        def move_plane(session: Session | None, position: float, *choices: Any) -> dict:
            if session is None:
                return {part: gr.skip() for part in self.section[1:]}
            session.mm = np.array(session.mm, float)
            session.mm[PLANE_NORMALS[_find_plane(choices[1])]] = position
            drawn = self._draw_section(session, *choices)
            return {part: value for part, value in drawn.items() if part is not self.slice}

        def go_to_pixel(
            session: Session | None, view: str, plane: str, pair: str, way: str, step: float, event: gr.SelectData
        ) -> dict:
            section = RegistrationSlice(session.result, _find_plane(plane), session.mm) if session else None
            mm = section.find_position(*event.index) if section else None
            if session is None or mm is None:
                return {**nothing, self.viewer: gr.skip()}
            session.mm = mm
            return {**self._draw_section(session, view, plane, pair, way, step), self.viewer: move_crosshair(mm)}

        def go_to_row(
            session: Session | None, view: str, plane: str, pair: str, way: str, step: float, event: gr.SelectData
        ) -> dict:
            if session is None or presenter_of(session.result).table(session.result) is None:
                return {**nothing, **{viewer: gr.skip() for viewer in viewers}}
            session.mm = payload.row_position(presenter_of(session.result).locate, session.result, event.row_value)
            drawn = self._draw_section(session, view, plane, pair, way, step)
            return {**drawn, **{viewer: move_crosshair(session.mm) for viewer in viewers}}

        @report_errors
        def follow_crosshair(
            session: Session | None, view: str, plane: str, pair: str, way: str, step: float, event: gr.EventData
        ) -> dict:
            if session is None:
                return nothing
            session.mm = parse_position(event.mm)
            return self._draw_section(session, view, plane, pair, way, step)

        def return_to_point(session: Session | None) -> Any:
            return gr.skip() if session is None else move_crosshair(session.mm)

        def draw_arrows(session: Session | None, plane: str, scale: float) -> Any:
            if session is None:
                return gr.skip()
            return RegistrationSlice(session.result, _find_plane(plane), session.mm).plot_arrows(scale)

        chosen, pointed = [tab.kept, *self.choices], [tab.kept, self.plane, self.scale]
        for control in self.choices:
            control.input(choose, chosen, self.section, **LIVE)
        self.slice.input(move_plane, [tab.kept, self.slice, *self.choices], self.section[1:], **LIVE)
        self.picture.select(go_to_pixel, chosen, [*self.section, self.viewer], **LIVE)
        self.table.select(go_to_row, chosen, [*self.section, *viewers], **LIVE)
        for viewer in viewers:
            viewer.select(follow_crosshair, chosen, self.section, **LIVE)
        self.planes_tab.select(return_to_point, tab.kept, self.viewer, **LIVE)
        self.beside_tab.select(return_to_point, tab.kept, self.beside[0], **LIVE)
        for moved in (self.scale.input, self.plane.input, self.slice.release):
            moved(draw_arrows, pointed, self.arrows, **LIVE)


def lay_out_registration(frame: Frame) -> RegistrationPanel:
    """The panel in its tab."""
    name = frame.name
    preview = lay_out_preview(frame)
    with frame.pictures:
        view = gr.Radio(list(VIEWS), value=SWIPE, label="View", elem_id=f"{name}-view")
        with gr.Row():
            titles = [plane.capitalize() for plane in PLANES]
            plane = gr.Radio(titles, value="Axial", label="Plane", elem_id=f"{name}-plane")
            slice_ = gr.Slider(-1, 1, 0, step=1, label=_label_position("axial"), elem_id=f"{name}-slice")
            pair = gr.Radio(list(PAIRS), value=next(iter(PAIRS)), label="Images", elem_id=f"{name}-pair")
            way = gr.Radio(
                list(GRIDS), value=next(iter(GRIDS)), label="Which grid", visible=False, elem_id=f"{name}-way"
            )
            step = gr.Slider(4, 20, GRID_SPACING, step=1, label="Grid spacing (mm)", visible=False)
        about = gr.HTML(elem_id=f"{name}-about")
        swipe = lay_out_image_slider("Two images", f"{name}-swipe")
        picture = lay_out_image("The plane", f"{name}-picture", height=640, visible=False, show_label=False)
        flicker_ = gr.HTML(visible=False, elem_id=f"{name}-flicker")
        reading_ = gr.HTML(visible=False, elem_id=f"{name}-reading")
    with frame.report:
        numbers = gr.HTML(elem_id=f"{name}-numbers")
        table = lay_out_table(name, "Regions: click a row to go there", 360)
    with frame.tabs:
        with gr.Tab("Three planes") as planes_tab:
            viewer = Viewer(elem_id=f"{name}-viewer", height=620)
        with gr.Tab("Side by side") as beside_tab:
            gr.HTML(html.render_help("The fixed and the warped moving image; both crosshairs move together."))
            beside = []
            with gr.Row():
                for side in SIDES:
                    with gr.Column(min_width=420):
                        beside.append(Viewer(elem_id=f"{name}-{side}", height=460, sync=f"{name}-both"))
        with gr.Tab("Arrows"):
            gr.HTML(html.render_help("From points of the fixed image to their places in the moving image."))
            scale = gr.Slider(1, 5, 1, step=0.5, label="Arrow scale", elem_id=f"{name}-longer")
            arrows = gr.Plot(show_label=False, format="png", elem_id=f"{name}-arrows")
    return RegistrationPanel(
        preview=preview,
        view=view,
        plane=plane,
        slice=slice_,
        pair=pair,
        way=way,
        step=step,
        about=about,
        swipe=swipe,
        picture=picture,
        flicker=flicker_,
        reading=reading_,
        numbers=numbers,
        table=table,
        planes_tab=planes_tab,
        viewer=viewer,
        beside_tab=beside_tab,
        beside=beside,
        scale=scale,
        arrows=arrows,
    )


def _find_plane(title: str) -> Plane:
    """The plane of a choice."""
    return next(plane for plane in PLANES if plane.capitalize() == title)


def _label_position(plane: Plane) -> str:
    """The title of the slider that moves a plane."""
    start, end = AXIS_ENDS[PLANE_NORMALS[plane]]
    return f"Position, {start} to {end} (mm)"
