"""Slice attention: which slices a slice attends to, beside the crosshair of a segmentation."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from medapp.analysis.ms_lesions import PLANE_AXES
from medapp.presenters.ms_lesions import get_attention
from medapp.rendering import attention_maps
from medapp.ui import html
from medapp.ui.error_messages import report_errors
from medapp.ui.events import LIVE
from medapp.ui.session import Session, parse_position
from medapp.ui.viewer.component import Viewer

ATTENTION_HELP = (
    "Which slices a slice attends to before the network decides. It follows the crosshair; the frame marks the slice, "
    "the tint its attention to each."
)


@dataclass(frozen=True)
class SliceAttention:
    """The components of the tab."""

    tab: gr.Tab
    plane: gr.Radio
    row: gr.Slider
    strip: gr.Image
    profile: gr.Plot
    maps: gr.Plot

    @property
    def followers(self) -> list[Any]:
        """What follows the crosshair."""
        return [self.row, self.strip, self.profile, self.maps]

    @property
    def components(self) -> list[Any]:
        """What a new result fills."""
        return [self.tab, self.plane, *self.followers]

    def draw(self, session: Session) -> dict:
        """The attention of the first plane there is; a hidden tab where the method has none."""
        tables = get_attention(session.result)
        plane = next(iter(tables), "axial")
        return {self.tab: gr.Tab(visible=bool(tables)), self.plane: plane, **self.update(session, plane)}

    def update(self, session: Session | None, plane: str, row: int | None = None) -> dict:
        """What a slice of the plane attends to: the row of blocks of that number from 1, else that of the crosshair."""
        tables = get_attention(session.result) if session else {}
        if session is None or plane not in tables:
            return dict.fromkeys(self.followers, gr.skip())
        image, count = session.result.volumes["image"], len(tables[plane].rows)
        at = min(row, count) - 1 if row else attention_maps.find_row(tables[plane], image.grid, plane, session.mm)
        return {
            self.row: gr.skip() if row else gr.Slider(maximum=max(2, count), value=at + 1),
            self.strip: attention_maps.draw_attention(image, tables[plane], plane, at, session.mm),
            self.profile: attention_maps.plot_attention_row(tables[plane], plane, at),
            self.maps: attention_maps.plot_attention(tables, plane, at),
        }

    def connect(self, kept: gr.State, viewer: Viewer) -> None:
        """Follow the controls, and the crosshair of the viewer; `kept` holds the session."""

        @report_errors
        def follow(session: Session | None, plane: str, event: gr.EventData) -> dict:
            if session is not None and get_attention(session.result):
                session.mm = parse_position(event.mm)
            return self.update(session, plane)

        def turn(session: Session | None, plane: str, row: int | None = None) -> dict:
            return self.update(session, plane, row)

        self.plane.input(turn, [kept, self.plane], self.followers, **LIVE)
        self.row.input(turn, [kept, self.plane, self.row], self.followers, **LIVE)
        viewer.select(follow, [kept, self.plane], self.followers, **LIVE)


def lay_out_attention(name: str) -> SliceAttention:
    """A hidden tab inside the current tabs."""
    with gr.Tab("Attention", visible=False) as tab:
        gr.HTML(html.render_help(ATTENTION_HELP))
        with gr.Row():
            titles = [(plane.capitalize(), plane) for plane in PLANE_AXES]
            plane = gr.Radio(titles, value="axial", label="Slices", elem_id=f"{name}-attention-plane")
            row = gr.Slider(1, 2, 1, step=1, label="Slice (blocks of about 16 mm)")
        with gr.Row(equal_height=False):
            strip = gr.Image(
                format="png",
                show_label=False,
                label="The slices from the edge",
                buttons=[],
                interactive=False,
                elem_id=f"{name}-attention-strip",
            )
            profile = gr.Plot(show_label=False, format="png")
        maps = gr.Plot(show_label=False, format="png", elem_id=f"{name}-attention-maps")
    return SliceAttention(tab, plane, row, strip, profile, maps)
