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
from medapp.io.validation import TOO_LONG
from medapp.limits import MAX_SECONDS

log = logging.getLogger(__name__)
PATIENCE = MAX_SECONDS + 20  # seconds; the reader gives up itself, unless it hangs within one step
MEMORY = 12 * 1024**3  # bytes of address space, more than any upload within the limits takes
AT_ONCE = 2  # uploads that are read side by side
FELL = "The file could not be read safely: it is damaged or malformed; export it anew. Nothing else was lost."


class Reader:
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
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, *given: Any, **named: Any) -> Volume:
        """`files.read` of the same arguments. Raises what it raises, and InputError if the process dies or hangs."""
        assert self.process.stdin and self.process.stdout
        late = threading.Timer(PATIENCE, self.process.kill)
        late.start()
        began = time.monotonic()
        try:
            pickle.dump((given, named), self.process.stdin)
            self.process.stdin.flush()
            answer = pickle.load(self.process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self.close()
            log.warning("the reader of uploads ended with %s", self.process.returncode)
            raise InputError(TOO_LONG if time.monotonic() - began >= PATIENCE else FELL) from error
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


_places = threading.BoundedSemaphore(AT_ONCE)
_idle: list[Reader] = []


def read(
    paths: Sequence[Path | str],
    series: str | None = None,
    *,
    name: str = "image",
    colour: bool = False,
    labels: bool = False,
) -> Volume:
    """As `files.read`, in another process. Raises InputError, too, if that process dies."""
    with _places:
        reader = _taken()
        try:
            return reader.ask(list(paths), series, name=name, colour=colour, labels=labels)
        finally:
            _given_back(reader)


def start() -> None:
    """Have a process ready before it is needed."""
    _given_back(_taken())


@atexit.register
def stop() -> None:
    """End the processes that do nothing; the next `read` starts another."""
    while _idle:
        _idle.pop().close()


def _taken() -> Reader:
    """A reader for this thread alone."""
    while _idle:
        with suppress(IndexError):  # another thread was faster
            if (reader := _idle.pop()).alive:
                return reader
            reader.close()
    return Reader()


def _given_back(reader: Reader) -> None:
    if reader.alive:
        _idle.append(reader)


def main() -> None:
    """Answer until nobody asks any more; what a library prints goes into no answer."""
    with suppress(ImportError):  # no such limits on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
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
