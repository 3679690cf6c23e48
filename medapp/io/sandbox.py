"""Apart: uploads are read in a process of its own, so that a file that fells a decoder does not fell the page.

`read` is `files.read` there. A process is started once and asked again and again; one that dies, or does not answer in
time, is replaced, and its temporary files go with it. It has the rights of the page: this is a fuse, not a jail.
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
REPLY_TIMEOUT = MAX_READ_SECONDS + 20  # seconds; the reader gives up itself, unless it hangs within one step
MEMORY_LIMIT = 12 * 1024**3  # bytes of address space, more than any upload within the limits takes
MAX_PARALLEL_READS = 2  # uploads that are read side by side
CRASH_MESSAGE = "The file could not be read safely: it is damaged or malformed; export it anew. Nothing else was lost."


class ReaderProcess:
    """One process that reads. Its methods are for one thread at a time."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="medapp-reader-"))
        home = str(Path(__file__).parents[2])
        paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what libraries say of a file is in its owner's words
            env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(self.folder), "TEMP": str(self.folder)},
        )

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def read(self, *given: Any, **named: Any) -> Volume:
        """`files.read` of the same arguments. Raises what it raises, and InputError if the process dies or hangs."""
        assert self.process.stdin and self.process.stdout
        late = threading.Timer(REPLY_TIMEOUT, self.process.kill)
        late.start()
        began = time.monotonic()
        try:
            pickle.dump((given, named), self.process.stdin)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            log.warning("the reader of uploads ended with %s", self.process.returncode)
            raise InputError(
                READ_TIMEOUT_MESSAGE if time.monotonic() - began >= REPLY_TIMEOUT else CRASH_MESSAGE
            ) from error
        finally:
            late.cancel()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process and remove what it has left."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_slots = threading.BoundedSemaphore(MAX_PARALLEL_READS)
_idle: list[ReaderProcess] = []


def read(
    paths: Sequence[Path | str],
    series: str | None = None,
    *,
    name: str = "image",
    colour: bool = False,
    labels: bool = False,
) -> Volume:
    """As `files.read`, in another process. Raises InputError, too, if that process dies."""
    with _slots:
        reader = _acquire_reader()
        try:
            return reader.read(list(paths), series, name=name, colour=colour, labels=labels)
        finally:
            _release_reader(reader)


def start() -> None:
    """Have a process ready before it is needed."""
    _release_reader(_acquire_reader())


@atexit.register
def stop() -> None:
    """End the processes that do nothing; the next `read` starts another."""
    while _idle:
        _idle.pop().close()


def _acquire_reader() -> ReaderProcess:
    """A reader for this thread alone."""
    while _idle:
        with suppress(IndexError):  # another thread was faster
            if (reader := _idle.pop()).is_alive:
                return reader
            reader.close()
    return ReaderProcess()


def _release_reader(reader: ReaderProcess) -> None:
    if reader.is_alive:
        _idle.append(reader)


def main() -> None:
    """Answer until nobody asks any more; what a library prints goes into no answer."""
    with suppress(ImportError):  # no such limits on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            given, named = pickle.load(questions)
        except EOFError:
            break
        answer: Volume | Exception
        try:
            answer = files.read(*given, **named)
        except Exception as error:
            answer = error.with_traceback(None)
            answer.__cause__ = answer.__context__ = None
        pickle.dump(answer, answers, protocol=5)
        answers.flush()
        del answer


if __name__ == "__main__":
    main()
