"""Result tabs: charts, files and provenance of a result, drawn after what is looked at first."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.errors import InputError
from medapp.presenters import get_presenter
from medapp.presenters.derivative_names import clean_label
from medapp.presenters.derivatives import pack_derivatives
from medapp.presenters.report import describe_method, save_with_report
from medapp.serving import run_log, runtime
from medapp.ui import html
from medapp.ui.events import AT_ONCE
from medapp.ui.session import Session

RESIZE = "() => setTimeout(() => window.dispatchEvent(new Event('resize')))"  # charts drawn out of sight
MAX_LABEL_LENGTH = 32
KEPT_DRAWINGS = 2  # folders with files: the browser may still fetch those of the last but one


@dataclass(frozen=True)
class ResultTabs:
    """The components: charts by title, each in a group with its heading, files, provenance."""

    chart_groups: dict[str, gr.Column]
    charts: dict[str, gr.Plot]
    archive: gr.DownloadButton
    label: gr.Textbox
    files: gr.File
    provenance: gr.HTML

    @property
    def downloads(self) -> list[Any]:
        """What `name_files` fills."""
        return [self.archive, self.label, self.files]

    @property
    def drawn(self) -> list[Any]:
        """What `draw` fills."""
        return [*self.charts.values(), *self.downloads]

    def show(self, card: Card) -> dict:
        """The charts that the method has, without those of the others, by component."""
        titles = get_presenter(card).chart_titles
        return {group: gr.Column(visible=title in titles) for title, group in self.chart_groups.items()}

    def draw(self, session: Session | None) -> dict:
        """The charts and files, by component; one that fails costs the others nothing.

        Nothing of a result that has made way for another.
        """
        nothing = {component: gr.skip() for component in self.drawn}
        try:
            return self._draw(session) if session is not None and session.folder.exists() else nothing
        except (OSError, InputError):
            if session is not None and session.folder.exists():
                raise
            return nothing

    def draw_once(self, session: Session | None) -> dict:
        """The charts and files of a first view whose session has just been opened."""
        if session is None or session.written is not None or session.shown:
            return {component: gr.skip() for component in self.drawn}
        return self.draw(session)

    def _draw(self, session: Session) -> dict:
        charts = get_presenter(runtime.find_card_of(session.result)).charts(session.result)
        drawn = {plot: try_to_draw(charts.get(title, lambda: None), None) for title, plot in self.charts.items()}
        return {**drawn, **self._show_files(session)}

    def name_files(self, label: str, session: Session | None) -> dict:
        """The zip with names by BIDS for a person's label, or with our own names for an empty one, by component."""
        label = clean_label(label or "", "sub")
        if session is None or not session.folder.exists() or label == session.label:
            return {component: gr.skip() for component in self.downloads}
        session.label = label
        return self._show_files(session)

    def _show_files(self, session: Session) -> dict:
        archive, files = _write_files(session)
        return {
            self.archive: gr.DownloadButton(value=str(archive), interactive=True),
            self.label: session.label,
            self.files: [str(path) for path in files],
        }


def lay_out_result_tabs(name: str, chart_titles: Sequence[str]) -> ResultTabs:
    """The last tabs, inside the current ones; `name` begins the components' ids."""
    chart_groups: dict[str, gr.Column] = {}
    charts: dict[str, gr.Plot] = {}
    with gr.Tab("Charts") as tab:
        for title in chart_titles:
            with gr.Column() as chart_groups[title]:
                gr.HTML(html.render_chart_title(title))
                charts[title] = gr.Plot(show_label=False, format="png")
    tab.select(None, None, None, js=RESIZE, **AT_ONCE)
    with gr.Tab("Files"):
        archive = gr.DownloadButton("Everything as one zip", interactive=False, elem_id=f"{name}-zip")
        label = gr.Textbox(
            label="Label of the person in BIDS",
            info="Names the files of the zip as BIDS derivatives, for example 01. Leave it empty for plain names.",
            max_length=MAX_LABEL_LENGTH,
            elem_id=f"{name}-label",
        )
        files = gr.File(label="Single files", file_count="multiple", interactive=False, elem_id=f"{name}-files")
    with gr.Tab("Provenance"):
        provenance = gr.HTML()
    return ResultTabs(chart_groups, charts, archive, label, files, provenance)


def try_to_draw(draw: Callable[[], Any], otherwise: Any) -> Any:
    """What `draw` gives, or `otherwise` where it fails, which goes to the log."""
    try:
        return draw()
    except Exception as error:
        run_log.log_fault(error)
        gr.Warning("One of the charts could not be drawn; the files are complete.", duration=20)
        return otherwise


def _write_files(session: Session) -> tuple[Path, list[Path]]:
    """The zip, and the files that are offered alone; only what has changed since the last time is written anew."""
    result, card = session.result, runtime.find_card_of(session.result)
    folder = Path(tempfile.mkdtemp(prefix=f"files{session.shown}-", dir=session.folder))  # two may draw at once
    saved = save_with_report(
        result, get_presenter(card), folder, card.title, describe_method(card), earlier=session.written
    )
    session.written = saved.written
    for note in saved.notes:
        gr.Warning(note, duration=20)
    for old in sorted(session.folder.glob("files*-*"), key=lambda path: path.stat().st_mtime)[:-KEPT_DRAWINGS]:
        shutil.rmtree(old, ignore_errors=True)
    archive = saved.archive
    if session.label:
        archive = pack_derivatives(saved, get_presenter(card), card, session.label, folder / f"{archive.stem}_bids.zip")
    return archive, sorted(path for path in saved.files if path.is_file())
