"""How voxels are written into a file: raw, packed, as hexadecimal digits or as words; decoded a piece at a time."""

import bz2
import gzip
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np

from medapp.errors import InputError
from medapp.io.archives import is_gzip
from medapp.io.validation import check_time, safe_text
from medapp.limits import MAX_TEXT_HEADER_BYTES, MAX_VOXEL_OFFSET

CHUNK_BYTES = 1024**2
MAX_NUMBER_LENGTH = 64  # characters of a number


class DataLayout(NamedTuple):
    """Where in its files the voxels lie. `encoding` is "raw", "gzip" (or zlib), "bzip2", "hex" or "text".

    First come `start` bytes of a header, then `lines` lines, then, decoded, `skip` bytes; -1: the voxels end the file.
    """

    encoding: str = "raw"
    start: int = 0
    lines: int = 0
    skip: int = 0


def decode_voxels(
    layout: DataLayout, sources: Sequence[Path], target: Path, wanted: int, dtype: np.dtype, path: Path
) -> None:
    """Write the `wanted` bytes of voxels of `dtype` into `target`; each of the `sources` holds an equal part of them.

    What was text comes in the byte order of this machine. Raises InputError, about the header `path`, if there are
    fewer, and for what is damaged.
    """
    if not -1 <= layout.skip <= MAX_VOXEL_OFFSET or (layout.skip < 0 and layout.encoding != "raw"):
        raise InputError(f"{safe_text(path)} does not say plainly where its voxels begin; save the image as NIfTI.")
    part, rest = divmod(wanted, len(sources))
    if rest or part % dtype.itemsize:
        raise InputError(f"{safe_text(path)} names {len(sources)} files, among which its voxels do not divide evenly.")
    with target.open("wb") as out:
        for source in sources:
            left = part
            with source.open("rb") as file:
                for piece in _iterate_voxels(_adapt_to_file(layout, source, part), file, part, dtype, path):
                    check_time()
                    out.write(piece[:left])
                    left -= len(piece)
                    if left <= 0:
                        break
            if left > 0:
                raise InputError(
                    f"{safe_text(path)} is truncated: it holds fewer voxels than its header says; upload it again."
                )


def _adapt_to_file(layout: DataLayout, source: Path, wanted: int) -> DataLayout:
    """The layout, if `source` was packed or unpacked on its way, as browsers do, as it is now."""
    if layout.start == 0 and layout.encoding in ("raw", "gzip"):
        size = source.stat().st_size
        if layout.encoding == "raw" and is_gzip(source) and source.suffix.lower() == ".gz":
            return layout._replace(encoding="gzip")
        if layout.encoding == "gzip" and not is_gzip(source) and size == wanted + layout.skip:
            return layout._replace(encoding="raw")
    return layout


def _iterate_voxels(
    layout: DataLayout, file: BufferedReader, wanted: int, dtype: np.dtype, path: Path
) -> Iterator[bytes]:
    """The bytes from the first voxel to the end of the file, decoded."""
    if layout.skip < 0:
        file.seek(max(layout.start, file.seek(0, 2) - wanted))
    else:
        file.seek(layout.start)
    for _ in range(layout.lines):
        file.readline(MAX_TEXT_HEADER_BYTES)
    skip = max(0, layout.skip)
    for piece in _iterate_decoded(layout.encoding, file, dtype, path):
        yield piece[skip:]
        skip = max(0, skip - len(piece))


def _iterate_decoded(encoding: str, file: BufferedReader, dtype: np.dtype, path: Path) -> Iterator[bytes]:
    if encoding == "gzip" and file.peek(2)[:2] == b"\x1f\x8b":
        yield from _iterate_chunks(cast(IO[bytes], gzip.GzipFile(fileobj=file)))
    elif encoding == "gzip":  # without gzip's own header, as MetaImage has it
        packed = zlib.decompressobj()
        while not packed.eof and (piece := packed.unconsumed_tail or file.read(CHUNK_BYTES)):
            yield packed.decompress(piece, CHUNK_BYTES)
        yield packed.flush()
    elif encoding == "bzip2":
        yield from _iterate_chunks(bz2.BZ2File(file))
    elif encoding == "hex":
        yield from _decode_hex(file)
    elif encoding == "text":
        yield from _decode_text(file, dtype, path)
    else:
        yield from _iterate_chunks(file)


def _iterate_chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(CHUNK_BYTES), b"")


def _decode_hex(file: IO[bytes]) -> Iterator[bytes]:
    odd = b""
    while piece := file.read(CHUNK_BYTES):
        digits = odd + b"".join(piece.split())
        odd = digits[len(digits) // 2 * 2 :]
        yield bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))


def _decode_text(file: IO[bytes], dtype: np.dtype, path: Path) -> Iterator[bytes]:
    """Numbers between white space, as bytes of `dtype`. Raises InputError for one that this cannot hold."""
    begun = b""
    while piece := file.read(CHUNK_BYTES):
        words = (begun + piece).split()
        begun = b"" if piece[-1:].isspace() else words.pop()
        if len(begun) > MAX_NUMBER_LENGTH:
            break
        yield _parse_numbers(words, dtype, path)
    yield _parse_numbers([begun] if begun else [], dtype, path)


def _parse_numbers(words: list[bytes], dtype: np.dtype, path: Path) -> bytes:
    try:
        if max(map(len, words), default=0) > MAX_NUMBER_LENGTH:
            raise ValueError
        numbers = np.array(words, "S").astype(np.float64)
    except ValueError as error:
        raise InputError(
            f"{safe_text(path)} could not be read: there is a word among its voxels that is no number."
        ) from error
    with np.errstate(invalid="ignore", over="ignore"):
        kept = numbers.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(kept, numbers):
        raise InputError(f"{safe_text(path)} holds values that its type ({dtype}) cannot hold; save it as float.")
    return kept.tobytes()
