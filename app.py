"""The page: `python app.py`, or the entry point of a Hugging Face Space."""

import atexit
import os
import signal
from typing import NoReturn


def end(*_: object) -> NoReturn:
    """Remove what is there by now, and end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    atexit._run_exitfuncs()
    os._exit(0)


if __name__ == "__main__":  # whoever is told to terminate meanwhile: libraries that are imported may catch an exception
    signal.signal(signal.SIGTERM, end)

from medapp.ui.page import build_page, launch_page  # noqa: E402

demo = build_page()

if __name__ == "__main__":
    launch_page(demo)
