"""Run the app in a separate process on a free port of the loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
START, END = 120, 20  # seconds till the page must be there, and till the process has ended when told to


@contextmanager
def run_app(log: IO | int = subprocess.DEVNULL, port: int = 0, **environment: str) -> Iterator[tuple[str, int]]:
    """The address of an app, once it answers, and its process; what it prints goes to `log`.

    `port` is a free one by default. `environment` is added to this process's. Raises OSError if there is no answer, and
    ChildProcessError if it does not end as it should when told to; it may have been killed before.
    """
    if not port:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
    variables = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"} | environment
    variables.pop("GRADIO_TEMP_DIR", None)  # who has imported the page has one of their own
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT
    )
    address, began = f"http://127.0.0.1:{port}/", time.monotonic()
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}health", timeout=2)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() - began > START:
                    raise
                time.sleep(0.5)
        yield address, process.pid
    finally:
        process.terminate()
        ended = process.wait(END)
    if ended not in (0, -signal.SIGKILL):
        raise ChildProcessError(f"the app ended with {ended}")
