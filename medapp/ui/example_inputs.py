"""Leftovers: what an example has put into the form, which never enters a visitor's own run.

The page is handed an example's files where they lie among the examples, while uploads lie in a folder of their own: the
path tells whose a file is, and an example's file that a visitor has downloaded and uploaded is the visitor's. A run
takes files of one owner alone, whatever the page has sent; that the boxes are emptied as soon as something of one's own
is put in, and the list above Run, only show this.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import gradio as gr

from medapp import examples
from medapp.card import Card
from medapp.errors import OptionError
from medapp.examples import Example
from medapp.options import Landmarks, Option, Points, Text
from medapp.ui import html

if TYPE_CHECKING:
    from medapp.ui.form import Form
    from medapp.ui.task_tab import TaskTab

Box = TypeVar("Box")
Paths = list[str] | None
MAX_NAME_LENGTH = 40  # letters of a file's name in the list
QUIET_EVENT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def uploaded_paths(paths: Paths) -> list[str]:
    """Of the files in a box those that the visitor has uploaded."""
    return [path for path in paths or () if examples.of_file(path) is None]


def find_example(paths: Paths) -> Example | None:
    """The example that the files of a box are from; None for an empty box, or with a file of the visitor's in it."""
    return examples.of_file(paths[0]) if paths and not uploaded_paths(paths) else None


def keep_one_owner(boxes: Mapping[Box, Paths], lead: Example | None) -> dict[Box, Paths]:
    """The boxes with files of one owner alone: the visitor's if there is any, else those of the example `lead`."""
    mine = {box: uploaded_paths(paths) for box, paths in boxes.items()}
    if any(mine.values()):
        return {box: paths or None for box, paths in mine.items()}
    return {box: paths if paths and find_example(paths) is lead else None for box, paths in boxes.items()}


