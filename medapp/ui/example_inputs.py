"""Example inputs: the files and options of an example in the form, which never enter a visitor's own run.

An example's files are served from the examples' folder and uploads lie in a folder of their own, so that the path tells
whose a file is. A run takes files of one owner only, whatever the page sends. That the boxes are emptied as soon as a
visitor uploads a file, and the list above Run, only make this visible.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import gradio as gr

from medapp import examples
from medapp.card import Card
from medapp.errors import OptionError
from medapp.examples import Example
from medapp.options import Landmarks, Option, Points, Text
from medapp.serving.input_fit import Fit
from medapp.ui import html
from medapp.ui.events import LIVE
from medapp.ui.form import Form
from medapp.ui.html import InputRow
from medapp.ui.own_files import shorten_name, uploaded_paths
from medapp.ui.scan_offer import ScanOffer
from medapp.ui.tab import Tab
from medapp.ui.upload_check import REFERENCE, UploadCheck

Box = TypeVar("Box")
Paths = list[str] | None
QUIET_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def find_example(paths: Paths) -> Example | None:
    """Return the example that a box's files are from; None for an empty box, or with an upload in it."""
    return examples.of_file(paths[0]) if paths and not uploaded_paths(paths) else None


def keep_one_owner(boxes: Mapping[Box, Paths], lead: Example | None) -> dict[Box, Paths]:
    """Keep the files of one owner: the visitor's uploads if there are any, else the files of the example `lead`."""
    uploads = {box: uploaded_paths(paths) for box, paths in boxes.items()}
    if any(uploads.values()):
        return {box: paths or None for box, paths in uploads.items()}
    return {box: paths if paths and find_example(paths) is lead else None for box, paths in boxes.items()}


def options_set_by(example: Example | None, options: Iterable[Option], values: Mapping[str, Any]) -> list[Option]:
    """Return the options that still have the value of an example, which is not their default."""
    if example is None:
        return []
    return [
        option
        for option in options
        if option.name in example.settings
        and _is_same_value(option, values[option.name], example.settings[option.name])
        and not _is_same_value(option, values[option.name], option.default)
    ]


def _is_same_value(option: Option, first: object, second: object) -> bool:
    try:
        return option.parse(first) == option.parse(second)
    except OptionError:
        return False


@dataclass(frozen=True)
class RunInputs:
    """What a run takes: the values of the components without leftovers, and a note for what was left out."""

    data: dict
    notes: tuple[str, ...] = ()


