"""Read uploads in a separate process, so that a decoder that crashes does not take the page with it.

`read` is `files.read` in that process. A process is started once and serves many reads; one that dies or does not reply
in time is replaced, and its temporary files are removed. It has the same rights as the page: it contains crashes, not
attackers.
"""

import atexit
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.io.validation import READ_TIMEOUT_MESSAGE
from medapp.limits import MAX_READ_SECONDS

log = logging.getLogger(__name__)
REPLY_TIMEOUT = MAX_READ_SECONDS + 20  # seconds; the process gives up earlier, unless one step hangs
MEMORY_LIMIT = 12 * 1024**3  # bytes of address space, more than any upload within the limits needs
MAX_PARALLEL_READS = 2
CRASH_MESSAGE = "The file could not be read safely: it is damaged or malformed; export it again."


class ReaderProcess:
    """A process that reads uploads; for one thread at a time."""

    def __init__(self) -> None:
        """Start the process, with a temporary folder of its own."""
        self.folder = Path(tempfile.mkdtemp(prefix="medapp-reader-"))
        root = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # libraries quote the content of the file
            env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(self.folder), "TEMP": str(self.folder)},
        )

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    def read(self, *arguments: Any, **options: Any) -> Volume:
        """Call `files.read`. Raises what it raises, and InputError if the process dies or hangs."""
        assert self.process.stdin and self.process.stdout
        timer = threading.Timer(REPLY_TIMEOUT, self.process.kill)
        timer.start()
        start_time = time.monotonic()
        try:
            pickle.dump((arguments, options), self.process.stdin)
            self.process.stdin.flush()
            reply = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            log.warning("the reader of uploads ended with %s", self.process.returncode)
            raise InputError(
                READ_TIMEOUT_MESSAGE if time.monotonic() - start_time >= REPLY_TIMEOUT else CRASH_MESSAGE
            ) from error
        finally:
            timer.cancel()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        """End the process and remove its temporary files."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_slots = threading.BoundedSemaphore(MAX_PARALLEL_READS)
idle_readers: list[ReaderProcess] = []


def read(
    paths: Sequence[Path | str],
    series: str | None = None,
    *,
    name: str = "image",
    colour: bool = False,
    labels: bool = False,
) -> Volume:
    """Read an image as `files.read` does, in another process. Also raises InputError if that process dies."""
    with _slots:
        reader = _acquire_reader()
        try:
            return reader.read(list(paths), series, name=name, colour=colour, labels=labels)
        finally:
            _release_reader(reader)


def start() -> None:
    """Start a process before it is needed."""
    _release_reader(_acquire_reader())


@atexit.register
def stop() -> None:
    """End the idle processes; the next `read` starts another."""
    while idle_readers:
        idle_readers.pop().close()


def _acquire_reader() -> ReaderProcess:
    """Return an idle process, or a new one, for this thread alone."""
    while idle_readers:
        with suppress(IndexError):  # another thread was faster
            if (reader := idle_readers.pop()).is_alive:
                return reader
            reader.close()
    return ReaderProcess()


def _release_reader(reader: ReaderProcess) -> None:
    if reader.is_alive:
        idle_readers.append(reader)


def main() -> None:
    """Serve reads until the page closes the pipe; what a library prints does not get into a reply."""
    with suppress(ImportError):  # no such limits on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            arguments, options = pickle.load(requests)
        except EOFError:
            break
        reply: Volume | Exception
        try:
            reply = files.read(*arguments, **options)
        except Exception as error:
            reply = error.with_traceback(None)
            reply.__cause__ = reply.__context__ = None
        pickle.dump(reply, replies, protocol=5)
        replies.flush()
        del reply


if __name__ == "__main__":
    main()
