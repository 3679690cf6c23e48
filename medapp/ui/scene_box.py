"""Scene box: where a saved scene is opened, and the files that the menu "Share" of the stage asks for."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from medapp.errors import InputError
from medapp.presenters import get_presenter
from medapp.presenters.task import TASKS
from medapp.serving import run_log, runtime
from medapp.ui import html, niivue_document, scene_files, scene_reader
from medapp.ui.error_messages import keep_failure, report_errors
from medapp.ui.events import AT_ONCE, HIDDEN, PRIVATE
from medapp.ui.scene_record import DAMAGED_MESSAGE
from medapp.ui.session import Session
from medapp.ui.tab import Tab
from medapp.ui.viewer.view_state import parse_view_state
from medapp.ui.visitors import visitors

HELP = "A file that was saved by “Share” opens as it was shown. Nothing is computed again."
NOTHING_MESSAGE = "There is no result to save yet."
OTHER_TAB_MESSAGE = "This scene is of the tab {}. Open it there."


@dataclass(frozen=True)
class SceneBox:
    """The components: the upload box of a scene, that of its image if it has none, and what was saved last, unseen."""

    scene: gr.File
    image: gr.File
    saved: gr.File

    def connect(self, tab: Tab) -> None:
        """Open what is put into the box, and save what the stage asks for."""
        self._connect_opening(tab)
        self._connect_saving(tab)

    def _connect_opening(self, tab: Tab) -> None:
        @report_errors
        def open_scene(data: dict, request: gr.Request) -> dict:
            if not data[self.scene]:
                return {self.scene: gr.skip()}
            visitors.check_space(request.session_hash)
            try:
                session = scene_reader.open_scene_file(Path(data[self.scene]), data[self.image] or ())
            except scene_reader.ImageNeededError as question:
                gr.Info(str(question), duration=20)
                return {self.image: gr.File(visible=True, label=f"Its image: {question.image}")}
            try:
                return show_opened(tab, session, request) | {self.scene: None, self.image: gr.File(None, visible=False)}
            except BaseException:
                session.close()
                raise

        outputs = [*tab.shown, *tab.method_outputs, self.scene, self.image]
        for box in (self.scene, self.image):
            opened = box.upload(
                keep_failure(open_scene),
                {self.scene, self.image},
                outputs,
                show_progress_on=[tab.stage.progress],
                trigger_mode="multiple",
                **PRIVATE,
            )
            tab.tell_failure(opened)
            fold = f"(scene) => {{ if (!scene) window.medappPage.fold('{tab.name}') }}"
            opened.success(None, self.scene, None, js=fold, **AT_ONCE)
            tab.draw_rest(opened)
        self.scene.clear(lambda: gr.File(None, visible=False), None, self.image, **AT_ONCE)

    def _connect_saving(self, tab: Tab) -> None:
        def connect(event: Any, write: Callable[[Session, Path, dict], Path]) -> None:
            @report_errors
            def save(
                session: Session | None,
                asked: gr.EventData,
                request: gr.Request,
                progress: gr.Progress = gr.Progress(),  # noqa: B008
            ) -> tuple[Session, str]:
                session = session or tab.open_first_view(request, progress)
                if session is None:
                    raise InputError(NOTHING_MESSAGE)
                visitors.check_space(request.session_hash)
                with session.lock:
                    session.check_open()
                    return session, str(write(session, _new_folder(session), asked._data or {}))

            saved = event(save, tab.kept, [tab.kept, self.saved], trigger_mode="multiple", **HIDDEN)
            deliver = f"(file) => window.medapp.stages['{tab.name}'].share.deliver(file)"
            saved.success(None, self.saved, None, js=deliver, **AT_ONCE)
            saved.failure(None, js=f"() => window.medapp.stages['{tab.name}'].share.deliver(null)", **AT_ONCE)

        connect(tab.stage.viewer.save_scene, write_scene)
        connect(tab.stage.viewer.save_document, write_document)


def lay_out_scene_box(name: str) -> SceneBox:
    """The boxes inside the current column; `name` begins their ids."""
    with gr.Accordion("Open a saved scene", open=False, elem_id=f"{name}-scenes"):
        gr.HTML(html.render_help(HELP))
        scene = gr.File(label="Scene file", file_count="single", height=96, elem_id=f"{name}-scene")
        image = gr.File(
            label="Its image", file_count="multiple", height=96, visible=False, elem_id=f"{name}-scene-image"
        )
    return SceneBox(scene, image, gr.File(visible="hidden", elem_id=f"{name}-saved-scene"))


def show_opened(tab: Tab, session: Session, request: gr.Request) -> dict:
    """The opened session in place of the visitor's present one, by component.

    Raises InputError for one that belongs to another tab, or whose parts do not go together.
    """
    card = runtime.find_card_of(session.result)
    if card.name not in tab.by_name:
        raise InputError(OTHER_TAB_MESSAGE.format(f"“{TASKS[card.task].title}”"))
    try:
        updates = tab.show(session, is_new=True) | tab.show_method(card.name, session.result.settings)
    except InputError:
        raise
    except Exception as error:  # whatever a presenter makes of volumes that do not go together
        run_log.log_fault(error)
        raise InputError(DAMAGED_MESSAGE) from error
    tab.keep(request.session_hash, session)
    return updates


def write_scene(session: Session, folder: Path, asked: dict) -> Path:
    """Write the session as a scene file, as a browser has `asked`: with which `state`, and whether `with_image`."""
    path = folder / f"{_name_files(session)}{scene_files.SUFFIX}"
    state = parse_view_state(asked.get("state"))
    return scene_files.write_scene_file(session, path, state, with_image=asked.get("with_image") is not False)


def write_document(session: Session, folder: Path, asked: dict) -> Path:
    """Write the session as a NiiVue document, with the crosshair where the browser's `state` says."""
    state = parse_view_state(asked.get("state"))
    card = runtime.find_card_of(session.result)
    mm = session.mm if state.mm is None else state.mm
    path = folder / f"{_name_files(session)}{niivue_document.SUFFIX}"
    return niivue_document.write_document(session.result, get_presenter(card), mm, card.title, path)


def _name_files(session: Session) -> str:
    """How the files of a session are called: by the example or by the method, never by what was uploaded."""
    return session.example.name if session.example else runtime.find_card_of(session.result).name


def _new_folder(session: Session) -> Path:
    """An empty folder of the session's; that of the file before is removed."""
    for old in session.folder.glob("shared-*"):
        shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix="shared-", dir=session.folder))
