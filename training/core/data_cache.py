"""What trainings make of DATA once and keep, in `runs/data`."""

import zlib
from pathlib import Path

CACHE_ROOT = Path("runs/data")


def cache_folder(kind: str, data: Path, *makers: str) -> Path:
    """One for each DATA, since two may give their files the same names, and for its `makers`, such as weights."""
    mark = zlib.crc32("\n".join((str(data.resolve()), *makers)).encode())
    path = CACHE_ROOT / f"{kind}-{mark:08x}"
    path.mkdir(parents=True, exist_ok=True)
    return path
