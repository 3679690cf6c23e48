"""A tab: the form on the left, the result on the right; laid out above, wired below."""

import zipfile
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np

from medapp import report, runtime
from medapp.card import Card
from medapp.errors import Cancelled, UserError
from medapp.examples import Example, of_task
from medapp.imaging import files
from medapp.result import Result
from medapp.ui import form as forms
from medapp.ui import session as sessions
from medapp.ui import words
from medapp.ui.scene import scene
from medapp.ui.session import Session, visitors
from medapp.ui.viewer import Viewer, jump
from medapp.views import planes

GPU: dict[str, Any] = {"concurrency_id": "gpu", "concurrency_limit": 1}  # one queue for all that computes
PRIVATE: dict[str, Any] = {"api_visibility": "private"}
AXES = ("Right to left", "Back to front", "Foot to head")


def told(handler: Callable) -> Callable:
    """A handler whose UserErrors are shown to the user as they are; any other exception is a bug and looks like one."""

    @wraps(handler)
    def wrapped(*args: Any, **more: Any) -> Any:
        try:
            return handler(*args, **more)
        except UserError as error:
            raise gr.Error(str(error), duration=20, print_exception=False) from error

    return wrapped


@lru_cache(maxsize=8)
def example_result(card: Card, example: Example) -> Result:
    """What the method makes of an example; computed once for all visitors, since nobody's data are in it."""
    volumes = example.volumes({source.name: source.title for source in card.inputs})
    return runtime.run(card.name, *volumes)


