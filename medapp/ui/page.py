"""The page: a tab for every task that has a method, and how it is launched."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from medapp.ui import session

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_TEMP_DIR", str(session.uploads()))  # Gradio looks at both while it is imported

import gradio as gr
from gradio.exceptions import InvalidPathError

from medapp import journal, runtime
from medapp.errors import UserError
from medapp.examples import of_task
from medapp.imaging import apart
from medapp.tasks import TASKS
from medapp.ui import api, intake, style, tab, viewer, words
from medapp.ui.guard import guarded
from medapp.ui.registration import Registered
from medapp.ui.restoration import Restored
from medapp.ui.segmentation import Segmented
from medapp.ui.session import LIFETIME, SWEEP, visitors

BODIES: dict[str, Callable[..., tab.Body]] = {
    "segmentation": Segmented,
    "restoration": Restored,
    "registration": Registered,
}
MAX_UPLOAD = "600mb"
SESSIONS = 300  # visitors of whom Gradio remembers components and answers, the latest
WAITING = 60  # in the queue; who comes then is told so


class Page(gr.Blocks):
    """Gradio's, which forgets who has left, and tells in our way of requests that are none of its page's."""

    def leave(self, request: gr.Request) -> None:
        """Forget who is gone; Gradio itself keeps a megabyte or more of the components of each, of 10,000 visitors."""
        visitors.leave(request.session_hash)
        self.state_holder.session_data.pop(request.session_hash, None)
        self.state_holder.time_last_used.pop(request.session_hash, None)

    async def process_api(self, *args: Any, **more: Any) -> Any:
        """Raises gr.Error whatever happens: Gradio would print all others with what was sent, names of files too."""
        try:
            return await super().process_api(*args, **more)
        except gr.Error as error:
            if error.print_exception:
                journal.fault(error)
            error.print_exception = False
            raise
        except InvalidPathError as error:
            raise gr.Error("A file has to be uploaded before it is named.", print_exception=False) from error
        except Exception as error:
            raise tab.shown(error) from error


def build() -> gr.Blocks:
    """Lay out and wire the whole page; loads no weights."""
    cards = list(runtime.cards().values())
    intake.close()
    with Page(title="medapp", delete_cache=(SWEEP, LIFETIME), analytics_enabled=False, fill_width=True) as demo:
        gr.HTML(words.head())
        gr.HTML(words.banner())
        with gr.Tabs():
            for name, task in TASKS.items():
                own = [card for card in cards if card.task == name]
                if own:  # a task without a method is not offered
                    with gr.Tab(task.TITLE, id=name):
                        tab.Tab(task, name, own, BODIES[name](name, own))
        for card in cards:
            api.build(card)
        demo.unload(demo.leave)
    demo.queue(max_size=WAITING, default_concurrency_limit=4)
    demo._queue.pending_messages_per_session.max_size = SESSIONS  # of answers that nobody has fetched
    return demo


def prepare() -> None:
    """Compute the examples' results, so that the first visitor's click does not wait; a failure shows at the click."""
    for name in TASKS:
        for example in of_task(name):
            with suppress(UserError):
                tab.example_result(example)


def end() -> NoReturn:
    """End this process, tidied up, whatever networks still compute in other threads: these abort an ordinary exit."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(0)


def launch(demo: gr.Blocks, **options: object) -> NoReturn:
    """Serve the page, its API and its MCP tools; keeps no history and sends nothing anywhere.

    Ends the process, as tidily when it is told to terminate, as containers are, as when it is interrupted from the
    keyboard.
    """
    journal.aloud()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGINT itself is ignored in a script's background
    threading.Thread(target=apart.start, daemon=True).start()
    session.sweep(session.uploads())  # what Gradio does not know of, such as half an upload
    if not runtime.spaces:  # on ZeroGPU nothing computes unasked
        threading.Thread(target=prepare, daemon=True).start()
    with suppress(KeyboardInterrupt):  # while Gradio starts
        demo.launch(
            **{
                "theme": style.theme(),
                "css": style.CSS,
                "head": viewer.head(),
                "max_file_size": MAX_UPLOAD,
                "state_session_capacity": SESSIONS,
                "mcp_server": True,
                "run_history": False,
                "enable_monitoring": False,
                "footer_links": ["api"],
                "strict_cors": True,
                "ssr_mode": False,  # the guard stands before everything, and Node's server would stand before the guard
                "app_kwargs": {"lifespan": guarded},
                **options,
            }
        )
    end()
