"""A tab: the form on the left, the result on the right; laid out above, wired below."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import numpy as np

from medapp import report, runtime
from medapp.card import Card, Option, Slider
from medapp.errors import Cancelled, UserError
from medapp.examples import Example, of_task
from medapp.imaging import files
from medapp.imaging.volume import Volume
from medapp.result import Result
from medapp.ui import session as sessions
from medapp.ui import words
from medapp.ui.session import Session
from medapp.ui.viewer import Viewer, jump, scene
from medapp.views import planes

GPU = {"concurrency_id": "gpu", "concurrency_limit": 1}


@dataclass(frozen=True)
class Form:
    """What a method asks for: upload boxes and series lists by input name, options by option name."""

    card: Card
    boxes: dict[str, gr.File]
    series: dict[str, gr.Dropdown]
    options: dict[str, Any]
    live: dict[str, Any]
    groups: tuple[gr.Group, ...]


def told(handler: Callable) -> Callable:
    """A handler whose UserErrors are shown to the user as they are; any other exception is a bug and looks like one."""

    @wraps(handler)
    def wrapped(*args: Any, **more: Any) -> Any:
        try:
            return handler(*args, **more)
        except UserError as error:
            raise gr.Error(str(error), duration=20, print_exception=False) from error

    return wrapped


def control(option: Option) -> gr.Slider | gr.Dropdown:
    if isinstance(option, Slider):
        return gr.Slider(option.low, option.high, option.default, step=option.step, label=option.title, info=option.about)
    return gr.Dropdown(list(option.values), value=option.default, label=option.title, info=option.about)


def build(task: ModuleType, cards: Sequence[Card]) -> None:
    """Lay out and wire the tab of one task inside the current `gr.Blocks`."""
    examples = of_task(task.__name__.rsplit(".", 1)[-1])
    name = task.TITLE.lower()

    # ---- layout: the form
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320):
            method = gr.Radio([(c.title, c.name) for c in cards], value=cards[0].name, label="Method", visible=len(cards) > 1)
            about = gr.HTML(words.about(cards[0]))
            forms = [_form(card, shown=card is cards[0]) for card in cards]
            reference = gr.File(label=task.REFERENCE, file_count="multiple", height=96, elem_id=f"{name}-reference")
            with gr.Row():
                run = gr.Button(task.RUN, variant="primary", elem_id=f"{name}-run")
                stop = gr.Button("Cancel", variant="stop", interactive=False, elem_id=f"{name}-cancel")
            gallery = _gallery(examples, name) if examples else None

        # ---- layout: the result
        with gr.Column(scale=5, min_width=360):
            status = gr.HTML(words.welcome(task), elem_id=f"{name}-status")
            with gr.Column(visible=False) as results:
                viewer = Viewer(elem_id=f"{name}-viewer", height=620)
                with gr.Group(visible=False) as fallback:
                    picture = gr.Image(format="png", label="Three planes", buttons=["download", "fullscreen"], interactive=False)
                    with gr.Row():
                        where = [gr.Slider(0, 1, 0.5, step=0.01, label=label) for label in ("Right to left", "Back to front", "Foot to head")]
                live_groups = [_live(form) for form in forms]
                with gr.Tabs():
                    with gr.Tab("Report"):
                        table = gr.Dataframe(interactive=False, buttons=["copy"], max_height=320, label="Click a row to go there", elem_id=f"{name}-table")
                        numbers = gr.HTML()
                    plots = {}
                    for caption in task.FIGURES:
                        with gr.Tab(caption):
                            plots[caption] = gr.Plot(show_label=False, format="png")
                    with gr.Tab("Files"):
                        bundle = gr.DownloadButton("Everything as one zip", interactive=False, elem_id=f"{name}-zip")
                        single = gr.File(label="Single files", file_count="multiple", interactive=False, elem_id=f"{name}-files")
                    with gr.Tab("Where this comes from"):
                        origin = gr.HTML()
    kept = gr.State(None, time_to_live=sessions.LIFETIME, delete_callback=sessions.close)

    # ---- what is shown of a session
    quick = [status, results, viewer, picture, table, numbers, origin, kept]
    slow = [*plots.values(), bundle, single]

    def show(held: Session, fresh: bool) -> dict:
        result = held.result
        held.scene += 1
        columns, rows = result.tables["lesions"].columns, result.tables["lesions"].rows
        return {
            status: words.headline(task.headline(result), result.notes),
            results: gr.Column(visible=True),
            viewer: scene(task.layers(result), held.folder / f"scene{held.scene}", mm=task.start(result) if fresh else None),
            picture: planes.three_planes(list(task.layers(result).values()), held.mm),
            table: gr.Dataframe(value=[list(r) for r in rows], headers=list(columns)),
            numbers: words.numbers(result),
            origin: words.origin(result, runtime.cards()[result.provenance.pipeline]),
            kept: held,
        }

    @told
    def draw(held: Session | None) -> dict:
        """The figures and files, after what is looked at first."""
        if held is None:
            return {}
        figures = task.figures(held.result)
        archive, paths = report.bundle(held.result, held.folder / f"files{held.scene}")
        return {
            **{plot: figures[caption]() for caption, plot in plots.items()},
            bundle: gr.DownloadButton(value=str(archive), interactive=True),
            single: [str(p) for p in paths],
        }

    # ---- wiring
    def chosen(data: dict) -> Form:
        return next(f for f in forms if f.card.name == data[method])

    def settings(form: Form, data: dict, which: dict[str, Any]) -> dict[str, Any]:
        return {n: data[c] for n, c in which.items()}

    def lists(several: files.SeveralSeries, box: gr.Dropdown) -> dict:
        choices = [(s.title, s.uid) for s in several.series]
        return {box: gr.Dropdown(choices=choices, value=choices[0][1], visible=True), status: words.asking(str(several))}

    @told
    def start(data: dict, request: gr.Request, progress: gr.Progress = gr.Progress()) -> dict:  # noqa: B008
        form = chosen(data)
        flag = sessions.begin(request.session_hash)
        try:
            volumes: list[Volume | None] = []
            for source in form.card.inputs:
                paths = data[form.boxes[source.name]]
                if not paths and not source.optional:
                    raise UserError(f"Put a {source.title} image in first, or click an example.")
                try:
                    volumes.append(files.read(paths, data[form.series[source.name]], name=source.title) if paths else None)
                except files.SeveralSeries as several:
                    return lists(several, form.series[source.name])
            truth = files.read(data[reference], name="reference") if data[reference] else None

            def step(fraction: float, stage: str) -> None:
                sessions.check(flag)
                progress(fraction, desc=stage)

            result = runtime.run(form.card.name, *volumes, progress=step, **settings(form, data, form.options))
            result = task.moved(result, truth, {**result.settings, **settings(form, data, form.live)})
        except Cancelled as word:
            gr.Info(str(word))
            return {}
        finally:
            sessions.end(request.session_hash)
        sessions.close(data[kept])
        return show(Session(result, truth, mm=task.start(result)), fresh=True)

    @told
    def move(data: dict) -> dict:
        held: Session | None = data[kept]
        if held is None:
            return {}
        form = chosen(data)
        held.result = task.moved(held.result, held.reference, {**held.result.settings, **settings(form, data, form.live)})
        return show(held, fresh=False)

    def goto(held: Session | None, event: gr.SelectData) -> tuple:
        if held is None or not held.result.tables["lesions"].rows:
            return gr.skip(), gr.skip()
        held.mm = task.table_row(held.result, event.row_value)
        return jump(held.mm), planes.three_planes(list(task.layers(held.result).values()), held.mm)

    def look(held: Session | None, *shares: float) -> np.ndarray:
        held.mm = words.along(held.result.volumes["image"].grid, shares)
        return planes.three_planes(list(task.layers(held.result).values()), held.mm)

    everything = {method, reference, kept}
    for form in forms:
        everything |= {*form.boxes.values(), *form.series.values(), *form.options.values(), *form.live.values()}
    busy = lambda: (gr.Button(interactive=False), gr.Button(interactive=True))  # noqa: E731
    idle = lambda: (gr.Button(interactive=True), gr.Button(interactive=False))  # noqa: E731
    series_boxes = [box for form in forms for box in form.series.values()]

    hidden = {"api_visibility": "private"}
    job = run.click(busy, None, [run, stop], queue=False, **hidden)
    job = job.then(start, everything, [*quick, *series_boxes], scroll_to_output=False, show_progress_on=[status], **GPU, **hidden)
    job.then(idle, None, [run, stop], queue=False, **hidden)
    job.success(draw, kept, slow, show_progress="minimal", **hidden)
    stop.click(lambda request: sessions.cancel(request.session_hash), None, None, queue=False, **hidden)

    for form in forms:
        for slider in form.live.values():
            slid = slider.input(move, everything, quick, trigger_mode="always_last", show_progress="hidden", **hidden)
            slid.then(draw, kept, slow, trigger_mode="always_last", show_progress="hidden", **hidden)
    table.select(goto, kept, [viewer, picture], show_progress="hidden", **hidden)
    viewer.nowebgl(lambda: gr.Group(visible=True), None, fallback, queue=False, **hidden)
    for slider in where:
        slider.input(look, [kept, *where], picture, trigger_mode="always_last", show_progress="hidden", **hidden)
