"""A tab: the form on the left, the result on the right; what is particular to a task is its body's."""

import tempfile
import threading
import zipfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import gradio as gr
from gradio.data_classes import PredictBodyInternal

from medapp.card import Card
from medapp.errors import CancelledError, InputError, UserError
from medapp.examples import Example, of_task
from medapp.imaging.volume import Volume
from medapp.io import sandbox
from medapp.presenters import report
from medapp.presenters.comparison import prepared
from medapp.result import Result
from medapp.serving import run_log, runtime
from medapp.ui import form as forms
from medapp.ui import html, queue
from medapp.ui.example_inputs import ExampleInputs, RunInputs
from medapp.ui.session import Session, check_cancelled, close_session, visitors
from medapp.ui.workspace import LIFETIME

GPU: dict[str, Any] = {"concurrency_id": queue.COMPUTE_LINE, "concurrency_limit": 1}  # one line for all that computes
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
Given = list[Volume | None]
Step = Callable[[float, str], None]


def shown(error: Exception) -> gr.Error:
    """A UserError as it is; of any other the user is told what it means.

    The latter goes to the journal by its kind and place, not by its text, which may hold what the user wrote.
    """
    if isinstance(error, UserError):
        return gr.Error(str(error), duration=20, print_exception=False)
    run_log.log_fault(error)
    answer = gr.Error(html.explain_error(error), duration=20, print_exception=False)
    answer.ours = True  # and not the caller's
    return answer


def told(handler: Callable) -> Callable:
    """A handler whose errors are shown to the user."""

    @wraps(handler)
    def wrapped(*args: Any, **more: Any) -> Any:
        try:
            return handler(*args, **more)
        except gr.Error:
            raise
        except Exception as error:
            raise shown(error) from error

    return wrapped


_once: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by example, held while it is computed
_results: dict[Example, Result] = {}


def example_result(example: Example, progress: Step | None = None) -> Result:
    """What the method makes of an example; computed once for all visitors, since nobody's data are in it."""
    with _once[example.name]:
        if example not in _results:
            card = runtime.find_card(example.pipeline)
            given = example.volumes(card.inputs)
            _results[example] = runtime.run(card.name, *given, progress=progress, **example.settings)
        return _results[example]


class Body(Protocol):
    """What a task shows of a result and lets be done with it. It lays out its components when it is asked to.

    `live` holds the options by card and name that apply to a kept result, `groups` what is shown with one card alone;
    `more` is what `given` looks at besides the form, `quick` what `show` fills, `slow` what `draw` fills, `buttons`
    what rests while something runs.
    """

    live: dict[str, dict[str, Any]]
    groups: dict[str, gr.Column]
    more: list[Any]
    quick: list[Any]
    slow: list[Any]
    buttons: list[Any]

    def button(self) -> None:
        """Beside Run."""

    def above(self) -> None:
        """Between the headline and what shows only once there is a result."""

    def pictures(self) -> None:
        """On top of the result."""

    def report(self) -> None:
        """In the result's first tab."""

    def tabs(self) -> None:
        """Further tabs after the first."""

    def given(self, form: forms.Form, data: dict, volumes: Given) -> tuple[Given, Callable[[Result], Result]]:
        """The images as they go into the method, and what is to be said of the result for it."""

    def forget(self) -> dict:
        """What else an example has left, emptied, by component: it goes when the visitor's own files come."""

    def show(self, held: Session, card: Card, fresh: bool) -> dict:
        """What is looked at first, by component; `fresh` if it is another result than the one before."""

    def draw(self, held: Session | None) -> dict:
        """The rest."""

    def wire(self, tab: "Tab") -> None:
        """Connect the body's own components."""


