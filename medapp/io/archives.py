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
from medapp.io.validation import LimitedReader, check_time, is_disk_full, safe_text, translate_errors
from medapp.limits import (
    MAX_COMPRESSION_RATIO,
    MAX_UPLOAD_BYTES,
    MAX_UPLOAD_FILES,
    MAX_ZIP_DIRECTORY_BYTES,
    RATIO_CHECK_BYTES,
    TRAILING_BYTES,
)

CHUNK_BYTES = 1024**2


def unzip(path: Path, folder: Path, room: int = MAX_UPLOAD_BYTES) -> list[Path]:
    """The files of a zip written under `folder`, each in a folder of its own with a harmless name.

    Hidden files, `__MACOSX` and directories are left out. Raises InputError for a damaged or locked zip, a path that
    leads out, a link, a zip inside, more than MAX_FILES entries, or more than `room` bytes.
    """
    many = f"{safe_text(path)} holds more than {MAX_UPLOAD_FILES} files; put one image into a zip."
    sips = LimitedReader(path, many, most=MAX_ZIP_DIRECTORY_BYTES, rest=MAX_ZIP_DIRECTORY_BYTES)
    with translate_errors(path, "a zip"), sips as file, zipfile.ZipFile(file) as box:
        entries = [entry for entry in box.infolist() if not entry.is_dir()]
        if len(entries) > MAX_UPLOAD_FILES:
            raise InputError(many)
        total = sum(entry.file_size for entry in entries)
        if total > room or (total > RATIO_CHECK_BYTES and total > MAX_COMPRESSION_RATIO * path.stat().st_size):
            raise InputError(
                f"{safe_text(path)} unpacks to {total / 1024**2:.0f} MB, more than is taken; put one image into a zip."
            )
        written = []
        for number, entry in enumerate(entries):
            parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
            if ".." in parts or entry.filename.startswith(("/", "\\")) or parts[0].endswith(":"):
                raise InputError(
                    f"{safe_text(path)} holds a file whose path leads out of the zip; make the zip anew, from one "
                    "folder."
                )
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise InputError(f"{safe_text(path)} holds a link to another file; put the file itself into the zip.")
            if any(part.startswith((".", "__MACOSX")) for part in parts):
                continue
            if entry.flag_bits & 1:
                raise InputError(f"{safe_text(path)} is locked with a password; upload it unlocked.")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{safe_text(path)} is packed in an unusual way; make it anew as an ordinary zip.")
            target = folder / str(number) / _safe_file_name(parts[-1])
            target.parent.mkdir(parents=True)
            with box.open(entry) as source:
                room -= _copy_limited(source, target, room, path)
            if is_zip(target):
                raise InputError(
                    f"{safe_text(path)} holds another zip ({safe_text(target)}); unpack it and upload what is inside."
                )
            written.append(target)
    return written


def gunzip(
    path: Path, folder: Path, promise: Callable[[bytes, Path], int] | None = None, room: int = MAX_UPLOAD_BYTES
) -> Path:
    """A gzip file unpacked into `folder` without its `.gz`, as far as `promise` allows.

    `promise` is given the first kilobyte, and the path for its words, and says how many bytes its header speaks of (or
    raises InputError). Raises InputError if there are many more, or if the packing is damaged; of what promises nothing
    that can be checked, also if it unpacks beyond MAX_RATIO.
    """
    target = folder / _safe_file_name(path.stem + {".mgz": ".mgh"}.get(path.suffix.lower(), ""))
    folder.mkdir(parents=True, exist_ok=True)
    with _translate_unpacking_errors(path), gzip.open(path) as source:
        most = (
            promise(source.read(1024), target)
            if promise
            else max(RATIO_CHECK_BYTES, MAX_COMPRESSION_RATIO * path.stat().st_size)
        )
        source.seek(0)
        _copy_limited(cast(IO[bytes], source), target, min(most, room) + TRAILING_BYTES, path)
    return target


def peek_gzip(path: Path, count: int) -> bytes:
    """The first `count` bytes of what a gzip file holds. Raises InputError if the packing is damaged."""
    with _translate_unpacking_errors(path), gzip.open(path) as source:
        return source.read(count)


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


@contextmanager
def _translate_unpacking_errors(path: Path) -> Iterator[None]:
    """Damaged packing becomes one sentence; a full disk stays what it is."""
    try:
        yield
    except (EOFError, zlib.error, OSError) as error:
        if is_disk_full(error):
            raise
        raise InputError(
            f"{safe_text(path)} could not be unpacked: it is damaged or truncated; upload it again."
        ) from error


def _safe_file_name(text: str) -> str:
    """A harmless file name that keeps the ending of `text`; short, for a letter may take four bytes."""
    return safe_text(text[-50:], 50).lstrip(". ") or "file"


def _copy_limited(source: IO[bytes], target: Path, room: int, archive: Path) -> int:
    written = 0
    with target.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            check_time()
            written += len(chunk)
            if written > room:
                raise InputError(
                    f"{safe_text(archive)} unpacks to more than its header promises or than is taken; export it anew."
                )
            file.write(chunk)
    return written
