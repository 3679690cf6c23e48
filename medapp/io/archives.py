"""Zip and gzip files, unpacked within limits; nothing in them chooses where it is written."""

import gzip
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from medapp.errors import InputError
from medapp.io.validation import Sipped, full, in_time, parsing, said
from medapp.limits import FREE, MAX_BYTES, MAX_DIRECTORY, MAX_FILES, MAX_RATIO, SLACK

CHUNK = 1024**2


def unzip(path: Path, folder: Path, room: int = MAX_BYTES) -> list[Path]:
    """The files of a zip written under `folder`, each in a folder of its own with a harmless name.

    Hidden files, `__MACOSX` and directories are left out. Raises InputError for a damaged or locked zip, a path that
    leads out, a link, a zip inside, more than MAX_FILES entries, or more than `room` bytes.
    """
    many = f"{said(path)} holds more than {MAX_FILES} files; put one image into a zip."
    sips = Sipped(path, many, most=MAX_DIRECTORY, rest=MAX_DIRECTORY)
    with parsing(path, "a zip"), sips as file, zipfile.ZipFile(file) as box:
        entries = [entry for entry in box.infolist() if not entry.is_dir()]
        if len(entries) > MAX_FILES:
            raise InputError(many)
        total = sum(entry.file_size for entry in entries)
        if total > room or (total > FREE and total > MAX_RATIO * path.stat().st_size):
            raise InputError(
                f"{said(path)} unpacks to {total / 1024**2:.0f} MB, more than is taken; put one image into a zip."
            )
        written = []
        for number, entry in enumerate(entries):
            parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
            if ".." in parts or entry.filename.startswith(("/", "\\")) or parts[0].endswith(":"):
                raise InputError(
                    f"{said(path)} holds a file whose path leads out of the zip; make the zip anew, from one folder."
                )
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise InputError(f"{said(path)} holds a link to another file; put the file itself into the zip.")
            if any(part.startswith((".", "__MACOSX")) for part in parts):
                continue
            if entry.flag_bits & 1:
                raise InputError(f"{said(path)} is locked with a password; upload it unlocked.")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{said(path)} is packed in an unusual way; make it anew as an ordinary zip.")
            target = folder / str(number) / _named(parts[-1])
            target.parent.mkdir(parents=True)
            with box.open(entry) as source:
                room -= _pour(source, target, room, path)
            if is_zip(target):
                raise InputError(
                    f"{said(path)} holds another zip ({said(target)}); unpack it and upload what is inside."
                )
            written.append(target)
    return written


def gunzip(
    path: Path, folder: Path, promise: Callable[[bytes, Path], int] | None = None, room: int = MAX_BYTES
) -> Path:
    """A gzip file unpacked into `folder` without its `.gz`, as far as `promise` allows.

    `promise` is given the first kilobyte, and the path for its words, and says how many bytes its header speaks of (or
    raises InputError). Raises InputError if there are many more, or if the packing is damaged; of what promises nothing
    that can be checked, also if it unpacks beyond MAX_RATIO.
    """
    target = folder / _named(path.stem + {".mgz": ".mgh"}.get(path.suffix.lower(), ""))
    folder.mkdir(parents=True, exist_ok=True)
    with _whole(path), gzip.open(path) as source:
        most = promise(source.read(1024), target) if promise else max(FREE, MAX_RATIO * path.stat().st_size)
        source.seek(0)
        _pour(cast(IO[bytes], source), target, min(most, room) + SLACK, path)
    return target


def peek(path: Path, count: int) -> bytes:
    """The first `count` bytes of what a gzip file holds. Raises InputError if the packing is damaged."""
    with _whole(path), gzip.open(path) as source:
        return source.read(count)


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Damaged packing becomes one sentence; a full disk stays what it is."""
    try:
        yield
    except (EOFError, zlib.error, OSError) as error:
        if full(error):
            raise
        raise InputError(f"{said(path)} could not be unpacked: it is damaged or truncated; upload it again.") from error


def _named(text: str) -> str:
    """A harmless file name that keeps the ending of `text`; short, for a letter may take four bytes."""
    return said(text[-50:], 50).lstrip(". ") or "file"


def _pour(source: IO[bytes], target: Path, room: int, archive: Path) -> int:
    written = 0
    with target.open("wb") as file:
        while chunk := source.read(CHUNK):
            in_time()
            written += len(chunk)
            if written > room:
                raise InputError(
                    f"{said(archive)} unpacks to more than its header promises or than is taken; export it anew."
                )
            file.write(chunk)
    return written
