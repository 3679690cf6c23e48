"""Form: the upload boxes and options of a method, as components made from its card."""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from medapp.card import Card, Input
from medapp.errors import InputError, UserError
from medapp.examples import Example, thumbnail_file
from medapp.imaging.volume import Volume
from medapp.io import files, sandbox
from medapp.options import Choice, Landmarks, Option, Points, Slider, Text, Toggle
from medapp.rendering import planes
from medapp.rendering.layers import Layer
from medapp.serving import runtime
from medapp.ui import html
from medapp.ui.events import LIVE
from medapp.ui.kept_upload import KeptUpload, find_upload
from medapp.ui.own_files import uploaded_paths

FORMATS_HELP = (
    "NIfTI, DICOM (one file, many, or a zip), NRRD, MHA, MGZ, PNG, JPEG or TIFF. Upload a header (.nhdr, .mhd, .hdr) "
    "together with its data files."
)


class SeriesChoiceNeeded(Exception):
    """An upload holds several DICOM series, and the visitor has to choose one in the list `box`."""

    def __init__(self, box: gr.Dropdown, several: files.SeveralSeriesError) -> None:
        """`several` holds the series to choose from."""
        super().__init__(str(several))
        self.box, self.several = box, several


@dataclass(frozen=True)
class Form:
    """Upload boxes and series lists by input name, options by option name; `live` ones stand beside the result."""

    card: Card
    boxes: dict[str, gr.File]
    series: dict[str, gr.Dropdown]
    options: dict[str, Any]
    live: dict[str, Any]

    def components(self) -> set:
        """Return all components of the form."""
        return {*self.boxes.values(), *self.series.values(), *self.options.values(), *self.live.values()}

    @property
    def colour(self) -> bool:
        """Whether any of the images may be in colour."""
        return any(source.colour for source in self.card.inputs if not source.optional)

    def read_input(self, source: Input, data: dict, visitor: str) -> Volume | None:
        """Read the files of one input, None for an empty box; a visitor's own are read once and kept.

        Raises InputError for an unreadable image.
        """
        paths = data[self.boxes[source.name]]
        if visitor and uploaded_paths(paths):
            return self.find_upload(source, data, visitor).read()
        return sandbox.read(paths, data[self.series[source.name]] or None, **_reading(source)) if paths else None

    def find_upload(self, source: Input, data: dict, visitor: str) -> KeptUpload:
        """Return what is kept of the visitor's files of an input."""
        paths, series = data[self.boxes[source.name]], data[self.series[source.name]]
        return find_upload(visitor, self.place(source), paths, series, **_reading(source))

    def place(self, source: Input) -> str:
        """The place at which the visitor's files of an input are kept."""
        return f"{self.card.name}/{source.name}"

    def read_volumes(self, data: dict, visitor: str = "") -> list[Volume | None]:
        """Read the uploads in the card's order, None for empty boxes.

        Raises InputError for a missing or unreadable image, SeriesChoiceNeeded for an upload with several series.
        """
        volumes: list[Volume | None] = []
        for source in self.card.inputs:
            if not data[self.boxes[source.name]] and not source.optional:
                title = source.title if source.title.endswith("image") else f"{source.title} image"
                raise InputError(f"No {title} yet: upload it first, or click an example.")
            try:
                volumes.append(self.read_input(source, data, visitor))
            except files.SeveralSeriesError as several:
                raise SeriesChoiceNeeded(self.series[source.name], several) from several
        return volumes


def create_component(option: Option) -> gr.Slider | gr.Dropdown | gr.Textbox | gr.Checkbox:
    """Create the component of one option inside the current `gr.Blocks`."""
    if isinstance(option, Slider):
        return gr.Slider(
            option.low, option.high, option.default, step=option.step, label=option.title, info=option.about
        )
    if isinstance(option, Points):
        return gr.Textbox(option.default, label=option.title, info=option.about, placeholder="i,j,k; i,j,k")
    if isinstance(option, Toggle):
        return gr.Checkbox(option.default, label=option.title, info=option.about)
    if isinstance(option, Text) and option.known:
        gr.HTML(html.render_region_prompts(option.known))
    if isinstance(option, Text | Landmarks):
        return gr.Textbox(option.default, label=option.title, info=option.about, lines=option.lines, max_lines=8)
    return gr.Dropdown(list(option.values), value=option.default, label=option.title, info=option.about)


