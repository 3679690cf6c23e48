"""The page: a tab for every task that has a method, and how it is launched."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

from medapp.ui import workspace

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_TEMP_DIR", str(workspace.uploads_folder()))  # Gradio looks at both while it is imported

import gradio as gr
from gradio.exceptions import InvalidPathError
from uvicorn.config import LOGGING_CONFIG

from medapp.errors import InputError, UserError
from medapp.examples import FOLDER, of_task, paths
from medapp.io import sandbox
from medapp.presenters.task import TASKS
from medapp.serving import run_log, runtime
from medapp.ui import api, caller, gradio_compat, html, mcp_tools, payload, queue, theme
from medapp.ui.cleanup import CLEANUP_INTERVAL, CleanupThread
from medapp.ui.connections import connections
from medapp.ui.error_messages import to_gradio_error
from medapp.ui.example_results import compute_example
from medapp.ui.ownership import NOT_YOURS_MESSAGE, find_values, ownership
from medapp.ui.panels.base import Frame, Panel
from medapp.ui.panels.registration import lay_out_registration
from medapp.ui.panels.restoration import lay_out_restoration
from medapp.ui.panels.segmentation import lay_out_segmentation
from medapp.ui.request_checks import ANOTHERS_SESSION_MESSAGE, RequestChecker
from medapp.ui.security import OUTCOME_KEY, SecurityMiddleware
from medapp.ui.session import visitors
from medapp.ui.session_state import MAX_SESSIONS, BoundedStateHolder
from medapp.ui.task_tab import TaskTab
from medapp.ui.viewer import component
from medapp.ui.workspace import LIFETIME, results_folder, uploads_folder

PANELS: dict[str, Callable[[Frame], Panel]] = {
    "segmentation": lay_out_segmentation,
    "restoration": lay_out_restoration,
    "registration": lay_out_registration,
}
MAX_UPLOAD = "600mb"


class Page(gr.Blocks):
    """Gradio's with our queue; forgets who has left, and tells in our way of requests that are none of its page's."""

    _queue: queue.FairQueue

    def queue(self, *args: Any, **more: Any) -> "Page":
        """See `gr.Blocks`; only the queue computes, and it is ours."""
        super().queue(*args, api_open=False, **more)
        self._queue = queue.FairQueue(self)
        return self

    def has_live_session(self, session: str) -> bool:
        """Whether the session's page is open, something is kept for it, or it waits for something."""
        return connections.is_open(session) or visitors.has_session(session) or self._queue.is_busy(session)

    def leave(self, request: gr.Request) -> None:
        """Stop what the visitor has running, and forget them unless they come back at once."""
        visitors.cancel(request.session_hash)
        connections.call_after_grace(request.session_hash, self.forget)

    def forget(self, session: str) -> None:
        """Remove what was uploaded or made in a session, and what Gradio keeps of it: a megabyte or more."""
        visitors.leave(session)
        ownership.leave(session)
        self.state_holder.session_data.pop(session, None)
        self.state_holder.time_last_used.pop(session, None)

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
        """All events, endpoints and tools come through here: nobody has a file read that is not theirs.

        Raises gr.Error whatever happens: Gradio would print all others with what was sent, names of files too.
        """
        asked = request[0] if isinstance(request, list) else request
        who, session = caller.caller_of_request(asked), None if session_hash == event_id else session_hash
        fn = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        said = getattr(event_data, "_data", None)
        try:
            if session and not ownership.enter(session, who):
                raise InputError(ANOTHERS_SESSION_MESSAGE)
            if more.get("iterator") is None:
                payload.check_values(fn, self.blocks, inputs, said)
                payload.check_files((inputs, said), who, session)
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
                _mark_refused(asked)
            raise
        except InvalidPathError as error:
            _mark_refused(asked)
            raise gr.Error(NOT_YOURS_MESSAGE, print_exception=False) from error
        except Exception as error:
            if isinstance(error, UserError):
                _mark_refused(asked)
            raise to_gradio_error(error) from error
        for path in find_values(answer["data"]):
            if isinstance(path, str):
                ownership.give(path, who, session)
        return answer

    async def preprocess_data(self, block_fn: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        """Raises Malformed for values of which Gradio's components can make nothing."""
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **more)
        except (gr.Error, InvalidPathError):
            raise
        except Exception as error:
            raise payload.MalformedRequest("a value is not of the kind that belongs there") from error


