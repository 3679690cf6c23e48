"""A tab: the form in a drawer, the picture, the panel beside it, and what happens at its buttons.

What is particular to a task is its panel's (`ui/panels`) and its presenters' (`presenters`).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.errors import CancelledError, InputError, OptionError
from medapp.examples import Example, of_task
from medapp.options import Landmarks, Points
from medapp.presenters import get_presenter
from medapp.presenters.comparison import prepare_comparison
from medapp.presenters.task import Task
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui import form as forms
from medapp.ui import html, queue
from medapp.ui.corrections import correct_session
from medapp.ui.error_messages import keep_failure, report_errors
from medapp.ui.events import AT_ONCE, GPU, HIDDEN, LIVE, PRIVATE
from medapp.ui.example_inputs import RunInputs
from medapp.ui.example_results import ExampleResult, compute_example, is_computed, split_example_note
from medapp.ui.first_view import load_first_view
from medapp.ui.gradio_compat import PredictBodyInternal
from medapp.ui.history import History, show_kept
from medapp.ui.kept_scan import remember_scan
from medapp.ui.links import ExampleLink, find_linked_example, parse_link
from medapp.ui.panels.base import Frame, Panel
from medapp.ui.proposals import propose_regions
from medapp.ui.rater_masks import RaterMasks
from medapp.ui.result_kind import presenter_of
from medapp.ui.result_tabs import lay_out_result_tabs
from medapp.ui.returning import take_over
from medapp.ui.run import run_of
from medapp.ui.session import Session, close_session
from medapp.ui.stage import lay_out_stage
from medapp.ui.tab import Step, Volumes
from medapp.ui.task_form import lay_out_form
from medapp.ui.task_result import lay_out_result
from medapp.ui.toggle import lay_out_toggle
from medapp.ui.viewer.scene import Scene
from medapp.ui.visitors import visitors
from medapp.ui.workspace import LIFETIME


class TaskTab:
    """The tab of one task inside the current `gr.Blocks`; `name` begins the components' ids."""

    def __init__(self, task: Task, name: str, cards: Sequence[Card], panel_class: type[Panel]) -> None:
        self.task, self.name, self.cards = task, name, cards
        self.examples = [e for e in of_task(name) if any(e.pipeline == card.name for card in cards)]
        self.first = load_first_view(name)
        chosen = next((card for card in cards if self.first and card.name == self.first.example.pipeline), cards[0])
        with gr.Row(elem_id=f"{name}-work", elem_classes="work"):
            with gr.Column(elem_id=f"{name}-drawer", elem_classes="drawer"):
                lay_out_toggle(f"{name}-work", "drawer-closed", f"{name}-drawer", "Close the form", "✕")
                self.form = lay_out_form(task, name, cards, self.examples, chosen)
            with gr.Column(elem_id=f"{name}-stage", elem_classes="stage"):
                self.stage = lay_out_stage(name)
            with gr.Column(elem_id=f"{name}-panel", elem_classes="side-panel"):
                self.result = lay_out_result(task, name, cards, chosen)
        form, result = self.form, self.result
        self.raters = RaterMasks(form.raters)
        with result.above:
            self.history = History(name)
        self.method, self.reference, self.example_inputs = form.method, form.reference, form.example_inputs
        self.status, self.results = result.status, result.everything
        self.panel = panel_class(
            Frame(name, cards, self.stage, form.buttons, result.above, result.live, result.report, result.tabs)
        )
        titles = dict.fromkeys(title for card in cards for title in get_presenter(card).chart_titles)
        with result.tabs:
            self.last_tabs = lay_out_result_tabs(name, list(titles))
        self.kept = gr.State(None, time_to_live=LIFETIME, delete_callback=close_session)
        self.by_name = {
            card.name: forms.Form(card, *form.asked[card.name], result.options[card.name]) for card in cards
        }
        self._connect()
        self.stage.connect(self.kept, self.method)
        self.panel.connect(self)
        self.history.connect(self)
        self.raters.connect(self)
        self.example_inputs.wire(self)
        form.scene_box.connect(self)

    # ---- components by what they are for
    def clear_panel(self) -> dict:
        """What an example has left in the panel, emptied, by component."""
        return self.panel.clear()

    @property
    def shown(self) -> list[Any]:
        """What `show` fills."""
        own = [self.status, self.results, self.last_tabs.provenance, self.kept, *self.last_tabs.chart_groups.values()]
        own += self.result.groups.values()
        return [*own, *self.stage.shown, *self.panel.shown]

    @property
    def everything(self) -> set:
        """All that a run may read."""
        own = {self.method, self.reference, self.form.by_voxels, self.kept, *self.panel.inputs}
        own |= {self.example_inputs.example_name, self.example_inputs.known_uploads, *self.raters.boxes}
        return own.union(*(form.components() for form in self.by_name.values()))

    # ---- what is shown of a session
    def form_of(self, result: Result) -> forms.Form:
        """The form of the method that made the result."""
        return self.by_name[runtime.find_card_of(result).name]

    def show(self, session: Session, is_new: bool, scene: Scene | None = None) -> dict:
        """What is looked at first, by component; `is_new` if it is another result than the one before.

        The `scene` is built if it is not there yet.
        """
        result, card = session.result, self.form_of(session.result).card
        session.shown += 1
        return {
            **self._show_facts(result, get_presenter(card).headline(result)),
            self.last_tabs.provenance: html.render_provenance(result, card),
            self.kept: session,
            **self.stage.show(session, card, is_new, scene),
            **self.panel.show(session),
        }

    def _show_facts(self, result: Result, headline: str) -> dict:
        """What needs no volumes of the result, by component: what it says, and what can be done with it."""
        card = self.form_of(result).card
        example, notes = split_example_note(result.notes)
        sentence = html.summarize_result(result, headline)
        return {
            self.status: html.render_headline(sentence, notes, result.warnings, example),
            self.results: gr.Column(visible=True),
            **self.show_live_options(card),
            **self.last_tabs.show(card),
        }

    # ---- what happens
    @report_errors
    def start(self, data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
        """Run the chosen method on what the form holds."""

        def work(step: Step, form: forms.Form, used: RunInputs, volumes: Volumes) -> dict:
            data, paths, by_voxels = used.data, used.data[self.reference], bool(used.data[self.form.by_voxels])
            comparison = prepare_comparison(
                form.card,
                form.card.name_inputs(volumes),
                lambda: self.example_inputs.check.read_reference(form, paths, request.session_hash or ""),
                by_voxels=by_voxels,
            )
            if comparison.note:
                gr.Warning(comparison.note)
            prepared, add_remarks = self.panel.prepare(form, data, volumes)
            options = {name: data[option] for name, option in form.options.items()}
            result = add_remarks(runtime.run(form.card.name, *prepared, progress=step, **options))
            settings = dict(result.settings) | {name: data[option] for name, option in form.live.items()}
            result, comparison = comparison.apply(get_presenter(form.card), result, settings)
            offer = gr.Checkbox(visible=comparison.lost_header or by_voxels)
            result = replace(result, notes=(*used.notes, *result.notes))
            step(1.0, "Drawing")  # nothing is kept for who has cancelled or left
            session = Session(result, get_presenter(form.card).start(result), comparison.reference, volumes[0])
            remember_scan(session, form, data, volumes)
            self.raters.rate(session, data, form.card.name_inputs(volumes))
            kept = self.keep(request.session_hash, session)
            return self.show(kept, is_new=True) | {self.form.by_voxels: offer}

        return self.attempt(self.task.run, work, data, request, progress)

    def attempt(
        self,
        button: str,
        work: Callable[[Step, forms.Form, RunInputs, Volumes], dict],
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
        with run_of(request, progress) as step:
            try:
                step(0.0, "Reading the files")
                return work(step, form, used, form.read_volumes(used.data, request.session_hash or ""))
            except forms.SeriesChoiceNeeded as which:
                return self.ask_for_series(which, button)
            except InputError as error:
                raise InputError(" ".join((*used.notes, str(error)))) from error
            except CancelledError as message:
                return self.say_cancelled(message)

    def say_cancelled(self, message: CancelledError) -> dict:
        """Nothing but word of it."""
        gr.Info(str(message))
        return {self.status: gr.skip()}

    def ask_for_series(self, which: forms.SeriesChoiceNeeded, button: str) -> dict:
        """The list of series of an upload that holds several."""
        choices = [(series.title, series.uid) for series in which.several.series]
        return {
            which.box: gr.Dropdown(choices=choices, value=choices[0][1], visible=True),
            self.status: html.render_question(f"{which} Choose it on the left and press {button} again."),
        }

    @report_errors
    def recompute(self, data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
        """Apply the live options to the kept result."""
        session: Session | None = data[self.kept] or self.open_first_view(request, progress)
        if session is None:
            return {self.status: gr.skip()}

        def recompute() -> None:
            options = self.form_of(session.result).live
            settings = dict(session.result.settings) | {name: data[option] for name, option in options.items()}
            session.result = presenter_of(session.result).recompute(session.result, session.reference, settings)

        return self.show_changed(session, recompute, request)

    @report_errors
    def correct(
        self,
        data: dict,
        event: gr.EventData,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict:
        """Lay what was painted and erased on the stage on the kept result."""
        sent = event._data or {}
        session = self._find_session(sent, data, request, progress)
        if session is None:
            return {self.status: gr.skip()}
        return self.show_changed(session, lambda: correct_session(session, sent), request)

    @report_errors
    def propose(
        self,
        data: dict,
        event: gr.EventData,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> dict:
        """What the visitor's clicks on the stage may mean; nothing of it if another result is shown by then."""
        sent = event._data or {}
        session = self._find_session(sent, data, request, progress)
        if session is None:
            return {self.status: gr.skip()}
        try:
            proposals = propose_regions(session, sent)
        except InputError:
            if not session.is_closed:
                raise
        if not self._is_shown(session, request):
            return {self.status: gr.skip()}
        return {self.stage.viewer: proposals, self.kept: session}

    def _find_session(self, sent: dict, data: dict, request: gr.Request, progress: gr.Progress) -> Session | None:
        """The result that an event of the stage is about: a kept one, else the shown one, else the first view."""
        session = self.history.find(request.session_hash, sent.get("case")) or data[self.kept]
        return session or self.open_first_view(request, progress)

    def _is_shown(self, session: Session, request: gr.Request) -> bool:
        """Whether the visitor still looks at this result."""
        return not session.is_closed and visitors.find(request.session_hash, self.name) is session

    def keep(self, visitor: str, session: Session) -> Session:
        """Make this the visitor's shown result; the oldest of too many goes."""
        return self.history.keep(visitor, session)

    def show_changed(self, session: Session, change: Callable[[], None], request: gr.Request) -> dict:
        """Change a kept result, and show it: nothing of it if another one is shown by then."""
        with session.lock:
            session.check_open()
            try:
                change()
                updates = self.show(session, is_new=False) if self._is_shown(session, request) else {}
            except InputError:
                if not session.is_closed:
                    raise
        return updates if self._is_shown(session, request) and updates else {self.status: gr.skip()}

    def _compute_example(self, example: Example, request: gr.Request, progress: gr.Progress | None) -> ExampleResult:
        """What is shown of an example, to which nothing of the visitor's belongs yet."""
        visitors.check_space(request.session_hash)
        with run_of(request, progress) as step:
            return compute_example(example, step)

    def show_form(self, method: str) -> dict:
        """The boxes and options of a method, by component, without those of the others."""
        return {group: gr.update(visible=name == method) for name, group in self.form.groups.items()}

    def show_live_options(self, card: Card) -> dict:
        """The options that act on a result of the method, by component, without those of the others."""
        return {group: gr.update(visible=name == card.name) for name, group in self.result.groups.items()}

    # ---- what is there at first
    @property
    def first_shown(self) -> list[Any]:
        """What `show_at_first` fills."""
        live = [control for form in self.by_name.values() for control in form.live.values()]
        return [*self.shown, self.method, *self.form.groups.values(), *live]

    def show_at_first(self, request: gr.Request) -> dict:
        """What the visitor had before they loaded the page again, by component, else the first view."""
        take_over(request)
        session = visitors.find(request.session_hash, self.name)
        if not isinstance(session, Session) or session.is_closed:
            return self.show_first_view()
        card = self.form_of(session.result).card
        return show_kept(self, session) | {self.method: card.name, **self.show_form(card.name)}

    def show_first_view(self) -> dict:
        """The result of an example that ships with the app, by component; nothing is computed for it."""
        if self.first is None:
            return {self.status: gr.skip()}
        result = self.first.result
        card = self.form_of(result).card
        return {
            **self._show_facts(result, self.first.headline),
            self.method: card.name,
            **self.show_form(card.name),
            self.stage.viewer: self.first.scene,
            self.stage.whose: html.render_whose(card),
            **self.panel.show_facts(result),
        }

    def open_first_view(self, request: gr.Request, progress: gr.Progress | None = None) -> Session | None:
        """The session of the first view, once something is asked of it; None where there is none."""
        if self.first is None:
            return None
        computed = self._compute_example(self.first.example, request, progress)
        session = self.history.open_example(request.session_hash, computed)
        session.case = self.first.scene.case
        return session

    def is_example_computed(self, body: PredictBodyInternal) -> bool:
        """Whether the result of the example that is asked for is there already."""
        index = body.event_data.get("index") if isinstance(body.event_data, dict) else None
        return isinstance(index, int) and 0 <= index < len(self.examples) and is_computed(self.examples[index])

    def pick_example(
        self, data: dict, event: gr.SelectData, request: gr.Request, progress: gr.Progress | None = None
    ) -> dict:
        """Put an example into the form, and show its result."""
        return self._show_example(ExampleLink(self.examples[event.index], {}, None), data, request, progress)

    def open_link(self, data: dict, sent: Any, request: gr.Request, progress: gr.Progress | None = None) -> dict:
        """Show the example that a link names, as it was shown where the link was copied."""
        example = find_linked_example(sent, self.examples)
        card = self.by_name[example.pipeline].card if example else self.cards[0]
        return self._show_example(parse_link(sent, card, example), data, request, progress)

    def is_link_computed(self, body: PredictBodyInternal) -> bool:
        """Whether the result of the example that a link names is there already."""
        example = find_linked_example(body.event_data, self.examples)
        return example is None or is_computed(example)

    def _show_example(self, link: ExampleLink, data: dict, request: gr.Request, progress: gr.Progress | None) -> dict:
        example, form = link.example, self.by_name[link.example.pipeline]
        try:
            computed = self._compute_example(example, request, progress)
        except CancelledError as message:
            return self.say_cancelled(message)
        if self.example_inputs.has_newer_uploads(data):
            return {self.status: gr.skip()}
        session = self.history.open_example(request.session_hash, computed)
        session.state = link.state
        if link.settings:
            settings = dict(session.result.settings) | link.settings
            session.result = presenter_of(session.result).recompute(session.result, session.reference, settings)
        updates = self.show(session, is_new=True, scene=None if link.settings else computed.scene)
        for other in self.by_name.values():  # an example takes the place of everything
            updates |= dict.fromkeys(other.boxes.values())
            updates |= {(other.options | other.live)[o.name]: o.default for o in other.card.options}
        updates |= {form.boxes[name]: [str(path)] for name, path in example.images.items()}
        set_options = {**example.settings, **link.settings}
        updates |= {(form.options | form.live)[name]: value for name, value in set_options.items()}
        return updates | {
            **self.example_inputs.fill_in(example),
            **dict.fromkeys(self.raters.boxes),
            self.method: form.card.name,
            self.reference: [str(example.reference)] if example.reference else None,
        }

    # ---- connected
    @property
    def method_outputs(self) -> list[Any]:
        """What `show_method` fills."""
        return [self.method, *(o for each in self.by_name.values() for o in (each.options | each.live).values())]

    def show_method(self, name: str, settings: Mapping[str, Any]) -> dict:
        """The method and its options as they are in the settings of a result, by component."""
        form, updates = self.by_name[name], dict[Any, Any]({self.method: name})
        for option in form.card.options:
            if option.name in settings and not isinstance(option, Points | Landmarks):  # these are text
                with suppress(OptionError):  # regions that were changed by hand are no longer one of the choices
                    updates[(form.options | form.live)[option.name]] = option.parse(settings[option.name])
        return updates

    def _connect(self) -> None:
        everything, shown, form = self.everything, self.shown, self.form
        lists = [box for each in self.by_name.values() for box in each.series.values()]
        boxes = [box for each in self.by_name.values() for box in each.boxes.values()]
        for asked in (form.run.click, form.gallery.select):
            asked(None, js=f"() => window.medappPage.fold('{self.name}')", **AT_ONCE)
        self.follow(form.run, self.start, everything, [*shown, *lists, form.by_voxels])
        for each in self.by_name.values():
            for name, option in each.live.items():
                set_live = f"(value) => window.medappPage.setLive('{self.name}', '{name}', value)"
                option.input(None, option, None, js=set_live, **AT_ONCE)
                rests = option.release if isinstance(option, gr.Slider) else option.input
                self.draw_rest(rests(self.recompute, everything, shown, **LIVE))

        @report_errors
        def pick(
            data: dict,
            event: gr.SelectData,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> dict:
            return self.pick_example(data, event, request, progress)

        form.gallery.select(lambda: gr.Button("Cancel", interactive=True), None, self.stage.cancel, **AT_ONCE)

        @report_errors
        def link(
            data: dict,
            event: gr.EventData,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> dict:
            return self.open_link(data, event._data, request, progress)

        for asked, handler, is_there in (
            (form.gallery.select, keep_failure(pick), self.is_example_computed),
            (self.stage.viewer.link, link, self.is_link_computed),
        ):
            done = asked(
                queue.use_display_line(handler, is_there),
                everything,
                [
                    *shown,
                    *boxes,
                    *self.method_outputs,
                    self.reference,
                    *self.raters.boxes,
                    self.example_inputs.summary,
                    self.example_inputs.offer.button,
                    self.example_inputs.example_name,
                ],
                show_progress_on=[self.stage.progress],
                trigger_mode="multiple",
                **GPU,
                **PRIVATE,
            )
            self.tell_failure(done)
            self.draw_rest(done)

        @report_errors
        def open_first(
            session: Session | None,
            request: gr.Request,
            progress: gr.Progress = gr.Progress(),  # noqa: B008
        ) -> Session | None:
            return session or self.open_first_view(request, progress)

        corrected = self.stage.viewer.correct(self.correct, {self.kept}, shown, trigger_mode="multiple", **HIDDEN)
        failed = f"() => window.medapp.stages['{self.name}'].correction.tellFailure()"
        corrected.failure(None, js=failed, **AT_ONCE)
        self.draw_rest(corrected)
        proposed = self.stage.viewer.propose(
            self.propose, {self.kept}, [self.stage.viewer, self.kept, self.status], trigger_mode="multiple", **HIDDEN
        )
        proposed.failure(None, js=failed.replace("tellFailure", "proposals.tellFailure"), **AT_ONCE)
        opened = self.result.tabs.select(open_first, self.kept, self.kept, **HIDDEN)
        opened.then(self.last_tabs.draw_once, self.kept, self.last_tabs.drawn, **HIDDEN)
        tabs = self.last_tabs
        for named in (tabs.label.submit, tabs.label.blur):
            named(report_errors(tabs.name_files), [tabs.label, self.kept], tabs.downloads, **LIVE)
        self.stage.cancel.click(_cancel, None, self.stage.cancel, **AT_ONCE)
        self.method.change(self.show_form, self.method, list(form.groups.values()), **AT_ONCE)

    def follow(self, button: gr.Button, job: Callable, inputs: set, outputs: list, *, draws: bool = True) -> None:
        """At a click do the job in the queue, free the buttons whatever came of it, then draw the rest."""
        resting = [self.form.run, *self.panel.buttons]
        first = button.click(lambda: _set_buttons(resting, False), None, [*resting, self.stage.cancel], **AT_ONCE)
        done = first.then(keep_failure(job), inputs, outputs, show_progress_on=[self.stage.progress], **GPU, **PRIVATE)
        for end in (done.success, done.failure):
            end(lambda: _set_buttons(resting, True), None, [*resting, self.stage.cancel], **AT_ONCE)
        self.tell_failure(done)
        if draws:
            self.draw_rest(done)

    def draw_rest(self, event: Any) -> None:
        """After an event that has shown a result draw its cards, charts and files."""
        event.success(self.history.draw, None, self.history.cards, **LIVE)
        event.success(self.last_tabs.draw, self.kept, self.last_tabs.drawn, **LIVE)

    def tell_failure(self, done: Any) -> None:
        """Say in the panel why nothing came of an event, where the sentence stays."""

        def tell(request: gr.Request) -> Any:
            sentence = visitors.take_failure(request.session_hash)
            return html.render_failure(sentence) if sentence else gr.skip()

        done.failure(tell, None, self.status, js=f"() => window.medappPage.unfold('{self.name}')", **AT_ONCE)


def _cancel(request: gr.Request) -> gr.Button:
    visitors.cancel(request.session_hash)
    return gr.Button("Cancelling…")


def _set_buttons(resting: list, are_free: bool) -> list:
    return [*(gr.Button(interactive=are_free) for _ in resting), gr.Button("Cancel", interactive=not are_free)]