def lay_out_live_options(card: Card) -> dict[str, Any]:
    """Lay out the options beside the result, by name: a row of controls, a row of checkboxes, the option groups."""
    live = [o for o in card.options if o.live]
    grouped = {name for names in card.option_groups.values() for name in names}
    toggles = [o for o in live if isinstance(o, Toggle) and o.name not in grouped]
    first = [o for o in live if o not in toggles and o.name not in grouped]
    controls: dict[str, Any] = {}
    for some in (first, toggles):
        if some:
            with gr.Row():
                controls |= {o.name: create_component(o) for o in some}
    for title, names in card.option_groups.items():
        some = [o for o in live if o.name in names]
        if some:
            with gr.Accordion(title, open=False), gr.Row():
                controls |= {o.name: create_component(o) for o in some}
    return controls


def lay_out_inputs(card: Card) -> tuple[dict[str, gr.File], dict[str, gr.Dropdown], dict[str, Any]]:
    """Lay out what a run needs: upload boxes, required ones first, lists of their series, and options, all by name."""
    boxes: dict[str, gr.File] = {}
    series: dict[str, gr.Dropdown] = {}

    def lay_out_box(source: Input) -> None:
        boxes[source.name] = create_upload_box(source.title, f"{card.name}-{source.name}")
        series[source.name] = gr.Dropdown([], label=f"Series for {source.title}", visible=False)

    for source in card.inputs:
        if not source.optional:
            lay_out_box(source)
            if source.about:
                gr.HTML(html.render_help(source.about))
    gr.HTML(html.render_help(FORMATS_HELP))
    grouped = {name for names in card.option_groups.values() for name in names}
    replaced = {option.upload for option in card.options if isinstance(option, Choice)}
    more = [source for source in card.inputs if source.optional and source.name not in replaced | grouped]
    if more:
        with gr.Accordion(f"More sequences: {', '.join(source.title for source in more)}", open=False):
            for source in more:
                lay_out_box(source)
    run_options = [o for o in card.options if not o.live]
    options = {o.name: create_component(o) for o in run_options if o.name not in grouped}
    for option in run_options:
        if isinstance(option, Text) and option.explain and option.name in options:
            lay_out_explanation(card, option, options[option.name])
    for title, names in card.option_groups.items():
        sources = [source for source in card.inputs if source.name in names]
        more_options = [option for option in run_options if option.name in names]
        if not (sources or more_options):
            continue
        with gr.Accordion(title, open=False):
            for source in sources:
                if source.about:
                    gr.HTML(html.render_help(source.about))
                lay_out_box(source)
            options |= {o.name: create_component(o) for o in more_options}
    for source in (source for source in card.inputs if source.name in replaced):
        with gr.Accordion(f"{source.title}, from a file", open=False):
            gr.HTML(html.render_help(source.about))
            lay_out_box(source)
    for name, box in boxes.items():
        box.change(_hide_series, None, series[name], queue=False, api_visibility="private")
    return boxes, series, options


def lay_out_explanation(card: Card, option: Text, box: gr.Textbox) -> None:
    """Lay out what is understood of a text, which follows what is typed into its box."""
    shown = gr.HTML(elem_id=f"{card.name}-{option.name}-understood")

    def explain(text: str) -> str:
        if option.explain is None or not text.strip():
            return ""
        try:
            table, problems = option.explain(text, partial(runtime.load_network, card, "cpu", {}))
        except UserError as error:
            return html.render_understanding(None, [str(error)])
        return html.render_understanding(table, problems)

    box.change(explain, box, shown, **LIVE)


def create_upload_box(title: str, elem_id: str) -> gr.File:
    """Create a box for the files of one image; any file name is accepted, since DICOM files often have no suffix."""
    return gr.File(label=title, file_count="multiple", height=96, elem_id=elem_id)


def _reading(source: Input) -> dict[str, Any]:
    """How the files of an input are read."""
    return {"name": source.title, "colour": source.colour, "labels": source.labels}


def _hide_series() -> gr.Dropdown:
    return gr.Dropdown(choices=[], value=None, visible=False)


@cache
def find_thumbnail(example: Example) -> Path | np.ndarray:
    """Return the picture of an example that ships with the app, or one of its image alone, uint8 (H, W, 3)."""
    file = thumbnail_file(example)
    return file if file.is_file() else render_thumbnail(example)


def render_thumbnail(example: Example) -> np.ndarray:
    """Return uint8 (H, W, 3) of an example: the axial plane through its reference mask, or through the middle."""
    image = files.read([next(iter(example.images.values()))], colour=True)
    truth = example.truth()
    if truth is not None and truth.array.max() == 1:
        mm = planes.find_best_position(truth)
    else:
        mm = image.grid.to_mm((np.array(image.shape) - 1) / 2)
    return planes.draw_plane([Layer(image)], "axial", mm)
