"""Journal: a line of JSON for every run and every fault, to the logger `medapp.journal`, without images or names."""

import json
import logging
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medapp.errors import Cancelled, UserError
from medapp.imaging.volume import Volume

log = logging.getLogger(__name__)


@contextmanager
def entry(pipeline: str, volumes: Iterable[Volume | None]) -> Iterator[dict[str, Any]]:
    """Around a run: what the caller puts into the dictionary is told with how the run ended and how long it took.

    `outcome` is done, refused (the user was told why), cancelled, or failed with the kind of `fault`; words of errors
    and names of files are left out, since they may hold what the user wrote.
    """
    began = time.perf_counter()
    shapes = [None if volume is None else list(volume.shape) for volume in volumes]
    told: dict[str, Any] = {"pipeline": pipeline, "shapes": shapes, "outcome": "done"}
    try:
        yield told
    except Cancelled:
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
        log.log(level, json.dumps({"time": _now()} | told))


def fault(error: BaseException) -> None:
    """A line on an exception that nobody expected: its kind and the places it came through, innermost last."""
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    log.error(json.dumps({"time": _now(), "outcome": "failed", "fault": type(error).__name__, "where": places}))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def aloud() -> None:
    """Write the journal to standard error, a line an entry."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