class ExampleInputs:
    """The list above Run of a tab, and the events that remove an example's files from its form."""

    def __init__(self, name: str, chosen: Card, reference: str) -> None:
        """Lay out the list for the chosen method; `reference` is what the tab calls the image to compare with."""
        self.title = reference
        self.offer = ScanOffer(name)
        self.summary = gr.HTML(_render_inputs(chosen, {}, None, reference, {}, None), elem_id=f"{name}-used")
        self.example_name = gr.Textbox(visible=False)  # of the example in the form; sent with the form's values
        self.known_uploads = gr.State([])  # the uploads in the boxes after the last upload

    def wire(self, tab: Tab) -> None:
        """Connect the tab's boxes, once all are laid out."""
        self.tab, self.check = tab, UploadCheck(tab)
        self.boxes = [*(box for form in tab.by_name.values() for box in form.boxes.values()), tab.reference]
        controls = [control for form in tab.by_name.values() for control in (form.options | form.live).values()]
        series = [choice for form in tab.by_name.values() for choice in form.series.values()]
        self.inputs = {*self.boxes, *series, *controls, tab.method, self.example_name, self.known_uploads}
        self.outputs = [*self.boxes, *controls, self.example_name, *tab.clear_panel()]
        changes = [event for box in self.boxes for event in (box.upload, box.clear, box.delete)]
        changed = gr.on(
            [*changes, tab.method.change],
            self.remove_example_files,
            self.inputs,
            self.outputs,
            trigger_mode="multiple",
            **QUIET_EVENT,
        )
        self._tell(changed)
        self.follow(
            self.offer.button.click(self.use_scan, self.inputs, [*self.boxes, self.offer.button], **QUIET_EVENT)
        )
        for choice in series:
            choice.input(self.look, self.inputs, self.summary, **LIVE)
        for form in tab.by_name.values():
            for option in form.card.options:
                if isinstance(option, Text | Landmarks | Points) and option.name in form.options:
                    form.options[option.name].blur(self.render, self.inputs, self.summary, **QUIET_EVENT)

    def follow(self, filled: Any) -> None:
        """After an event that has filled boxes take away what an example has left, and tell what goes in."""
        self._tell(filled.then(self.remove_example_files, self.inputs, self.outputs, **QUIET_EVENT))

    def _tell(self, changed: Any) -> None:
        shown = changed.then(self.render, self.inputs, self.summary, **QUIET_EVENT)
        shown.then(self.look, self.inputs, self.summary, **LIVE)
        changed.then(self.offer_scan, self.inputs, self.offer.button, **QUIET_EVENT)

    def has_newer_uploads(self, data: dict) -> bool:
        """Whether something was uploaded after an example was clicked, when the form held `data`.

        If so, the upload stays; otherwise the uploads are forgotten, since the example replaces everything.
        """
        known_uploads = data[self.known_uploads]
        if set(known_uploads) - {path for box in self.boxes for path in data[box] or ()}:
            return True
        known_uploads.clear()
        return False

    def current_example(self, data: dict) -> Example | None:
        """Return the example in the form, or None."""
        return next((e for e in self.tab.examples if e.name == data[self.example_name]), None)

    def remove_example_files(self, data: dict) -> dict:
        """Remove an example's files and options if there is an upload, or not all of its required images any more.

        The same if another method than the example's is chosen.
        """
        example = self.current_example(data)
        if example is not None:
            form = self.tab.by_name[example.pipeline]
            needed = [form.boxes[source.name] for source in form.card.inputs if not source.optional]
            if data[self.tab.method] != example.pipeline or not all(data[box] for box in needed):
                example = None
        before = {box: data[box] or None for box in self.boxes}
        kept = keep_one_owner(before, example)
        changed: dict = {self.example_name: gr.skip()}
        changed |= {box: paths for box, paths in kept.items() if paths != before[box]}
        data[self.known_uploads][:] = [path for paths in kept.values() for path in uploaded_paths(paths)]
        if (example is None or any(map(uploaded_paths, kept.values()))) and (former := self.current_example(data)):
            changed |= {
                self.example_name: "",
                **self.tab.clear_panel(),
                **self.default_options(self.tab.by_name[former.pipeline], data),
            }
        return changed

    def default_options(self, form: Form, data: dict) -> dict:
        """Return the defaults of the options that the example has set, by component."""
        example, controls = self.current_example(data), form.options | form.live
        if example is None or example.pipeline != form.card.name:
            return {}
        values = {name: data[control] for name, control in controls.items()}
        return {controls[o.name]: o.default for o in options_set_by(example, form.card.options, values)}

    def offer_scan(self, data: dict) -> gr.Button:
        """Return the button that offers the visitor's scan of another method."""
        return self.offer.render(self.tab, data)

    def use_scan(self, data: dict) -> dict:
        """Return the visitor's scan of another method in the box of the chosen one."""
        return self.offer.use(self.tab, data)

    def render(self, data: dict, request: gr.Request | None = None) -> str:
        """Return the list above Run for the chosen method, with what is known of the visitor's files by now."""
        visitor = (request and request.session_hash) or ""
        return self._render(data, self.check.list_fits(data, visitor) if visitor else {})

    def look(self, data: dict, request: gr.Request) -> str:
        """Return the list above Run, once the visitor's files have been looked at."""
        fits = self.check.look(data, request.session_hash or "")
        return self._render(data, fits) if fits else gr.skip()

    def _render(self, data: dict, fits: Mapping[str, Fit | None]) -> str:
        form = self.tab.by_name[data[self.tab.method]]
        boxes = {name: data[box] for name, box in form.boxes.items()}
        texts = {name: data[control] for name, control in form.options.items()}
        reference = data[self.tab.reference]
        return _render_inputs(form.card, boxes, reference, self.title, texts, self.current_example(data), fits)

    def fill_in(self, example: Example) -> dict:
        """Return the list above Run and the example's name, for an example that is put into the form."""
        card = self.tab.by_name[example.pipeline].card
        boxes = {name: [str(path)] for name, path in example.images.items()}
        reference = [str(example.reference)] if example.reference else None
        return {
            self.offer.button: gr.Button(visible=False),
            self.summary: _render_inputs(card, boxes, reference, self.title, example.settings, example),
            self.example_name: example.name,
        }

    def select_run_inputs(self, form: Form, data: dict) -> RunInputs:
        """Return what goes into a run: files of one owner, and no option that an example has set for its own files."""
        sources = sorted(form.card.inputs, key=lambda source: source.optional)
        boxes = {form.boxes[source.name]: source.title for source in sources} | {self.tab.reference: self.title}
        before = {box: data[box] or None for box in boxes}
        kept = keep_one_owner(before, next(filter(None, map(find_example, before.values())), None))
        changed: dict = {box: paths for box, paths in kept.items() if paths != before[box]}
        notes = []
        if changed:
            notes.append(f"Left out, as part of an example: {', '.join(boxes[box] for box in changed)}.")
        if any(map(uploaded_paths, kept.values())) and (options := self.default_options(form, data)):
            titles = {control: o.title for o in form.card.options for control in [(form.options | form.live)[o.name]]}
            notes.append(f"Reset to the default, as set by an example: {', '.join(titles[k] for k in options)}.")
            changed |= options
        return RunInputs(data | changed, tuple(notes))


