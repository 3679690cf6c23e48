"""Zip and gzip files, unpacked within limits; their content never decides where it is written."""

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
    """Unpack a zip under `folder`, each file into a folder of its own with a safe name, and return the paths.

    Hidden files, `__MACOSX` and directories are skipped. Raises InputError for a damaged or encrypted zip, a path that
    leads out, a link, a zip inside, more than MAX_UPLOAD_FILES entries, or more than `room` bytes.
    """
    too_many = f"{safe_text(path)} holds more than {MAX_UPLOAD_FILES} files; put one image into a zip."
    limited = LimitedReader(path, too_many, most=MAX_ZIP_DIRECTORY_BYTES, rest=MAX_ZIP_DIRECTORY_BYTES)
    with translate_errors(path, "a zip"), limited as file, zipfile.ZipFile(file) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if len(entries) > MAX_UPLOAD_FILES:
            raise InputError(too_many)
        total = sum(entry.file_size for entry in entries)
        is_bomb = total > RATIO_CHECK_BYTES and total > MAX_COMPRESSION_RATIO * path.stat().st_size
        if total > room or is_bomb:
            raise InputError(
                f"{safe_text(path)} unpacks to {total / 1024**2:.0f} MB, which is too much; put one image into a zip."
            )
        written = []
        for number, entry in enumerate(entries):
            parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
            _check_entry(entry, parts, path)
            if any(part.startswith((".", "__MACOSX")) for part in parts):
                continue
            if entry.flag_bits & 1:
                raise InputError(f"{safe_text(path)} is protected with a password; upload it without one.")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{safe_text(path)} uses an unusual compression; create it again as an ordinary zip.")
            target = folder / str(number) / _safe_file_name(parts[-1])
            target.parent.mkdir(parents=True)
            with archive.open(entry) as source:
                room -= _copy_limited(source, target, room, path)
            if is_zip(target):
                raise InputError(
                    f"{safe_text(path)} holds another zip ({safe_text(target)}); unpack it and upload what is inside."
                )
            written.append(target)
    return written


def gunzip(
    path: Path, folder: Path, expected_bytes: Callable[[bytes, Path], int] | None = None, room: int = MAX_UPLOAD_BYTES
) -> Path:
    """Unpack a gzip file into `folder`, without its `.gz`, and return the path.

    `expected_bytes` gets the first kilobyte, and the path for its messages, and returns the size that the header of the
    image implies (or raises InputError). Raises InputError if there is much more, or if the file is damaged; without an
    expected size, also beyond MAX_COMPRESSION_RATIO.
    """
    target = folder / _safe_file_name(path.stem + {".mgz": ".mgh"}.get(path.suffix.lower(), ""))
    folder.mkdir(parents=True, exist_ok=True)
    with _translate_unpacking_errors(path), gzip.open(path) as source:
        if expected_bytes:
            most = expected_bytes(source.read(1024), target)
        else:
            most = max(RATIO_CHECK_BYTES, MAX_COMPRESSION_RATIO * path.stat().st_size)
        source.seek(0)
        _copy_limited(cast(IO[bytes], source), target, min(most, room) + TRAILING_BYTES, path)
    return target


def peek_gzip(path: Path, count: int) -> bytes:
    """Return the first `count` unpacked bytes of a gzip file. Raises InputError if it is damaged."""
    with _translate_unpacking_errors(path), gzip.open(path) as source:
        return source.read(count)


def is_zip(path: Path) -> bool:
    """Tell whether the file begins like a zip."""
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def is_gzip(path: Path) -> bool:
    """Tell whether the file begins like a gzip file."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _check_entry(entry: zipfile.ZipInfo, parts: tuple[str, ...], path: Path) -> None:
    """Raise InputError for an entry that leads out of the zip or is a link."""
    if ".." in parts or entry.filename.startswith(("/", "\\")) or parts[0].endswith(":"):
        raise InputError(
            f"{safe_text(path)} holds a file whose path leads out of the zip; create the zip again from one folder."
        )
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise InputError(f"{safe_text(path)} holds a link to another file; put the file itself into the zip.")


@contextmanager
def _translate_unpacking_errors(path: Path) -> Iterator[None]:
    """Turn the errors of damaged compression into an InputError; a full disk is passed on."""
    try:
        yield
    except (EOFError, zlib.error, OSError) as error:
        if is_disk_full(error):
            raise
        raise InputError(
            f"{safe_text(path)} could not be unpacked: it is damaged or truncated; upload it again."
        ) from error


def _safe_file_name(text: str) -> str:
    """Return a safe file name with the suffix of `text`; short, since a letter may take four bytes."""
    return safe_text(text[-50:], 50).lstrip(". ") or "file"


def _copy_limited(source: IO[bytes], target: Path, room: int, archive: Path) -> int:
    """Copy `source` into `target` and return the number of bytes. Raises InputError beyond `room`."""
    written = 0
    with target.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            check_time()
            written += len(chunk)
            if written > room:
                raise InputError(
                    f"{safe_text(archive)} unpacks to more than its header says or than the limit; export it again."
                )
            file.write(chunk)
    return written
