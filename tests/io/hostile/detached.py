"""Hostile files of several: headers that lie about, or lead away from, the files that hold their voxels."""

import bz2
import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
from corpus import ARRAY, CASES, add, meta, nifti, nrrd, png, zipped

BOMB = 200 * 1024**2


def packed_zeros(size: int, packer: object) -> bytes:
    """As many zeros, packed without ever lying in memory at once."""
    piece = bytes(1024**2)
    return b"".join(packer.compress(piece) for _ in range(size // len(piece))) + packer.flush()


def several(name: str, **contents: bytes) -> None:
    """A case of many files, and the same in a zip."""

    def build(folder: Path) -> list[Path]:
        for file, data in contents.items():
            (folder / file).write_bytes(data)
        return sorted(folder.iterdir())

    CASES[name] = build
    add(f"{name}, in a zip", "a.zip", zipped(contents))


def pair() -> tuple[bytes, bytes]:
    image = nib.Nifti1Pair(ARRAY, np.diag([1.0, 1, 2, 1]))
    files = {kind: nib.FileHolder(fileobj=io.BytesIO()) for kind in ("header", "image")}
    image.to_file_map(files)
    return tuple(files[kind].fileobj.getvalue() for kind in ("header", "image"))  # type: ignore[return-value]


HDR, IMG = pair()
VOXELS = bytes(27)
_gz = packed_zeros(BOMB, zlib.compressobj(9, zlib.DEFLATED, 31))
_zlib = packed_zeros(BOMB, zlib.compressobj(9))
_bz2 = packed_zeros(64 * 1024**2, bz2.BZ2Compressor())

# NRRD and MetaImage: fewer voxels than promised, in every encoding
for _encoding, _data in {
    "raw": bytes(26), "gzip": gzip.compress(bytes(26)), "bzip2": bz2.compress(bytes(26)), "hex": b"00" * 26,
    "ascii": b"0 " * 26, "cut gzip": gzip.compress(bytes(range(27)))[:20], "cut bzip2": bz2.compress(VOXELS)[:-9],
    "hex that is none": b"xy" * 27, "half a hex": b"0" * 53, "text that is none": b"<script> " * 27,
    "numbers without end": b"1" * 2_000_000, "zeros as gzip": bytes(27_000), "zeros as bzip2": bytes(27_000),
    "numbers, one of them long": b"1 " * 10_000 + b"1" * 900_000 + b" ",
}.items():  # fmt: skip
    _word = next(word for word in ("gzip", "bzip2", "hex", "ascii", "text", "raw", "numbers") if word in _encoding)
    _line = f"encoding: {'ascii' if _word in ('text', 'numbers') else _word}"
    add(f"NRRD: {_encoding} that is too short or damaged", "a.nrrd", nrrd(_line, voxels=_data))
    several(
        f"NRRD: {_encoding} that is too short or damaged, apart",
        **{"a.nhdr": nrrd(_line, "data file: a.raw", voxels=b""), "a.raw": _data},
    )
several("NRRD: sizes beyond the raw file", **{"a.nhdr": nrrd("sizes: 900 900 200", "data file: a.raw", voxels=b""),
                                              "a.raw": bytes(999)})  # fmt: skip
several("NRRD: sizes beyond everything", **{"a.nhdr": nrrd("sizes: 30000 30000 30000", "data file: a.raw", voxels=b""),
                                            "a.raw": bytes(999)})  # fmt: skip
for _name, _skip in {"more than there is": 99, "beyond what is taken": 99_999_999}.items():
    several(
        f"NRRD: skips {_name}",
        **{"a.nhdr": nrrd(f"byte skip: {_skip}", "data file: a.raw", voxels=b""), "a.raw": bytes(99)},
    )
_skips = nrrd("encoding: gzip", "byte skip: 16777217", "data file: a.raw.gz", voxels=b"")
several("NRRD: skips a bomb", **{"a.nhdr": _skips, "a.raw.gz": _gz})
several("MetaImage: voxels that begin before the file",
        **{"a.mhd": meta("HeaderSize = -2", last="ElementDataFile = a.raw", voxels=b""), "a.raw": VOXELS})  # fmt: skip
several("MetaImage: a bomb for one voxel more", **{
    "a.mhd": meta("CompressedData = True", "DimSize = 900 900 900", last="ElementDataFile = a.zraw", voxels=b""),
    "a.zraw": _zlib})  # fmt: skip
several("a header whose file is only packed nothing", **{
    "a.nhdr": nrrd("encoding: gzip", "data file: a.raw.gz", voxels=b""), "a.raw.gz": gzip.compress(b"")})  # fmt: skip

# names
_many = "\n".join(f"s{n}.raw" for n in range(9000))
for _list in ("LIST", "LIST 2"):
    several(f"an NRRD with {_list} of thousands",
            **{"a.nhdr": nrrd(f"data file: {_list}\n{_many}", voxels=b""), "s0.raw": bytes(27)})  # fmt: skip
    several(f"a MetaImage with {_list} of thousands",
            **{"a.mhd": meta(last=f"ElementDataFile = {_list}\n{_many}", voxels=b""), "s0.raw": bytes(27)})  # fmt: skip
for _target in (
    "../../s0.raw", "/etc/passwd", "./../s0.raw", ".\\..\\s0.raw", "C:\\s0.raw", "\\\\host\\s0.raw", "sub/s0.raw", "",
    "file:///s0.raw", "s0.raw\0", "~/s0.raw", "x" * 5000, "..", ".", "a.nhdr",
):  # fmt: skip
    several(f"an NRRD that lists {_target[:20]!r}",
            **{"a.nhdr": nrrd(f"data file: LIST\n{_target}", voxels=b""), "s0.raw": bytes(26)})  # fmt: skip
    several(f"a MetaImage that lists {_target[:20]!r}",
            **{"a.mhd": meta(last=f"ElementDataFile = LIST\n{_target}", voxels=b""), "s0.raw": bytes(26)})  # fmt: skip
for _pattern in (
    "s%d.raw 0 999999999 1", "s%d.raw 0 2 0", "s%d.raw 2 0 1", "s%s.raw 0 2 1", "s%99999999d.raw 0 2 1", "%n%n 0 2 1",
    "s%d%d.raw 0 2 1", "../s%d.raw 0 2 1", "s%d.raw 0 1 1", "%d" * 300 + " 0 2 1",
):  # fmt: skip
    several(f"a pattern of names: {_pattern[:30]}",
            **{"a.mhd": meta(last=f"ElementDataFile = {_pattern}", voxels=b""), "s0.raw": bytes(9)})  # fmt: skip
several("a header that names itself", **{"a.nhdr": nrrd("data file: a.nhdr", voxels=bytes(27))})
several("two files of the name that is meant", **{
    "a.nhdr": nrrd("data file: x(1).raw", voxels=b""), "x1.raw": VOXELS, "x-1.raw": VOXELS})  # fmt: skip
add("a header with a line of blanks", "a.nhdr", b"NRRD0004\n" + b" " * 250_000 + b"x\n\n")
add("a header with a long name of a file", "a.nhdr", nrrd("data file: " + "%d " * 80_000, voxels=b""))


def _linked(folder: Path) -> list[Path]:
    (folder / "a.nhdr").write_bytes(nrrd("data file: a.raw", voxels=b""))
    (folder / "a.raw").symlink_to("/etc/passwd")
    return [folder]


CASES["a link beside a header in a folder"] = _linked

# pairs and Analyze: dim at 40, datatype 70, vox_offset 108
for _name, _changes in {
    "more voxels than there are": {42: struct.pack("<h", 500)},
    "as many as can be": {40: struct.pack("<8h", 7, *[32767] * 7)},
    "a dimension below 0": {42: struct.pack("<h", -9)},
    "voxels beyond the file": {108: struct.pack("<f", 9e6)},
    "voxels before the file": {108: struct.pack("<f", -4)},
    "voxels at NaN": {108: struct.pack("<f", np.nan)},
    "a type that is none": {70: struct.pack("<h", 9999)},
}.items():
    _head = bytearray(HDR)
    for _at, _bytes in _changes.items():
        _head[_at : _at + len(_bytes)] = _bytes
    several(f"a pair: {_name}", **{"a.hdr": bytes(_head), "a.img": IMG})
    several(f"Analyze: {_name}", **{"a.hdr": bytes(_head[:344]) + bytes(4), "a.img": IMG})
several("a pair that is cut", **{"a.hdr": HDR, "a.img": IMG[:-1]})
several("a pair without its voxels", **{"a.hdr": HDR})
several("a pair without its header", **{"a.img": IMG})
several("a pair with a bomb", **{"a.hdr": HDR, "a.img.gz": _gz})
several("a pair that is packed and damaged", **{"a.hdr": HDR, "a.img.gz": gzip.compress(IMG)[:-200]})
several("two pairs", **{"a.hdr": HDR, "a.img": IMG, "b.hdr": HDR, "b.img": IMG})
several("Analyze with voxels of no size",
        **{"a.hdr": HDR[:76] + bytes(32) + HDR[108:344] + bytes(4), "a.img": IMG})  # fmt: skip
add("NIfTI: nowhere, with extensions", "a.nii", nifti({108: bytes(4), 348: b"\1\0\0\0"}))
add(
    "NIfTI: infinite everywhere",
    "a.nii",
    nifti({70: struct.pack("<2h", 16, 32)}, np.full(432, np.inf, "<f4").tobytes()),
)
_holes = np.where(np.arange(432) % 5, np.nan, np.arange(432)).astype("<f4")
add("NIfTI: four of five voxels are none", "a.nii", nifti({70: struct.pack("<2h", 16, 32)}, _holes.tobytes()))
add("MetaImage: NaN everywhere", "a.mha", meta("ElementType = MET_FLOAT", voxels=np.full(27, np.nan, "<f4").tobytes()))


# TIFF
def tiff(array: np.ndarray, **options: object) -> bytes:
    box = io.BytesIO()
    tifffile.imwrite(box, array, photometric="minisblack", metadata=None, **options)  # type: ignore[arg-type]
    return box.getvalue()


_PAGES = np.zeros((4, 7, 5), np.uint8)
_tags: Callable[[int, int, int], bytes] = lambda code, kind, value: struct.pack("<HHII", code, kind, 1, value)  # noqa: E731


def page(packing: int, length: int, data: bytes, *more: bytes, width: int = 5, bits: int = 8) -> bytes:
    """A TIFF of one page with one strip."""
    tags = [_tags(256, 4, width), _tags(257, 4, length), _tags(258, 3, bits), _tags(259, 3, packing), _tags(262, 3, 1),
            _tags(273, 4, 8), _tags(277, 3, 1), _tags(278, 4, length), _tags(279, 4, len(data)), *more]  # fmt: skip
    tags.sort(key=lambda tag: struct.unpack("<H", tag[:2])[0])
    head = struct.pack("<4sI", b"II*\0", 8 + len(data))
    return head + data + struct.pack("<H", len(tags)) + b"".join(tags) + struct.pack("<I", 0)


_idat = struct.pack(">I", 2**32 - 1) + b"IDAT" + zlib.compress(bytes(999))
add("PNG: a chunk without end", "a.png", png(9, 8)[:33] + _idat)
add("TIFF: a strip that is a bomb", "a.tif", page(8, 5, _zlib))
add("TIFF: a bomb as large as can be", "a.tif", page(8, 60_000, _zlib, width=60_000))
add("TIFF: a strip beyond the file", "a.tif", page(1, 5, bytes(25)).replace(_tags(273, 4, 8), _tags(273, 4, 2**31)))
add("TIFF: a strip that is too short", "a.tif", page(1, 5, bytes(24)))
add("TIFF: a deflated strip that is too short", "a.tif", page(8, 5, zlib.compress(bytes(24))))
add("TIFF: LZW that is none", "a.tif", page(5, 5, bytes(range(99))))
add("TIFF: LZW of 64 bits", "a.tif", page(5, 5, bytes(99), _tags(339, 3, 3), bits=64))
add("TIFF: an unknown packing", "a.tif", page(31_999, 5, bytes(99)))
add("TIFF: tiles as large as a planet", "a.tif",
    page(1, 5, bytes(99), _tags(322, 4, 2**31), _tags(323, 4, 2**31), _tags(324, 4, 8), _tags(325, 4, 25)))  # fmt: skip
add("TIFF: a million samples", "a.tif", page(1, 5, bytes(99)).replace(_tags(277, 3, 1), _tags(277, 4, 10**6)))
add(
    "TIFF: 4 samples that are 3 colours",
    "a.tif",
    page(1, 5, bytes(99), _tags(262, 3, 2)).replace(_tags(277, 3, 1), _tags(277, 3, 5)),
)
add("TIFF: samples of 0 bits", "a.tif", page(1, 5, bytes(99), bits=0))
add("TIFF: a predictor of no kind", "a.tif", page(8, 5, zlib.compress(bytes(25)), _tags(317, 3, 99)))
add("TIFF: pages in a ring of two", "a.tif", struct.pack("<4sIHI HI", b"II*\0", 8, 0, 14, 0, 8))
add("BigTIFF: a page beyond everything", "a.tif", struct.pack("<4sHHQ", b"II+\0", 8, 0, 2**63))
for _name, _text in {
    "planes without end": '<OME><Image><Pixels SizeC="999999" SizeZ="999999" SizeT="1"/></Image></OME>',
    "no XML": "<OME><Image", "a name of markup": '<OME><Image><Pixels SizeC="4" SizeZ="1" SizeT="1">'
    + '<Channel Name="&lt;script&gt;"/>' * 4 + "</Pixels></Image></OME>",
    "pages that are not there": '<OME><Image><Pixels SizeC="1" SizeZ="4" SizeT="1">'
    + "".join(f'<TiffData IFD="{n}" FirstZ="{n - 90}"/>' for n in range(90, 94)) + "</Pixels></Image></OME>",
    "ImageJ, without end": "ImageJ=1.5\nchannels=999999\nslices=999999\nframes=1",
    "ImageJ, over time": "ImageJ=1.5\nimages=4\nframes=4",
}.items():  # fmt: skip
    add(f"TIFF: described as {_name}", "a.tif", tiff(_PAGES, description=_text))
