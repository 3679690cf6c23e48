"""Journal: a line of JSON for every run and every fault, to the logger `medapp.serving.run_log`, without images or
names.
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

log = logging.getLogger(__name__)


@contextmanager
def log_run(pipeline: str, volumes: Iterable[Volume | None]) -> Iterator[dict[str, Any]]:
    """Around a run: what the caller puts into the dictionary is told with how the run ended and how long it took.

    `outcome` is done, refused (the user was told why), cancelled, or failed with the kind of `fault`; words of errors
    and names of files are left out, since they may hold what the user wrote.
    """
    began = time.perf_counter()
    shapes = [None if volume is None else list(volume.shape) for volume in volumes]
    told: dict[str, Any] = {"pipeline": pipeline, "shapes": shapes, "outcome": "done"}
    try:
        yield told
    except CancelledError:
        told["outcome"] = "cancelled"
        raise
    except UserError as error:
        told |= {"outcome": "refused", "fault": type(error).__name__}
        raise
    except BaseException as error:
        told |= {"outcome": "failed", "fault": type(error).__name__}
        raise
    finally:
        told["seconds"] = round(time.perf_counter() - began, 3)
        level = logging.ERROR if told["outcome"] == "failed" else logging.INFO
        log.log(level, json.dumps({"time": _format_time()} | told))


def log_fault(error: BaseException) -> None:
    """A line on an exception that nobody expected: its kind and the places it came through, innermost last."""
    log.error(json.dumps({"time": _format_time(), "outcome": "failed"} | _describe_error(error)))


def _describe_error(error: BaseException) -> dict[str, Any]:
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    return {"fault": type(error).__name__, "where": places}


def _format_time() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class JsonFormatter(logging.Formatter):
    """A line of JSON for whatever is logged; of others' words, which may be a visitor's, only whose and where."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name == __name__:
            return record.getMessage()
        told: dict[str, Any] = {
            "time": _format_time(),
            "outcome": "noted",
            "level": record.levelname,
            "logger": record.name,
        }
        told["where"] = [f"{record.filename}:{record.lineno} {record.funcName}"]
        if record.name.startswith("medapp."):
            told["words"] = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            told |= _describe_error(record.exc_info[1])
        return json.dumps(told)


class PrintLogger(io.TextIOBase):
    """In place of standard output and error: what the main thread prints goes out as it is, and of what any other
    prints, which may be what a visitor sent, a line of the journal tells from where."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        if threading.current_thread() is threading.main_thread():
            return self.stream.write(text)
        error, frame = sys.exc_info()[1], sys._getframe(1)
        file = Path(frame.f_code.co_filename).name
        if file == "traceback.py":  # which writes a line at a time
            if error is not None and text.startswith("Traceback"):
                log_fault(error)
        elif text.strip():
            place = f"{file}:{frame.f_lineno} {frame.f_code.co_name}"
            log.warning(json.dumps({"time": _format_time(), "outcome": "printed", "where": [place]}))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()


def log_to_stderr() -> None:
    """Write the journal to standard error, a line an entry."""
    handler = logging.StreamHandler(sys.stderr.stream if isinstance(sys.stderr, PrintLogger) else sys.stderr)
    handler.setFormatter(JsonFormatter())
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)


def capture_output() -> None:
    """From now on nothing is written but the journal, where all others log to, and what the main thread prints."""
    log_to_stderr()
    logging.getLogger().handlers = log.handlers
    logging.captureWarnings(True)
    if not isinstance(sys.stdout, PrintLogger):
        sys.stdout, sys.stderr = PrintLogger(sys.stdout), PrintLogger(sys.stderr)
