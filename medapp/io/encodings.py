"""How voxels are encoded in a file, raw, compressed, as hexadecimal digits or as text, and decoding in small pieces."""

import bz2
import gzip
import zlib
from collections.abc import Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np

from medapp.errors import InputError
from medapp.io.archives import CHUNK_BYTES, is_gzip
from medapp.io.validation import TRUNCATED_MESSAGE, check_time, safe_text
from medapp.limits import MAX_TEXT_HEADER_BYTES, MAX_VOXEL_OFFSET

MAX_NUMBER_LENGTH = 64  # characters of a number in text


class DataLayout(NamedTuple):
    """Where the voxels are in their files, and their `encoding`: "raw", "gzip" (or zlib), "bzip2", "hex" or "text".

    They follow `start` bytes of a header, then `lines` lines, then `skip` decoded bytes; -1: they are the end of file.
    """

    encoding: str = "raw"
    start: int = 0
    lines: int = 0
    skip: int = 0


def decode_voxels(
    layout: DataLayout, sources: Sequence[Path], target: Path, size: int, dtype: np.dtype, path: Path
) -> None:
    """Write the `size` bytes of voxels of `dtype` into `target`; each of the `sources` holds an equal part of them.

    Text is written in the byte order of this machine. Raises InputError, about the header `path`, if there are fewer
    bytes, and for damaged data.
    """
    if not -1 <= layout.skip <= MAX_VOXEL_OFFSET or (layout.skip < 0 and layout.encoding != "raw"):
        raise InputError(f"{safe_text(path)} does not clearly say where its voxels begin; save the image as NIfTI.")
    part, remainder = divmod(size, len(sources))
    if remainder or part % dtype.itemsize:
        raise InputError(
            f"{safe_text(path)} names {len(sources)} files, but its voxels cannot be divided evenly among them; save "
            "the image as one file."
        )
    with target.open("wb") as out:
        for source in sources:
            missing = part
            with source.open("rb") as file:
                for piece in _iterate_voxels(_adapt_to_file(layout, source, part), file, part, dtype, path):
                    check_time()
                    out.write(piece[:missing])
                    missing -= len(piece)
                    if missing <= 0:
                        break
            if missing > 0:
                raise InputError(TRUNCATED_MESSAGE.format(safe_text(path)))


def _adapt_to_file(layout: DataLayout, source: Path, size: int) -> DataLayout:
    """Correct the encoding if `source` was compressed or unpacked on its way, as browsers do."""
    if layout.start == 0 and layout.encoding in ("raw", "gzip"):
        is_packed = is_gzip(source)
        if layout.encoding == "raw" and is_packed and source.suffix.lower() == ".gz":
            return layout._replace(encoding="gzip")
        if layout.encoding == "gzip" and not is_packed and source.stat().st_size == size + layout.skip:
            return layout._replace(encoding="raw")
    return layout


def _iterate_voxels(
    layout: DataLayout, file: BufferedReader, size: int, dtype: np.dtype, path: Path
) -> Iterator[bytes]:
    """Yield the decoded bytes from the first voxel to the end of the file."""
    if layout.skip < 0:
        file.seek(max(layout.start, file.seek(0, 2) - size))
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
    elif encoding == "gzip":  # zlib without gzip's header, as MetaImage has it
        decompressor = zlib.decompressobj()
        while not decompressor.eof and (chunk := decompressor.unconsumed_tail or file.read(CHUNK_BYTES)):
            yield decompressor.decompress(chunk, CHUNK_BYTES)
        yield decompressor.flush()
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
    remainder = b""
    while chunk := file.read(CHUNK_BYTES):
        digits = remainder + b"".join(chunk.split())
        remainder = digits[len(digits) // 2 * 2 :]
        yield bytes.fromhex(digits[: len(digits) // 2 * 2].decode("ascii"))


def _decode_text(file: IO[bytes], dtype: np.dtype, path: Path) -> Iterator[bytes]:
    """Yield whitespace-separated numbers as bytes of `dtype`. Raises InputError for one that does not fit."""
    unfinished = b""
    while chunk := file.read(CHUNK_BYTES):
        words = (unfinished + chunk).split()
        unfinished = b"" if chunk[-1:].isspace() else words.pop()
        if len(unfinished) > MAX_NUMBER_LENGTH:
            break
        yield _parse_numbers(words, dtype, path)
    yield _parse_numbers([unfinished] if unfinished else [], dtype, path)


def _parse_numbers(words: list[bytes], dtype: np.dtype, path: Path) -> bytes:
    try:
        if max(map(len, words), default=0) > MAX_NUMBER_LENGTH:
            raise ValueError
        numbers = np.array(words, "S").astype(np.float64)
    except ValueError as error:
        raise InputError(
            f"{safe_text(path)} could not be read: there is a word among its voxels that is not a number; export it "
            "again."
        ) from error
    with np.errstate(invalid="ignore", over="ignore"):
        converted = numbers.astype(dtype)
    if dtype.kind in "iu" and not np.array_equal(converted, numbers):
        raise InputError(f"{safe_text(path)} holds values that its type ({dtype}) cannot hold; save it as float.")
    return converted.tobytes()
