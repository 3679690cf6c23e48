"""Cache of what trainings compute from DATA once, in `runs/data`."""

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

CACHE_ROOT = Path("runs/data")


def cache_folder(kind: str, data: Path, *makers: str) -> Path:
    """Return the cache folder of a kind of data made from DATA, and create it.

    Two DATA folders may hold files of the same names, so each has its own; so has each set of `makers`, such as the
    sha256 of weights.
    """
    mark = zlib.crc32("\n".join((str(data.resolve()), *makers)).encode())
    path = CACHE_ROOT / f"{kind}-{mark:08x}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a file that appears complete or not at all, also when several processes write it at once."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        write(file)
    partial.replace(path)