class Tab:
    """The tab of one task inside the current `gr.Blocks`; `name` begins the components' ids."""

    def __init__(self, task: ModuleType, name: str, cards: Sequence[Card], body: Body) -> None:
        self.task, self.name, self.cards, self.body = task, name, cards, body
        self.examples = [e for e in of_task(name) if any(e.pipeline == card.name for card in cards)]
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                self._form()
            with gr.Column(scale=5, min_width=360):
                self._result()
        self.kept = gr.State(None, time_to_live=LIFETIME, delete_callback=close_session)
        self.quick = [self.status, self.results, self.origin, self.kept, *body.quick]
        self.slow = [*self.plots.values(), self.bundle, self.single, *body.slow]
        self.by_name = {card.name: forms.Form(card, *self.asked[card.name], body.live[card.name]) for card in cards}
        self.everything = {self.method, self.reference, self.by_voxels, self.kept, *body.more}.union(
            *(form.components() for form in self.by_name.values())
        )
        self.everything |= {self.example_inputs.example_name, self.example_inputs.known_uploads}
        self._wire()
        body.wire(self)
        self.example_inputs.wire(self)

    def _form(self) -> None:
        titles = [(card.title, card.name) for card in self.cards]
        self.method = gr.Radio(
            titles, value=titles[0][1], label="Method", visible=len(titles) > 1, elem_id=f"{self.name}-method"
        )
        self.asked: dict[str, tuple[dict, dict, dict]] = {}
        self.groups: dict[str, gr.Column] = {}
        for card in self.cards:
            with gr.Column(visible=card is self.cards[0]) as self.groups[card.name]:
                gr.HTML(html.render_method(card))
                self.asked[card.name] = forms.layout_inputs(card)
        with gr.Accordion(self.task.REFERENCE, open=False):
            about = self.task.REFERENCE_ABOUT
            gr.HTML(f'<p class="med-small">{about[0].upper()}{about[1:]}.</p>')
            self.reference = forms.create_upload_box("Image or label map", f"{self.name}-reference")
            self.by_voxels = gr.Checkbox(
                False,
                label="Take the reference voxel by voxel",
                info="For one whose header is lost: its voxels are laid on the image's, in their order.",
                visible=False,
                elem_id=f"{self.name}-by-voxels",
            )
        self.example_inputs = ExampleInputs(self.name, self.cards, self.task.REFERENCE_NAME)
        with gr.Row():
            self.run = gr.Button(self.task.RUN, variant="primary", elem_id=f"{self.name}-run")
            self.body.button()
            self.stop = gr.Button("Cancel", variant="stop", interactive=False, elem_id=f"{self.name}-cancel")
        gr.HTML('<p class="med-small"><b>Examples</b>: click one to see its result</p>', visible=bool(self.examples))
        self.gallery = gr.Gallery(
            [(forms.render_thumbnail(e), e.title) for e in self.examples],
            show_label=False,
            visible=bool(self.examples),
            columns=3,
            height=145 * -(-len(self.examples) // 3) + 10,
            allow_preview=False,
            interactive=False,
            format="png",
            buttons=[],
            elem_id=f"{self.name}-examples",
        )

    def _result(self) -> None:
        name = self.name
        self.status = gr.HTML(html.render_welcome(self.task), elem_id=f"{name}-status")
        self.body.above()
        with gr.Column(visible=False) as self.results:
            self.body.pictures()
            with gr.Tabs():
                with gr.Tab("Report"):
                    self.body.report()
                self.body.tabs()
                self.plots = {}
                for caption in self.task.FIGURES:
                    with gr.Tab(caption):
                        self.plots[caption] = gr.Plot(show_label=False, format="png")
                with gr.Tab("Files"):
                    self.bundle = gr.DownloadButton("Everything as one zip", interactive=False, elem_id=f"{name}-zip")
                    self.single = gr.File(
                        label="Single files", file_count="multiple", interactive=False, elem_id=f"{name}-files"
                    )
                with gr.Tab("Where this comes from"):
                    self.origin = gr.HTML()

    # ---- what is shown of a session
    def form_of(self, result: Result) -> forms.Form:
        return self.by_name[result.facts()["pipeline"]]

    def show(self, held: Session, fresh: bool) -> dict:
        result = held.result
        card = self.form_of(result).card
        held.shown += 1
        return {
            self.status: html.render_headline(html.summarize_result(self.task, result), result.notes, result.warnings),
            self.results: gr.Column(visible=True),
            self.origin: html.render_provenance(result, card),
            self.kept: held,
            **self.body.show(held, card, fresh),
        }

    def draw(self, held: Session | None) -> dict:
        """The figures and files, after what is looked at first; one that fails costs the others nothing.

        Nothing of a result that has made way for another.
        """
        nothing = {plot: gr.skip() for plot in self.slow}
        try:
            return self._draw(held) if held is not None and held.folder.exists() else nothing
        except (OSError, InputError):
            if held is not None and held.folder.exists():
                raise
            return nothing

    def _draw(self, held: Session) -> dict:
        card, figures = self.form_of(held.result).card, self.task.figures(held.result)
        shown = {plot: _drawn(figures[caption], None) for caption, plot in self.plots.items()}
        shown |= _drawn(lambda: self.body.draw(held), {part: gr.update(value=None) for part in self.body.slow})
        folder = Path(tempfile.mkdtemp(prefix=f"files{held.shown}-", dir=held.folder))  # two may draw the same at once
        archive = report.bundle(held.result, folder / f"{card.name}.zip", card.title, html.describe_method(card))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        for note in report.lost(archive):
            gr.Warning(note, duration=20)
        return {
            **shown,
            self.bundle: gr.DownloadButton(value=str(archive), interactive=True),
            self.single: [str(path) for path in sorted(folder.iterdir()) if path.is_file() and path != archive],
        }

    # ---- what happens
    @told
    def start(self, data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
        def work(step: Step, form: forms.Form, used: RunInputs, volumes: Given) -> dict:
            data, paths = used.data, used.data[self.reference]
            masks = self.task.REFERENCE_LABELS
            comparison = prepared(
                self.task,
                form.card,
                form.card.name_inputs(volumes),
                lambda: sandbox.read(paths, name="reference", colour=form.colour, labels=masks) if paths else None,
                by_voxels=bool(data[self.by_voxels]),
            )
            if comparison.note:
                gr.Warning(comparison.note)
            put_in, remark = self.body.given(form, data, volumes)
            result = remark(
                runtime.run(form.card.name, *put_in, progress=step, **{n: data[k] for n, k in form.options.items()})
            )
            settings = dict(result.settings) | {n: data[k] for n, k in form.live.items()}
            result, comparison = comparison.made(self.task, result, settings)
            offered = {self.by_voxels: gr.Checkbox(visible=comparison.lost_header or bool(data[self.by_voxels]))}
            result = replace(result, notes=(*used.notes, *result.notes))
            step(1.0, "Drawing")  # nothing is kept for who has cancelled or left
            held = Session(result, self.task.start(result), comparison.reference, volumes[0])
            return self.show(visitors.keep(request.session_hash, held, self.name), fresh=True) | offered

        return self.attempt(self.task.RUN, work, data, request, progress)

    def attempt(
        self,
        button: str,
        work: Callable[[Step, forms.Form, RunInputs, Given], dict],
        data: dict,
        request: gr.Request,
        progress: gr.Progress,
    ) -> dict:
        """The updates that `work` gives, from the method's form and what goes in: nothing that an example has left.

        Instead of them the question which of several series is meant, after which `button` is to be pressed again, or
        word of a Cancel: `work` gets the function that is to be called at every step, which looks out for one.
        """
        form = self.by_name[data[self.method]]
        used = self.example_inputs.select_run_inputs(form, data)
        visitors.check_space(request.session_hash)
        with visitors.running(request.session_hash) as flag:

            def step(fraction: float, stage: str) -> None:
                check_cancelled(flag)
                queue.check_abandoned()
                progress(fraction, desc=stage)

            try:
                step(0.0, "Reading the files")
                return work(step, form, used, form.read_volumes(used.data))
            except forms.SeriesChoiceNeeded as which:
                return self.ask(which, button)
            except InputError as error:
                raise InputError(" ".join((*used.notes, str(error)))) from error
            except CancelledError as word:
                gr.Info(str(word))
                return {self.status: gr.skip()}

    def ask(self, which: forms.SeriesChoiceNeeded, button: str) -> dict:
        """The list of series of an upload that holds several."""
        choices = [(series.title, series.uid) for series in which.several.series]
        return {
            which.box: gr.Dropdown(choices=choices, value=choices[0][1], visible=True),
            self.status: html.render_question(f"{which} Choose it on the left and press {button} again."),
        }

    def computed(self, body: PredictBodyInternal) -> bool:
        """Whether the result of the example that is asked for is there already."""
        index = body.event_data.get("index") if isinstance(body.event_data, dict) else None
        return isinstance(index, int) and 0 <= index < len(self.examples) and self.examples[index] in _results

    def pick(self, data: dict, event: gr.SelectData, request: gr.Request) -> dict:
        example = self.examples[event.index]
        form = self.by_name[example.pipeline]
        visitors.check_space(request.session_hash)
        result, truth = example_result(example, lambda fraction, stage: queue.check_abandoned()), example.truth()
        settings = form.card.parse_settings(example.settings)
        result = html.add_example_note(self.task.moved(result, truth, settings), example)
        held = Session(result, self.task.start(result), truth, example.volumes(form.card.inputs)[0])
        shown = self.show(held, fresh=True)
        if self.example_inputs.has_newer_uploads(data):
            held.close()
            return {self.status: gr.skip()}
        visitors.keep(request.session_hash, held, self.name)
        for other in self.by_name.values():  # an example takes the place of everything
            shown |= dict.fromkeys(other.boxes.values())
            shown |= {(other.options | other.live)[o.name]: o.default for o in other.card.options}
        shown |= {form.boxes[name]: [str(path)] for name, path in example.images.items()}
        shown |= {(form.options | form.live)[name]: value for name, value in example.settings.items()}
        return shown | {
            **self.example_inputs.fill_in(example),
            self.method: form.card.name,
            self.reference: [str(example.reference)] if example.reference else None,
        }

    # ---- wiring
    def _wire(self) -> None:
        lists = [box for form in self.by_name.values() for box in form.series.values()]
        boxes = [box for form in self.by_name.values() for box in form.boxes.values()]
        knobs = [knob for form in self.by_name.values() for knob in (form.options | form.live).values()]
        groups = [*self.groups.values(), *self.body.groups.values()]
        look = f"() => document.getElementById('{self.name}-status').scrollIntoView({{block: 'nearest'}})"
        for asked in (self.run.click, self.gallery.select):
            asked(None, js=look, queue=False, **PRIVATE)  # the result may lie above or, on a phone, below
        self.follow(self.run, self.start, self.everything, [*self.quick, *lists, self.by_voxels])
        untick: dict[str, Any] = {"queue": False, "show_progress": "hidden", **PRIVATE}
        self.reference.change(lambda: gr.Checkbox(False, visible=False), None, self.by_voxels, **untick)

        @told
        def pick(data: dict, event: gr.SelectData, request: gr.Request) -> dict:
            return self.pick(data, event, request)

        done = self.gallery.select(
            queue.use_display_line(pick, self.computed),
            self.everything,
            [
                *self.quick,
                *boxes,
                *knobs,
                self.method,
                self.reference,
                self.example_inputs.summary,
                self.example_inputs.example_name,
            ],
            show_progress_on=[self.status],
            trigger_mode="multiple",
            **GPU,
            **PRIVATE,
        )
        done.success(self.draw, self.kept, self.slow, show_progress="minimal", **PRIVATE)
        self.stop.click(_halt, None, None, queue=False, **PRIVATE)
        self.method.change(self._choose, self.method, groups, queue=False, **PRIVATE)

    def follow(self, button: gr.Button, job: Callable, inputs: set, outputs: list, *, drawn: bool = True) -> None:
        """At a click do the job in the queue, free the buttons whatever came of it, then draw the rest."""
        resting = [self.run, *self.body.buttons]
        first = button.click(lambda: _buttons(resting, False), None, [*resting, self.stop], queue=False, **PRIVATE)
        done = first.then(job, inputs, outputs, show_progress_on=[self.status], **GPU, **PRIVATE)
        for end in (done.success, done.failure):
            end(lambda: _buttons(resting, True), None, [*resting, self.stop], queue=False, **PRIVATE)
        if drawn:
            done.success(self.draw, self.kept, self.slow, show_progress="minimal", **PRIVATE)

    def _choose(self, chosen: str) -> dict:
        both = (self.groups, self.body.groups)
        return {group: gr.update(visible=n == chosen) for each in both for n, group in each.items()}


def _drawn(draw: Callable[[], Any], otherwise: Any) -> Any:
    """What `draw` gives, or `otherwise` where it fails, which goes to the journal."""
    try:
        return draw()
    except Exception as error:
        run_log.log_fault(error)
        gr.Warning("One of the figures could not be drawn; the files are whole.", duration=20)
        return otherwise


def _halt(request: gr.Request) -> None:
    visitors.cancel(request.session_hash)


def _buttons(resting: list, free: bool) -> list:
    return [*(gr.Button(interactive=free) for _ in resting), gr.Button(interactive=not free)]
