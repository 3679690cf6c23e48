"""The run log: one line of JSON for every run and every unexpected error, without images or names.

Lines go to the logger `medapp.run_log`.
"""

import io
import json
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from medapp.errors import CancelledError, UserError
from medapp.imaging.volume import Volume

log = logging.getLogger("medapp.run_log")


@contextmanager
def log_run(pipeline: str, volumes: Iterable[Volume | None]) -> Iterator[dict[str, Any]]:
    """Log how the run inside the `with` block ended and how long it took, with what the caller adds to the dictionary.

    `outcome` is done, refused (the user was told why), cancelled, or failed with the kind of `fault`. Error messages
    and file names are left out, since they may hold what the user wrote.
    """
    started = time.perf_counter()
    shapes = [None if volume is None else list(volume.shape) for volume in volumes]
    entry: dict[str, Any] = {"pipeline": pipeline, "shapes": shapes, "outcome": "done"}
    try:
        yield entry
    except CancelledError:
        entry["outcome"] = "cancelled"
        raise
    except UserError as error:
        entry |= {"outcome": "refused", "fault": type(error).__name__}
        raise
    except BaseException as error:
        entry |= {"outcome": "failed", "fault": type(error).__name__}
        raise
    finally:
        entry["seconds"] = round(time.perf_counter() - started, 3)
        level = logging.ERROR if entry["outcome"] == "failed" else logging.INFO
        log.log(level, json.dumps({"time": _format_time()} | entry))


def log_fault(error: BaseException) -> None:
    """Log an unexpected exception by its type and the places it passed through, innermost last."""
    log.error(json.dumps({"time": _format_time(), "outcome": "failed"} | _describe_error(error)))


def _describe_error(error: BaseException) -> dict[str, Any]:
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    return {"fault": type(error).__name__, "where": places}


def _format_time() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class JsonFormatter(logging.Formatter):
    """Format log records as JSON; of other libraries' messages, which may quote a visitor, only the origin is kept."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: the run log's own text as it is, anything else by logger, level and place."""
        if record.name == log.name:
            return record.getMessage()
        entry: dict[str, Any] = {
            "time": _format_time(), "outcome": "noted", "level": record.levelname, "logger": record.name,
            "where": [f"{record.filename}:{record.lineno} {record.funcName}"],
        }  # fmt: skip
        if record.name.startswith("medapp."):
            entry["words"] = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            entry |= _describe_error(record.exc_info[1])
        return json.dumps(entry)


class PrintLogger(io.TextIOBase):
    """Stand-in for standard output or error: the main thread's prints pass, those of other threads are only noted.

    Other threads may print what a visitor sent, so the run log gets the place of the call and not the text.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write `text`, or log where it was printed; return its length."""
        if threading.current_thread() is threading.main_thread():
            return self.stream.write(text)
        error, frame = sys.exc_info()[1], sys._getframe(1)
        file = Path(frame.f_code.co_filename).name
        if file == "traceback.py":  # which writes one line at a time
            if error is not None and text.startswith("Traceback"):
                log_fault(error)
        elif text.strip():
            place = f"{file}:{frame.f_lineno} {frame.f_code.co_name}"
            log.warning(json.dumps({"time": _format_time(), "outcome": "printed", "where": [place]}))
        return len(text)

    def flush(self) -> None:
        """Flush the wrapped stream."""
        self.stream.flush()

    def isatty(self) -> bool:
        """Tell whether the wrapped stream is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the wrapped stream."""
        return self.stream.fileno()


def log_to_stderr() -> None:
    """Write the run log to standard error, one line an entry; calling it again changes nothing."""
    handler = logging.StreamHandler(sys.stderr.stream if isinstance(sys.stderr, PrintLogger) else sys.stderr)
    handler.setFormatter(JsonFormatter())
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


def capture_output() -> None:
    """Let all loggers, warnings and prints of other threads go through the run log from now on."""
    log_to_stderr()
    logging.getLogger().handlers = log.handlers
    logging.captureWarnings(True)
    if not isinstance(sys.stdout, PrintLogger):
        sys.stdout, sys.stderr = PrintLogger(sys.stdout), PrintLogger(sys.stderr)
