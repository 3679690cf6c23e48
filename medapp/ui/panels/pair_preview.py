"""Pair preview: two images as a registration will see them, before it is run, and the label maps found on the way."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from medapp.analysis import region_overlap
from medapp.imaging.volume import Volume, digest_volume
from medapp.presenters import get_presenter
from medapp.rendering import colour, planes
from medapp.rendering.image_comparison import draw_colour_overlay
from medapp.rendering.layers import Layer
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui import form as forms
from medapp.ui import html
from medapp.ui.array_store import ArrayStore
from medapp.ui.error_messages import report_errors
from medapp.ui.events import AT_ONCE
from medapp.ui.example_inputs import RunInputs
from medapp.ui.panels.base import Frame, lay_out_image
from medapp.ui.session import Session, close_session
from medapp.ui.tab import Step, Tab, Volumes
from medapp.ui.visitors import visitors
from medapp.ui.workspace import LIFETIME, new_folder

PREVIEW = "Preview preprocessing"
IMAGES = {
    "both": "Fixed in blue, moving in orange: grey where they agree",
    "fixed_prepared": "Fixed",
    "moving_prepared": "Moving, after the affine transform",
}
LABEL_ROLES = {"fixed_labels": "labels", "moving_labels": "moving_labels"}  # input's name to the preview's role


@dataclass(eq=False)
class PreviewedPair:
    """A pair that was previewed: digests of its images, and the label maps that were found in them, by input.

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


@dataclass(frozen=True)
class PairPreview:
    """The button, and the images of the pair; `kept` holds the `PreviewedPair`."""

    name: str
    button: gr.Button
    accordion: gr.Accordion
    images: dict[str, gr.Image]
    kept: gr.State

    @property
    def shown(self) -> list[Any]:
        """What `show` fills."""
        return [self.accordion, *self.images.values()]

    def prepare(self, form: forms.Form, data: dict, volumes: Volumes) -> Volumes:
        """The images with the label maps that the preview of the same pair has found."""
        previewed: PreviewedPair | None = data[self.kept]
        if previewed is None or previewed.key != digest_pair(volumes):
            return volumes
        names = [source.name for source in form.card.inputs]
        return [volume or previewed.labels.get(name) for name, volume in zip(names, volumes, strict=True)]

    def clear(self) -> dict:
        """Without a pair."""
        return {self.accordion: gr.Accordion(visible=False), self.kept: None}

    def show(self, result: Result, is_open: bool) -> dict:
        """The prepared images of a result, both together and each alone; nothing where it has none."""
        prepared = [result.volumes[role] for role in IMAGES if role in result.volumes]
        if len(prepared) < 2:
            return {self.accordion: gr.Accordion(visible=False), **dict.fromkeys(self.images.values())}
        extent = planes.find_field_of_view([Layer(prepared[0])])
        pictures = [_draw_planes(volume, extent) for volume in prepared]
        both = draw_colour_overlay(pictures[1], pictures[0])
        return {
            self.accordion: gr.Accordion(visible=True, open=is_open),
            **dict(zip(self.images.values(), [both, *pictures], strict=True)),
        }

    def connect(self, tab: Tab) -> None:
        """Preview at a click; only methods whose card names a preview have the button."""

        @report_errors
        def preview(data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
            def work(step: Step, form: forms.Form, used: RunInputs, volumes: Volumes) -> dict:
                card = runtime.find_card(form.card.preview)
                result = runtime.run(card.name, *volumes, progress=step)
                labels = {
                    name: result.volumes[role]
                    for name, role in LABEL_ROLES.items()
                    if role in result.volumes and result.volumes[role].name == region_overlap.PREDICTED_SOURCE
                }
                session: Session | None = data[tab.kept]
                pair = PreviewedPair(digest_pair(volumes), labels)
                is_new = session is None or session.image is None or digest_volume(session.image) != pair.key[0]
                advice = f"Look at the pair below; if the brains lie upon each other, press {tab.task.run}."
                summary = html.summarize_result(result, get_presenter(card).headline(result))
                return {
                    **self.show(result, is_open=True),
                    self.kept: visitors.keep(request.session_hash, pair, f"{self.name}-looked"),
                    tab.status: html.render_headline(summary, [advice, *used.notes, *result.notes], result.warnings),
                    **({tab.results: gr.Column(visible="hidden")} if is_new else {}),
                }

            return tab.attempt(PREVIEW, work, data, request, progress)

        series = [box for form in tab.by_name.values() for box in form.series.values()]
        outputs = [*self.shown, self.kept, *series, tab.status, tab.results]
        tab.follow(self.button, preview, tab.everything, outputs, draws=False)
        previews = {card.name: bool(card.preview) for card in tab.cards}
        tab.method.change(lambda name: gr.Button(visible=previews[name]), tab.method, self.button, **AT_ONCE)


def lay_out_preview(frame: Frame) -> PairPreview:
    """The button beside Run, and the images above the result."""
    name = frame.name
    with frame.buttons:
        button = gr.Button(PREVIEW, visible=bool(frame.cards[0].preview), elem_id=f"{name}-look")
    with frame.above:
        with gr.Accordion("Preprocessed inputs", open=False, visible=False, elem_id=f"{name}-prepared") as accordion:
            gr.HTML(html.render_help("Without skull, aligned, voxels of 1 mm, values from 0 to 1."))
            images = {role: lay_out_image(label) for role, label in IMAGES.items()}
        kept = gr.State(None, time_to_live=LIFETIME, delete_callback=close_session)
    return PairPreview(name, button, accordion, images, kept)


def digest_pair(volumes: Volumes) -> tuple[str, ...]:
    """Tells one set of uploads from another."""
    return tuple("" if volume is None else digest_volume(volume) for volume in volumes)


def _draw_planes(volume: Volume, extent: np.ndarray) -> np.ndarray:
    """Draw three planes through the middle of a prepared image, 0 to 1; `extent` is that of `find_field_of_view`."""
    mm = volume.grid.to_mm((np.array(volume.shape) - 1) / 2)
    return planes.draw_three_planes(
        [Layer(volume, window=colour.Window(0.0, 1.0))], mm, height=300, extent=extent, crosshair=False
    )
