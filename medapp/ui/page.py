"""Page: a tab for every task that has a method, the API and the MCP tools, and how they are served.

Environment: MEDAPP_PRECOMPUTE=0 computes the result of an example at the first click on it, not ahead of that.
"""

import atexit
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from medapp.ui import workspace

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_TEMP_DIR", str(workspace.uploads_folder()))  # Gradio reads both while it is imported

import gradio as gr
from uvicorn.config import LOGGING_CONFIG

from medapp.errors import InputError, UserError
from medapp.examples import FOLDER, of_task, paths
from medapp.io import sandbox
from medapp.presenters.task import TASKS
from medapp.serving import run_log, runtime
from medapp.ui import api, gradio_compat, html, links, mcp_tools, payload, queue, theme
from medapp.ui.caller import caller_of_request
from medapp.ui.cleanup import CLEANUP_INTERVAL, CleanupThread
from medapp.ui.connections import connections
from medapp.ui.error_messages import to_gradio_error
from medapp.ui.events import AT_ONCE
from medapp.ui.example_results import compute_example
from medapp.ui.exchange import OUTCOME_KEY
from medapp.ui.gradio_compat import InvalidPathError
from medapp.ui.ownership import NOT_YOURS_MESSAGE, find_values, ownership
from medapp.ui.panels.base import Panel
from medapp.ui.panels.registration import RegistrationPanel
from medapp.ui.panels.restoration import RestorationPanel
from medapp.ui.request_checks import ANOTHERS_SESSION_MESSAGE, RequestChecker
from medapp.ui.scan_transfer import connect_transfer
from medapp.ui.security import SecurityMiddleware
from medapp.ui.session_state import MAX_SESSIONS, BoundedStateHolder
from medapp.ui.task_tab import TaskTab
from medapp.ui.uploads import resolve_upload
from medapp.ui.viewer import component
from medapp.ui.visitors import visitors
from medapp.ui.workspace import LIFETIME, results_folder, uploads_folder

HEADER_SCRIPT = (Path(__file__).parent / "header.js").read_text("utf-8")
PANELS = {"segmentation": Panel, "restoration": RestorationPanel, "registration": RegistrationPanel}
MAX_UPLOAD = "600mb"


class Page(gr.Blocks):
    """Gradio's page with a fair queue; checks every request, and forgets visitors who have left."""

    _queue: queue.FairQueue
    tasks: tuple[str, ...] = ()  # of the tabs, in their order

    def queue(self, *args: Any, **more: Any) -> "Page":
        """Set up the queue, see `gr.Blocks.queue`; nothing is computed outside of it."""
        super().queue(*args, api_open=False, **more)
        self._queue = queue.FairQueue(self)
        return self

    def has_live_session(self, session: str) -> bool:
        """Whether the session's page is open, has a result, or has an event in the queue."""
        return connections.is_open(session) or visitors.has_session(session) or self._queue.is_busy(session)

    def leave(self, request: gr.Request) -> None:
        """Cancel the visitor's run, and forget them unless they come back within seconds."""
        visitors.cancel(request.session_hash)
        connections.call_after_grace(request.session_hash, self.forget)

    def forget(self, session: str) -> None:
        """Remove the session's uploads and results, and Gradio's state of it, which takes a megabyte or more."""
        visitors.leave(session)
        ownership.leave(session)
        self.state_holder.session_data.pop(session, None)
        self.state_holder.time_last_used.pop(session, None)

    def erase(self, request: gr.Request) -> None:
        """Remove at once all that is kept of a visitor, in whichever tab of their browser."""
        for session in {*ownership.list_sessions(caller_of_request(request)), request.session_hash}:
            self.forget(session)

    async def process_api(
        self,
        block_fn: Any,
        inputs: Any,
        *args: Any,
        request: Any = None,
        session_hash: str | None = None,
        event_id: str | None = None,
        event_data: Any = None,
        **more: Any,
    ) -> Any:
        """Run an event, endpoint or tool, see `gr.Blocks.process_api`; its files must belong to the caller.

        Raises nothing but gr.Error: Gradio would log any other exception with what was sent, names of files included.
        """
        first_request = request[0] if isinstance(request, list) else request
        caller = caller_of_request(first_request)
        session = None if session_hash == event_id else session_hash
        fn = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        selection = getattr(event_data, "_data", None)
        try:
            if session and not ownership.enter(session, caller):
                raise InputError(ANOTHERS_SESSION_MESSAGE)
            if more.get("iterator") is None:
                payload.check_values(fn, self.blocks, inputs, selection)
                payload.check_files((inputs, selection), caller, session)
            answer = await super().process_api(
                fn,
                inputs,
                *args,
                request=request,
                session_hash=session_hash,
                event_id=event_id,
                event_data=event_data,
                **more,
            )
        except gr.Error as error:
            error.print_exception = False
            if not getattr(error, "ours", False):
                _mark_refused(first_request)
            raise
        except InvalidPathError as error:
            _mark_refused(first_request)
            raise gr.Error(NOT_YOURS_MESSAGE, print_exception=False) from error
        except Exception as error:
            if isinstance(error, UserError):
                _mark_refused(first_request)
            raise to_gradio_error(error) from error
        for path in find_values(answer["data"]):
            if isinstance(path, str):
                ownership.give(path, caller, session)
        return answer

    async def preprocess_data(self, block_fn: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        """Convert the values, see `gr.Blocks`. Raises MalformedRequestError if Gradio's components cannot."""
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **more)
        except (gr.Error, InvalidPathError):
            raise
        except Exception as error:
            raise payload.MalformedRequestError("a value is not of the kind that belongs there") from error