def _mark_refused(request: Any) -> None:
    """Make known to the guard that it was the caller's fault."""
    scope = getattr(getattr(request, "request", None) or request, "scope", {})
    scope.get(OUTCOME_KEY, {})["refused"] = True


@asynccontextmanager
async def install_middleware(app: Any) -> AsyncIterator[None]:
    """For `launch(app_kwargs={"lifespan": guarded})`: the guard outside all of Gradio's own middleware.

    One that is handed to FastAPI would stand inside Gradio's, which lets pages of any site read answers.
    """
    page = app.get_blocks()
    app.state_holder = BoundedStateHolder(page, page.has_live_session)
    ownership.publish(path for path in find_values(page.config) if isinstance(path, str))
    app.middleware_stack = SecurityMiddleware(app.middleware_stack, RequestChecker(page))
    yield


def build_page() -> Page:
    """Lay out and wire the whole page; loads no weights."""
    cards = list(runtime.load_cards().values())
    gradio_compat.disable_downloads()
    mcp_tools.replace_mcp_server()
    gr.set_static_paths([FOLDER])  # handed out where they lie, see `example_inputs`
    ownership.publish(paths())
    with Page(
        title="medapp", delete_cache=(CLEANUP_INTERVAL, LIFETIME), analytics_enabled=False, fill_width=True
    ) as demo:
        gr.HTML(html.render_header())
        gr.HTML(html.render_banner())
        with gr.Tabs():
            for name, task in TASKS.items():
                own = [card for card in cards if card.task == name]
                if own:  # a task without a method is not offered
                    with gr.Tab(task.title, id=name):
                        TaskTab(task, name, own, PANELS[name])
        for card in cards:
            api.add_endpoint(card)
        demo.unload(demo.leave)
    return demo


def compute_examples() -> None:
    """Compute the examples' results, so that the first visitor's click does not wait; a failure shows at the click."""
    for name in TASKS:
        for example in of_task(name):
            with suppress(UserError):
                compute_example(example)


def exit_process() -> NoReturn:
    """End this process, tidied up, whatever networks still compute in other threads: these abort an ordinary exit.

    Who tells it twice does not break off the tidying up.
    """
    for told in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told, signal.SIG_IGN)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


def launch_page(demo: Page, **options: object) -> NoReturn:
    """Serve the page, its API and its MCP tools; keeps no history and sends nothing anywhere.

    Ends the process, as tidily when it is told to terminate, as containers are, as when it is interrupted from the
    keyboard.
    """
    run_log.capture_output()
    LOGGING_CONFIG["loggers"] = {}  # uvicorn's, which would write in its own way
    os.environ["FORWARDED_ALLOW_IPS"] = ""  # which proxies are trusted is the guard's to know
    if name := options.get("server_name"):
        os.environ["GRADIO_SERVER_NAME"] = str(name)
    with suppress(KeyboardInterrupt):  # while Gradio starts, too
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGINT itself is ignored in a script's background
        threading.Thread(target=sandbox.start, daemon=True).start()
        CleanupThread(results_folder(), uploads_folder()).start()  # Gradio does not remove unfinished uploads
        if not runtime.spaces:  # on ZeroGPU nothing computes unasked
            threading.Thread(target=compute_examples, daemon=True).start()
        demo.launch(
            **{
                "theme": theme.create_theme(),
                "css": theme.CSS,
                "head": component.render_prefetch_link(),
                "max_file_size": MAX_UPLOAD,
                "state_session_capacity": MAX_SESSIONS,
                "mcp_server": True,
                "run_history": False,
                "enable_monitoring": False,
                "footer_links": ["api"],
                "strict_cors": True,
                "ssr_mode": False,  # the guard stands before everything, and Node's server would stand before the guard
                "app_kwargs": {"lifespan": install_middleware},
                "_frontend": False,  # or a machine that takes three seconds for its first page would not start
                **options,
            }
        )
    exit_process()