def build(task: ModuleType, name: str, cards: Sequence[Card]) -> None:
    """Lay out and wire the tab of one task inside the current `gr.Blocks`; `name` begins the components' ids."""
    examples = [e for e in of_task(name) if any(e.pipeline == card.name for card in cards)]

    # ---- the form
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            method = gr.Radio(
                [(c.title, c.name) for c in cards], value=cards[0].name, label="Method", visible=len(cards) > 1
            )
            asked: dict[str, tuple[dict, dict, dict]] = {}
            groups: dict[str, gr.Group] = {}
            for card in cards:
                with gr.Column(visible=card is cards[0]) as groups[card.name]:
                    gr.HTML(words.about(card))
                    asked[card.name] = forms.uploads(card)
            with gr.Accordion(task.REFERENCE, open=False):
                reference = forms.upload("Reference", f"{name}-reference")
            with gr.Row():
                run = gr.Button(task.RUN, variant="primary", elem_id=f"{name}-run")
                stop = gr.Button("Cancel", variant="stop", interactive=False, elem_id=f"{name}-cancel")
            gr.HTML('<p class="med-small"><b>Examples</b>: click one to see its result</p>', visible=bool(examples))
            gallery = gr.Gallery(
                [(forms.thumbnail(e), e.title) for e in examples],
                show_label=False,
                visible=bool(examples),
                columns=3,
                height=170,
                allow_preview=False,
                interactive=False,
                format="png",
                buttons=[],
                elem_id=f"{name}-examples",
            )

        # ---- the result
        with gr.Column(scale=5, min_width=360):
            status = gr.HTML(words.welcome(task), elem_id=f"{name}-status")
            with gr.Column(visible=False) as results:
                viewer = Viewer(elem_id=f"{name}-viewer", height=620)
                with gr.Group(visible=False) as fallback:
                    picture = gr.Image(
                        format="png", label="Three planes", buttons=["download", "fullscreen"], interactive=False
                    )
                    with gr.Row():
                        where = [gr.Slider(0, 1, 0.5, step=0.005, label=label) for label in AXES]
                live: dict[str, dict[str, Any]] = {}
                live_groups: dict[str, gr.Row] = {}
                for card in cards:
                    with gr.Row(visible=card is cards[0], elem_id=f"{card.name}-live") as live_groups[card.name]:
                        live[card.name] = {o.name: forms.knob(o) for o in card.options if o.live}
                with gr.Tabs():
                    with gr.Tab("Report"):
                        table = gr.Dataframe(
                            interactive=False,
                            buttons=["copy"],
                            max_height=320,
                            label="Lesions: click a row to go there",
                            elem_id=f"{name}-table",
                        )
                        numbers = gr.HTML(elem_id=f"{name}-numbers")
                    plots = {}
                    for caption in task.FIGURES:
                        with gr.Tab(caption):
                            plots[caption] = gr.Plot(show_label=False, format="png")
                    with gr.Tab("Files"):
                        bundle = gr.DownloadButton("Everything as one zip", interactive=False, elem_id=f"{name}-zip")
                        single = gr.File(
                            label="Single files", file_count="multiple", interactive=False, elem_id=f"{name}-files"
                        )
                    with gr.Tab("Where this comes from"):
                        origin = gr.HTML()
    kept = gr.State(None, time_to_live=sessions.LIFETIME, delete_callback=sessions.close)

    # ---- what is shown of a session
    by_name = {card.name: forms.Form(card, *asked[card.name], live[card.name]) for card in cards}
    quick = [status, results, viewer, picture, table, numbers, origin, kept]
    slow = [*plots.values(), bundle, single]

    def form_of(result: Result) -> forms.Form:
        return by_name[result.facts()["pipeline"]]

    def show(held: Session, fresh: bool) -> dict:
        result, layers = held.result, task.layers(held.result)
        held.shown += 1
        lesions = result.tables["lesions"]
        return {
            status: words.headline(task.headline(result), result.notes),
            results: gr.Column(visible=True),
            viewer: scene(layers, held.folder, mm=held.mm if fresh else None),
            picture: planes.three_planes(list(layers.values()), held.mm),
            table: gr.Dataframe(value=[list(row) for row in lesions.rows], headers=list(lesions.columns)),
            numbers: words.numbers(result),
            origin: words.origin(result, form_of(result).card),
            kept: held,
        }

    def draw(held: Session | None) -> dict:
        """The figures and files, after what is looked at first."""
        if held is None:
            return {plot: gr.skip() for plot in plots.values()}
        card, figures = form_of(held.result).card, task.figures(held.result)
        folder = held.folder / f"files{held.shown}"
        archive = report.bundle(held.result, folder / f"{card.name}.zip", card.title, words.facts(card))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        return {
            **{plot: figures[caption]() for caption, plot in plots.items()},
            bundle: gr.DownloadButton(value=str(archive), interactive=True),
            single: [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and path != archive],
        }

    # ---- what happens
    @told
    def start(data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
        form = by_name[data[method]]
        flag = visitors.begin(request.session_hash)

        def step(fraction: float, stage: str) -> None:
            sessions.check(flag)
            progress(fraction, desc=stage)

        try:
            step(0.0, "Reading the files")
            volumes = form.volumes(data)
            truth = files.read(data[reference], name="reference") if data[reference] else None
            result = runtime.run(
                form.card.name, *volumes, progress=step, **{n: data[k] for n, k in form.options.items()}
            )
            result = task.moved(result, truth, dict(result.settings) | {n: data[k] for n, k in form.live.items()})
        except forms.WhichSeries as which:
            choices = [(series.title, series.uid) for series in which.several.series]
            return {
                which.box: gr.Dropdown(choices=choices, value=choices[0][1], visible=True),
                status: words.asking(f"{which} Choose it on the left and press {task.RUN} again."),
            }
        except Cancelled as word:
            gr.Info(str(word))
            return {status: gr.skip()}
        return show(visitors.keep(request.session_hash, Session(result, task.start(result), truth)), fresh=True)

    def halt(request: gr.Request) -> None:
        visitors.cancel(request.session_hash)

    @told
    def pick(data: dict, event: gr.SelectData, request: gr.Request) -> dict:
        example = examples[event.index]
        form = by_name[example.pipeline]
        result, truth = example_result(form.card, example), example.truth()
        result = task.moved(result, truth, form.card.settings({}))
        result = words.noted(result, example)
        held = visitors.keep(request.session_hash, Session(result, task.start(result), truth))
        shown = show(held, fresh=True)
        shown |= {box: [str(example.images[n])] if n in example.images else None for n, box in form.boxes.items()}
        shown |= {knob: form.card.settings({})[n] for n, knob in (form.options | form.live).items()}
        return shown | {method: form.card.name, reference: [str(example.reference)] if example.reference else None}

    @told
    def move(data: dict) -> dict:
        held: Session | None = data[kept]
        if held is None:
            return {status: gr.skip()}
        knobs = form_of(held.result).live
        held.result = task.moved(
            held.result, held.reference, dict(held.result.settings) | {n: data[k] for n, k in knobs.items()}
        )
        return show(held, fresh=False)

    def go(held: Session | None, event: gr.SelectData) -> tuple:
        if held is None or not held.result.tables["lesions"].rows:
            return gr.skip(), gr.skip()
        held.mm = task.place(held.result, event.row_value)
        return jump(held.mm), planes.three_planes(list(task.layers(held.result).values()), held.mm)

    def look(held: Session | None, *shares: float) -> np.ndarray:
        if held is None:
            return gr.skip()
        held.mm = words.along(held.result.volumes["image"].grid, shares)
        return planes.three_planes(list(task.layers(held.result).values()), held.mm)

    def choose(chosen: str) -> dict:
        return {group: gr.update(visible=n == chosen) for each in (groups, live_groups) for n, group in each.items()}

    # ---- wiring
    everything = {method, reference, kept}.union(*(form.components() for form in by_name.values()))
    lists = [box for form in by_name.values() for box in form.series.values()]
    boxes = [box for form in by_name.values() for box in form.boxes.values()]
    knobs = [knob for form in by_name.values() for knob in (form.options | form.live).values()]

    def busy() -> tuple:
        return gr.Button(interactive=False), gr.Button(interactive=True)

    def idle() -> tuple:
        return gr.Button(interactive=True), gr.Button(interactive=False)

    def follow(first: Any, job: Callable, inputs: set, outputs: list) -> None:
        """After `first`, do the job in the queue, free the buttons whatever came of it, then draw the rest."""
        done = first.then(job, inputs, outputs, show_progress_on=[status], **GPU, **PRIVATE)
        done.then(idle, None, [run, stop], queue=False, **PRIVATE)
        done.success(draw, kept, slow, show_progress="minimal", **PRIVATE)

    follow(run.click(busy, None, [run, stop], queue=False, **PRIVATE), start, everything, [*quick, *lists])
    done = gallery.select(
        pick, everything, [*quick, *boxes, *knobs, method, reference], show_progress_on=[status], **GPU, **PRIVATE
    )
    done.success(draw, kept, slow, show_progress="minimal", **PRIVATE)
    stop.click(halt, None, None, queue=False, **PRIVATE)
    method.change(choose, method, [*groups.values(), *live_groups.values()], queue=False, **PRIVATE)
    for form in by_name.values():
        for knob in form.live.values():
            moved = knob.input(move, everything, quick, trigger_mode="always_last", show_progress="hidden", **PRIVATE)
            moved.then(draw, kept, slow, trigger_mode="always_last", show_progress="hidden", **PRIVATE)
    table.select(go, kept, [viewer, picture], show_progress="hidden", **PRIVATE)
    viewer.nowebgl(lambda: gr.Group(visible=True), None, fallback, queue=False, **PRIVATE)
    for slider in where:
        slider.input(look, [kept, *where], picture, trigger_mode="always_last", show_progress="hidden", **PRIVATE)