def options_set_by(picked: Example | None, options: Iterable[Option], values: Mapping[str, Any]) -> list[Option]:
    """The options that still stand where the example has set them, and not at their default."""
    if picked is None:
        return []
    return [
        option
        for option in options
        if option.name in picked.settings
        and _is_same_value(option, values[option.name], picked.settings[option.name])
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
    """The list of what goes in, and what empties the boxes of one tab."""

    def __init__(self, name: str, cards: Iterable[Card], reference: str) -> None:
        """Lay out the list; `reference` is what the tab calls the image to compare with."""
        self.title = reference
        first = next(iter(cards))
        self.summary = gr.HTML(_render_inputs(first, {}, None, reference, {}, None), elem_id=f"{name}-used")
        self.example_name = gr.Textbox(
            visible=False
        )  # the example that the form shows; it travels with the form's values
        self.known_uploads = gr.State([])  # of the session: the visitor's own files in the boxes, as of the last upload

    def wire(self, tab: "TaskTab") -> None:
        """Connect the tab's boxes, once it has them all."""
        self.tab = tab
        self.boxes = [*(box for form in tab.by_name.values() for box in form.boxes.values()), tab.reference]
        knobs = [knob for form in tab.by_name.values() for knob in (form.options | form.live).values()]
        asked = {*self.boxes, *knobs, tab.method, self.example_name, self.known_uploads}
        emptied = [*self.boxes, *knobs, self.example_name, *tab.panel.clear()]
        changes = [event for box in self.boxes for event in (box.upload, box.clear, box.delete)]
        put = gr.on(
            [*changes, tab.method.change],
            self.remove_example_files,
            asked,
            emptied,
            trigger_mode="multiple",
            **QUIET_EVENT,
        )
        put.then(self.render, asked, self.summary, **QUIET_EVENT)
        for form in tab.by_name.values():
            for option in form.card.options:
                if isinstance(option, Text | Landmarks | Points) and option.name in form.options:
                    form.options[option.name].blur(self.render, asked, self.summary, **QUIET_EVENT)

    def has_newer_uploads(self, data: dict) -> bool:
        """Whether something was uploaded since an example was clicked, when the form held `data`.

        The example then does not take its place; otherwise it takes that of everything.
        """
        seen = data[self.known_uploads]
        if set(seen) - {path for box in self.boxes for path in data[box] or ()}:
            return True
        seen.clear()
        return False

    def current_example(self, data: dict) -> Example | None:
        """The example that the form shows, or None."""
        return next((e for e in self.tab.examples if e.name == data[self.example_name]), None)

    def remove_example_files(self, data: dict) -> dict:
        """Empty what an example has put in, once there is something of the visitor's, or no more of its main image.

        The same where the method is no longer the example's.
        """
        picked = self.current_example(data)
        if picked is not None:
            form = self.tab.by_name[picked.pipeline]
            needed = [form.boxes[source.name] for source in form.card.inputs if not source.optional]
            if data[self.tab.method] != picked.pipeline or not all(data[box] for box in needed):
                picked = None
        before = {box: data[box] or None for box in self.boxes}
        kept = keep_one_owner(before, picked)
        changed: dict = {self.example_name: gr.skip()}
        changed |= {box: paths for box, paths in kept.items() if paths != before[box]}
        data[self.known_uploads][:] = [path for paths in kept.values() for path in uploaded_paths(paths)]
        if (picked is None or any(map(uploaded_paths, kept.values()))) and (gone := self.current_example(data)):
            changed |= {
                self.example_name: "",
                **self.tab.panel.clear(),
                **self.default_options(self.tab.by_name[gone.pipeline], data),
            }
        return changed

    def default_options(self, form: "Form", data: dict) -> dict:
        """The options that the example has set, at their defaults."""
        picked, knobs = self.current_example(data), form.options | form.live
        if picked is None or picked.pipeline != form.card.name:
            return {}
        values = {name: data[knob] for name, knob in knobs.items()}
        return {knobs[o.name]: o.default for o in options_set_by(picked, form.card.options, values)}

    def render(self, data: dict) -> str:
        """The list for the chosen method."""
        form = self.tab.by_name[data[self.tab.method]]
        boxes = {name: data[box] for name, box in form.boxes.items()}
        texts = {name: data[knob] for name, knob in form.options.items()}
        return _render_inputs(form.card, boxes, data[self.tab.reference], self.title, texts, self.current_example(data))

    def fill_in(self, picked: Example) -> dict:
        """The list, and the mark of the example, when it has just been put into the form."""
        card = self.tab.by_name[picked.pipeline].card
        boxes = {name: [str(path)] for name, path in picked.images.items()}
        reference = [str(picked.reference)] if picked.reference else None
        return {
            self.summary: _render_inputs(card, boxes, reference, self.title, picked.settings, picked),
            self.example_name: picked.name,
        }

    def select_run_inputs(self, form: "Form", data: dict) -> RunInputs:
        """What goes into a run of the form's method: files of one owner alone, and no option of another's example."""
        sources = sorted(form.card.inputs, key=lambda source: source.optional)
        boxes = {form.boxes[source.name]: source.title for source in sources} | {self.tab.reference: self.title}
        before = {box: data[box] or None for box in boxes}
        kept = keep_one_owner(before, next(filter(None, map(find_example, before.values())), None))
        changed: dict = {box: paths for box, paths in kept.items() if paths != before[box]}
        notes = []
        if changed:
            notes.append(f"Left out, since it came from an example: {', '.join(boxes[box] for box in changed)}.")
        if any(map(uploaded_paths, kept.values())) and (options := self.default_options(form, data)):
            titles = {knob: o.title for o in form.card.options for knob in [(form.options | form.live)[o.name]]}
            notes.append(f"Back at the default, since an example had set it: {', '.join(titles[k] for k in options)}.")
            changed |= options
        return RunInputs(data | changed, tuple(notes))


def _render_inputs(
    card: Card,
    boxes: Mapping[str, Paths],
    reference: Paths,
    title: str,
    texts: Mapping[str, Any],
    picked: Example | None,
) -> str:
    """One line: whose every image is, the reference, and what was written."""
    sources = sorted(card.inputs, key=lambda source: source.optional)
    parts = [(source.title, _describe_owner(boxes.get(source.name))) for source in sources]
    parts.append((title, _describe_owner(reference)))
    written = [o for o in card.options if isinstance(o, Text | Landmarks | Points) and not o.live]
    values = {o.name: texts.get(o.name, o.default) for o in written}
    left = options_set_by(picked, written, values)
    asked = [o for o in written if not _is_same_value(o, values[o.name], o.default)]
    parts += [(o.title, "example" if o in left else "yours") for o in asked]
    return html.render_inputs(parts)


def _describe_owner(paths: Paths) -> str:
    if not paths:
        return "none"
    mine = uploaded_paths(paths)
    if not mine:
        return "example"
    name = Path(mine[0]).name
    short = name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 10]}…{name[-9:]}"
    return f"yours ({short if len(mine) == 1 else f'{len(mine)} files'})"