def _render_inputs(
    card: Card,
    boxes: Mapping[str, Paths],
    reference: Paths,
    title: str,
    texts: Mapping[str, Any],
    example: Example | None,
    fits: Mapping[str, Fit | None] = MappingProxyType({}),
) -> str:
    """Return the list: the owner of every image, of the reference, and of every text that is not the default.

    Below each image and the reference stands how it fits, by `fits`; None stands for one that is being looked at.
    """
    sources = sorted(card.inputs, key=lambda source: source.optional)
    named = [*((s.name, s.title, boxes.get(s.name)) for s in sources), (REFERENCE, title, reference)]
    rows = [
        InputRow(shown, *_describe_owner(paths), *(_describe_fit(fits[name]) if name in fits else ()))
        for name, shown, paths in named
    ]
    text_options = [o for o in card.options if isinstance(o, Text | Landmarks | Points) and not o.live]
    values = {o.name: texts.get(o.name, o.default) for o in text_options}
    set_by_example = options_set_by(example, text_options, values)
    changed = [o for o in text_options if not _is_same_value(o, values[o.name], o.default)]
    rows += [InputRow(o.title, "example" if o in set_by_example else "yours") for o in changed]
    return html.render_inputs(rows)


def _describe_fit(fit: Fit | None) -> tuple[str, str]:
    """The level of a fit, and its sentence."""
    return (fit.level.value, fit.sentence) if fit else ("looking", "Looking at it…")


def _describe_owner(paths: Paths) -> tuple[str, str]:
    """Whose the files of a box are, and their name or number if they are the visitor's."""
    if not paths:
        return "none", ""
    uploads = uploaded_paths(paths)
    if not uploads:
        return "example", ""
    return "yours", shorten_name(Path(uploads[0]).name) if len(uploads) == 1 else f"{len(uploads)} files"