def _mark_refused(request: Any) -> None:
    """Note for the answer's status that the error was the caller's."""
    scope = getattr(getattr(request, "request", None) or request, "scope", {})
    scope.get(OUTCOME_KEY, {})["refused"] = True


@asynccontextmanager
async def install_middleware(app: Any) -> AsyncIterator[None]:
    """Install the state holder and the security middleware; for `launch(app_kwargs={"lifespan": ...})`."""
    page = app.get_blocks()
    ownership.publish(path for path in find_values(page.config) if isinstance(path, str))
    holder = BoundedStateHolder(page, page.has_live_session)
    gradio_compat.install_in_app(app, holder, lambda inner: SecurityMiddleware(inner, RequestChecker(page)))
    yield


def build_page() -> Page:
    """Lay out and wire the whole page; weights are loaded at the first run."""
    cards = list(runtime.load_cards().values())
    gradio_compat.replace_downloads(resolve_upload)
    mcp_tools.replace_mcp_server()
    gr.set_static_paths([FOLDER])  # served from where they are, see `example_inputs`
    ownership.publish(paths())
    with Page(
        title="medapp",
        delete_cache=(CLEANUP_INTERVAL, LIFETIME),
        analytics_enabled=False,
        fill_width=True,
        fill_height=True,
    ) as demo:
        head = gr.HTML(html.render_header(), js_on_load=HEADER_SCRIPT, elem_id="page-head")
        tabs: list[TaskTab] = []
        with gr.Tabs(overflow_behavior="wrap", elem_id="page-tabs") as switch:
            for name, task in TASKS.items():
                own = [card for card in cards if card.task == name]
                if own:  # a task without a method is not offered
                    demo.tasks += (name,)
                    with gr.Tab(task.title, id=name):
                        tab = TaskTab(task, name, own, PANELS[name])
                    tab.draw_rest(
                        demo.load(tab.show_at_first, None, tab.first_shown, show_progress="hidden", **AT_ONCE)
                    )
                    tabs.append(tab)
        connect_transfer(tabs, switch)
        erased = head.erase(demo.erase, None, None, show_progress="hidden", **AT_ONCE)
        erased.success(None, js="() => window.location.reload()", **AT_ONCE)
        for card in cards:
            api.add_endpoint(card)
        demo.unload(demo.leave)
    return demo


def compute_examples() -> None:
    """Compute the examples' results ahead of the first click; an error is displayed at the click."""
    for name in TASKS:
        for example in of_task(name):
            with suppress(UserError, OSError):
                compute_example(example)


def exit_process() -> NoReturn:
    """Clean up and end this process, although networks may compute in other threads, which would abort `sys.exit`.

    Further signals do not interrupt the cleaning up.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


def launch_page(demo: Page, **options: object) -> NoReturn:
    """Serve the page, its API and its MCP tools until the process is terminated or interrupted, then exit.

    Keeps no history and sends nothing anywhere.
    """
    run_log.capture_output()
    LOGGING_CONFIG["loggers"] = {}  # uvicorn's, which have a format of their own
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # `hosts.TrustedProxies` decides
    if name := options.get("server_name"):
        os.environ["GRADIO_SERVER_NAME"] = str(name)
    with suppress(KeyboardInterrupt):  # while Gradio starts, too
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a background script ignores SIGINT itself
        threading.Thread(target=sandbox.start, daemon=True).start()
        CleanupThread(results_folder(), uploads_folder()).start()  # Gradio does not remove unfinished uploads
        runtime.serve_page()
        if not runtime.spaces and os.environ.get("MEDAPP_PRECOMPUTE") != "0":  # ZeroGPU computes on request only
            threading.Thread(target=compute_examples, daemon=True).start()
        demo.launch(
            **{
                "theme": theme.create_theme(),
                "head": theme.render_head() + component.render_head() + links.render_head(demo.tasks),
                "max_file_size": MAX_UPLOAD,
                "state_session_capacity": MAX_SESSIONS,
                "mcp_server": True,
                "run_history": False,
                "enable_monitoring": False,
                "footer_links": ["api"],
                "strict_cors": True,
                "ssr_mode": False,  # Node's server would stand outside the security middleware
                "app_kwargs": {"lifespan": install_middleware},
                "_frontend": False,  # Gradio would give up if the first page took over three seconds
                **options,
            }
        )
    exit_process()
