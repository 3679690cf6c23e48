"""A corpus of hostile files, each built by a small function: `CASES` maps a name to one that writes it into a folder.

A builder gets an empty folder and returns the paths that are uploaded. Every one must be refused in one sentence.
"""

import base64
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

Build = Callable[[Path], list[Path]]
CASES: dict[str, Build] = {}
SECRET = "Secret"
ARRAY = np.random.default_rng(0).integers(0, 999, (9, 8, 6)).astype(np.int16)


def put(name: str, data: bytes, folder: Path) -> list[Path]:
    (folder / name).write_bytes(data)
    return [folder / name]


def add(name: str, file: str, data: bytes) -> None:
    CASES[name] = partial(put, file, data)


def nifti(changes: dict[int, bytes] | None = None, voxels: bytes | None = None) -> bytes:
    """A NIfTI file whose header has other bytes at some offsets."""
    image = nib.Nifti1Image(ARRAY, np.diag([1.0, 1, 2, 1]))
    image.header["descrip"] = SECRET.encode()
    raw = bytearray(image.to_bytes())
    raw[352:] = raw[352:] if voxels is None else voxels
    for at, data in (changes or {}).items():
        raw[at : at + len(data)] = data
    return bytes(raw)


def mgh() -> bytes:
    return nib.MGHImage(ARRAY, np.eye(4)).to_bytes()


def meta(*lines: str, voxels: bytes = bytes(27), last: str = "ElementDataFile = LOCAL") -> bytes:
    head = ["ObjectType = Image", "NDims = 3", "DimSize = 3 3 3", "ElementType = MET_UCHAR", "ElementSpacing = 1 1 1"]
    words = {line.split(" =")[0]: line for line in head} | {line.split(" =")[0]: line for line in lines}
    return "\n".join([*words.values(), last, ""]).encode("latin-1") + voxels


def nrrd(*lines: str, voxels: bytes = bytes(27)) -> bytes:
    head = ["type: uint8", "dimension: 3", "sizes: 3 3 3", "encoding: raw"]
    words = {line.split(":")[0]: line for line in head} | {line.split(":")[0]: line for line in lines}
    return "\n".join(["NRRD0004", *words.values(), "", ""]).encode("latin-1") + voxels


def picture(kind: str) -> bytes:
    box = io.BytesIO()
    Image.fromarray(ARRAY[..., 0].astype(np.uint8)).save(box, kind)
    return box.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")
    )


def tiff(pages: int) -> bytes:
    """Pages of one pixel each, in as few bytes as can be."""
    out = bytearray(b"II*\0" + struct.pack("<I", 8))
    for n in range(pages):
        tags = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 4), (279, 4, 1, 1)]
        out += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        out += struct.pack("<I", len(out) + 4 if n < pages - 1 else 0)
    return bytes(out)


def zipped(contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0) -> bytes:
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w", method) as archive:
        for name, data in contents.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type, entry.external_attr = method, mode << 16
            archive.writestr(entry, data)
    return box.getvalue()


def dicom(syntax: UID = ExplicitVRLittleEndian, pixels: bytes | None = None, **changes: object) -> Dataset:
    """A slice of 8 × 9 pixels; a change to None takes a tag away."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.SeriesInstanceUID = ds.StudyInstanceUID = "1.2.3"
    ds.PatientName, ds.PatientID, ds.StudyDescription = f"{SECRET}^Jane", SECRET, SECRET
    ds.Modality, ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored = "MR", 8, 9, 1, 16, 12
    ds.HighBit, ds.PixelRepresentation, ds.PhotometricInterpretation = 11, 0, "MONOCHROME2"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 2
    ds.PixelData = ARRAY[..., 0].T.tobytes() if pixels is None else pixels
    if syntax.is_encapsulated:
        ds["PixelData"].VR = "OB"
    for word, value in changes.items():
        if value is None:
            del ds[word]
        else:
            setattr(ds, word, value)
    return ds


def saved(*slices: Dataset) -> Build:
    def build(folder: Path) -> list[Path]:
        for n, ds in enumerate(slices):
            ds.save_as(folder / f"IM{n}", enforce_file_format=True)
        return sorted(folder.iterdir())

    return build


def raw(ds: Dataset) -> bytes:
    box = io.BytesIO()
    ds.save_as(box, enforce_file_format=True)
    return box.getvalue()


def deflated_without_preamble() -> bytes:
    whole = raw(dicom(DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    end = 132 + 12 + struct.unpack("<I", whole[140:144])[0]  # of the file meta information
    return whole[132:end] + packer.compress(bytes(64 * 1024**2)) + packer.flush()


WHOLE = {
    "a.nii": nifti(), "a.nii.gz": gzip.compress(nifti()), "a.mgh": mgh(), "a.mgz": gzip.compress(mgh()),
    "a.mha": meta(),
    "a.nrrd": nrrd(), "a.png": picture("PNG"), "a.jpg": picture("JPEG"), "a.tif": picture("TIFF"), "IM0": raw(dicom()),
    "a.zip": zipped({"a.nii": nifti()}),
    "z.mha": meta("CompressedData = True", voxels=zlib.compress(bytes(range(27)))),
    "z.nrrd": nrrd("encoding: gzip", voxels=gzip.compress(bytes(range(27)))),
}  # fmt: skip
for _name, _data in WHOLE.items():
    for _share in (0, 0.02, 0.3, 0.7, 0.93):
        if _name in ("a.jpg", "a.png", "z.nrrd") and _share > 0.9:
            continue  # only an end mark is missing
        add(f"truncated {_name} to {_share:.0%}", _name, _data[: int(_share * len(_data))])

# NIfTI: dim at 40, datatype 70, bitpix 72, pixdim 76, vox_offset 108, qform_code 252, sform_code 254, srow_x 280
NOWHERE = struct.pack("<2h", 0, 2)
for _name, _changes in {
    "dim[0] is 0": {40: struct.pack("<h", 0)},
    "dim[0] is 8": {40: struct.pack("<h", 8)},
    "dim[0] is -3": {40: struct.pack("<h", -3)},
    "seven real dimensions": {40: struct.pack("<8h", 7, 2, 2, 2, 2, 2, 2, 2)},
    "seven huge dimensions": {40: struct.pack("<8h", 7, *[32767] * 7)},
    "a dimension below 0": {42: struct.pack("<h", -9)},
    "a dimension of 0": {44: struct.pack("<h", 0)},
    "more voxels than there are": {42: struct.pack("<h", 500)},
    "no datatype": {70: struct.pack("<h", 0)},
    "one bit a voxel": {70: struct.pack("<h", 1)},
    "a datatype that is none": {70: struct.pack("<h", 9999)},
    "larger voxels than bitpix says": {70: struct.pack("<2h", 64, 16)},
    "complex numbers": {40: struct.pack("<4h", 3, 2, 2, 2), 70: struct.pack("<2h", 32, 64)},
    "voxels beyond the file": {108: struct.pack("<f", 9e6)},
    "voxels beyond everything": {108: struct.pack("<f", 3e38)},
    "voxels before the file": {108: struct.pack("<f", -400)},
    "voxels at NaN": {108: struct.pack("<f", np.nan)},
    "NaN in the sform": {280: struct.pack("<f", np.nan), 252: NOWHERE},
    "infinity in the sform": {280: struct.pack("<f", np.inf), 252: NOWHERE},
    "an sform of nothing but zeros": {280: bytes(48), 252: NOWHERE},
    "a singular sform": {280: struct.pack("<12f", *[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]), 252: NOWHERE},
    "voxels as large as a planet": {280: struct.pack("<f", 1e30), 252: NOWHERE},
    "voxels as small as nothing": {280: struct.pack("<f", 1e-30), 252: NOWHERE},
    "a place among the stars": {292: struct.pack("<f", 1e20), 252: NOWHERE},
    "voxel sizes of NaN and no form": {252: bytes(4), 76: struct.pack("<8f", *[np.nan] * 8)},
    "the wrong byte order": {0: struct.pack(">i", 348), 40: struct.pack(">4h", 3, 9, 8, 6)},
    "a slope that makes infinity": {112: struct.pack("<2f", 3e38, 3e38)},
    "an extension larger than the file": {108: struct.pack("<f", 368), 348: b"\1\0\0\0" + struct.pack("<2i", 2**30, 2)},
}.items():
    add(f"NIfTI: {_name}", "a.nii", nifti(_changes))
    add(f"NIfTI packed: {_name}", "a.nii.gz", gzip.compress(nifti(_changes)))
add("NIfTI: not a number", "a.nii", nifti({70: struct.pack("<2h", 16, 32)}, np.full(432, np.nan, "<f4").tobytes()))
_beyond = np.tile(np.array([1e30, -3e38], "<f4"), 216).tobytes()
add("NIfTI: values beyond all sense", "a.nii", nifti({70: struct.pack("<2h", 16, 32)}, _beyond))
_head2 = nib.Nifti2Header()
_head2.set_data_shape((2**40, 2**40, 2**40))
add("NIfTI-2: dimensions that overflow", "a.nii", _head2.binaryblock + bytes(9000))
add("MGH: dimensions below 0", "a.mgh", mgh()[:4] + struct.pack(">3i", -1, -1, 5) + mgh()[16:])
add(
    "MGH: huge dimensions", "a.mgz", gzip.compress(mgh()[:4] + struct.pack(">3i", 2**31 - 1, 2**31 - 1, 9) + mgh()[16:])
)

# bombs and odd archives
add("a gzip bomb of nothing", "a.gz", gzip.compress(bytes(300 * 1024**2), 1))
add("a gzip bomb behind a small header", "a.nii.gz", gzip.compress(nifti() + bytes(20 * 1024**2), 1))
add("gzip in gzip", "a.nii.gz", gzip.compress(gzip.compress(nifti())))
add("a DICOM with an entry of no known kind", "IM0", WHOLE["IM0"].replace(b"\x28\0\x04\0CS", b"\x28\0\x04\0C["))
add("a zip in a gzip", "a.gz", gzip.compress(WHOLE["a.zip"]))
add("a zip bomb", "a.zip", zipped({f"{n}.nii": bytes(30 * 1024**2) for n in range(10)}))
add("a zip in a zip", "a.zip", zipped({"b.zip": WHOLE["a.zip"]}))
add("a gzip bomb in a zip", "a.zip", zipped({"a.gz": gzip.compress(nifti() + bytes(20 * 1024**2), 1)}))
add("more entries than are taken", "a.zip", zipped({str(n): b"" for n in range(20_001)}, zipfile.ZIP_STORED))
_many = b"PK\1\2" + struct.pack("<6H3I5H2I", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
add("a table of contents of 9 MB", "a.zip", b"PK\3\4" + bytes(26) + _many * 195_000
    + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, len(_many) * 195_000, 30, 0))  # fmt: skip
for _name in ("../../a.nii", "/etc/a.nii", "..\\a.nii", "\\\\host\\a.nii", "C:/a.nii", "a/../../b.nii"):
    add(f"a zip that leads to {_name}", "a.zip", zipped({_name: nifti()}))
add("a link in a zip", "a.zip", zipped({"a.nii": b"/etc/passwd"}, mode=0o120777))
add("a zip packed by LZMA", "a.zip", zipped({"a.nii": nifti()}, zipfile.ZIP_LZMA))
add("a zip of nothing", "a.zip", zipped({}))
add("a zip and a picture at once", "a.zip", WHOLE["a.zip"][:-40] + WHOLE["a.png"])
add("a picture with nothing in it and a zip", "a.png", png(9, 8)[:45] + WHOLE["a.zip"])
add("two images in a zip", "a.zip", zipped({"a.nii": nifti(), "b.nii": nifti()}))

# headers that point elsewhere, or lie
for _target in ("/etc/passwd", "../secret.raw", "LIST", "C:\\secret", "file:///etc/passwd", "a%03d.raw 1 3 1"):
    add(f"a MetaImage that points to {_target}", "a.mhd", meta(last=f"ElementDataFile = {_target}", voxels=b""))
    add(f"an NRRD that points to {_target}", "a.nhdr", nrrd(f"data file: {_target}", voxels=b""))
add("an NRRD that points elsewhere after 300 kB", "a.nrrd",
    nrrd("\n".join(["# x"] * 70_000), "data file: /etc/passwd", voxels=b""))  # fmt: skip
_two = "ElementDataFile = LOCAL\nElementDataFile = /etc/passwd"
add("a MetaImage with two data files", "a.mha", meta("Comment =", "DimSize = 9 9 9", last=_two, voxels=b""))
for _line in (
    f"NDims = 5000\nDimSize = {'3 ' * 5000}", "NDims = -1", "DimSize = 3 3", "DimSize = 99999 99999 99999",
    "DimSize = 0 3 3", "DimSize = -3 3 3", "ElementSpacing = 0 1 1", "ElementSpacing = nan 1 1",
    "TransformMatrix = 1 0 0 1 0 0 0 0 1", "ElementType = MET_OTHER", "ElementNumberOfChannels = 999",
    "CompressedData = True\nCompressedDataSize = 999999999999", "HeaderSize = 5\nHeaderSize = 6", "BinaryData = False",
    "ElementType = MET_DOUBLE", "NDims = 2\nDimSize = 3 99999", "ElementSpacing = 1e300 1 1",
):  # fmt: skip
    add(f"MetaImage: {_line[:40]!r}", "a.mha", meta(_line))
for _line in (
    "dimension: 99", "sizes: 3 3", "sizes: 99999 99999 99999", "sizes: -3 3 3", "sizes: 3 3 3 3", "type: block",
    "encoding: gzip", "encoding: bzip2", "encoding: /etc/passwd", "byte skip: 99999999", "byte skip: -5",
    "space dimension: 3\nspace directions: (1,0,0) (1,0,0) (0,0,1)", "spacings: 0 1 1",
    "space: RAS\nspace directions: (nan,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)", "type: double",
):  # fmt: skip
    add(f"NRRD: {_line[:40]!r}", "a.nrrd", nrrd(_line))
add(
    "MetaImage: a bomb",
    "a.mha",
    meta("CompressedData = True", "DimSize = 900 900 900", voxels=zlib.compress(bytes(10**6))),
)

# DICOM
for _name, _tags in {
    "no rows": {"Rows": None},
    "64 bits": {"BitsAllocated": 64},
    "7 bits": {"BitsAllocated": 7},
    "no pixels": {"PixelData": None},
    "a size that is not that of the pixels": {"Rows": 65535, "Columns": 3000},
    "as large as can be": {"Rows": 65535, "Columns": 65535},
    "frames without end": {"NumberOfFrames": 2**31 - 1},
    "frames below 0": {"NumberOfFrames": -2},
    "many samples": {"SamplesPerPixel": 60000},
    "no kind of brightness": {"PhotometricInterpretation": None},
    "pixels of size 0": {"PixelSpacing": [0, 1]},
    "pixels as large as a planet": {"PixelSpacing": [1e30, 1e30]},
    "directions that are none": {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    "a place among the stars": {"ImagePositionPatient": [1e20, 0, 0]},
    "a report": {"Modality": "SR"},
}.items():
    CASES[f"DICOM: {_name}"] = saved(dicom(**_tags))
for _syntax in (RLELossless, JPEGBaseline8Bit, JPEGLSLossless, JPEG2000Lossless):
    for _noise, _bytes in {"nonsense": b"\xff\xd8\xff\xf7" + bytes(range(256)) * 3, "zeros": bytes(300)}.items():
        CASES[f"DICOM: {_noise} as {_syntax.name}"] = saved(dicom(_syntax, encapsulate([_bytes])))
    CASES[f"DICOM: no frame of {_syntax.name}"] = saved(
        dicom(_syntax, b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0")
    )
_run = struct.pack("<16I", 2, 64, 64, *[0] * 13) + b"\x81\0" * 2_000_000
CASES["DICOM: a bomb of run lengths"] = saved(dicom(RLELossless, encapsulate([_run])))
add("DICOM: deflated, without preamble", "IM0", deflated_without_preamble())
CASES["DICOM: slices of different sizes"] = saved(dicom(), dicom(Rows=4, ImagePositionPatient=[0, 0, 2]))
CASES["DICOM: slices in one place"] = saved(dicom(), dicom(PixelData=ARRAY[..., 1].T.tobytes()))
CASES["DICOM: slices that are not parallel"] = saved(
    dicom(), dicom(ImageOrientationPatient=[0, 1, 0, 0, 0, 1], ImagePositionPatient=[5, 5, 5])
)
CASES["DICOM: two studies"] = saved(dicom(), dicom(SeriesInstanceUID="1.2.4", ImagePositionPatient=[0, 0, 2]))


def _private(folder: Path) -> list[Path]:
    ds = dicom(PixelData=None)
    ds.add_new(0x00091001, "OB", bytes(8 * 1024**2))
    return saved(ds)(folder)


CASES["DICOM: a huge private tag and no pixels"] = _private

# found by benchmarks/fuzz.py: 6 kB from which pydicom made 7 GB of words for its log
_NESTED = (
    "c-muNpcYUeOP7nMvo8~n4h{_UVPQB2WHB)?GWeedGX6urSxilT7#Nrd84T4O90(*JBFbn|gB+Y?#qbkI<S~rHf-d_T!*hSJ8jKXy"
    "gD0LKF2gM~h~tR?YdmREGoI)e*8l!9Jit)LLX?rCaWoo7RF5Od%e(EP<=v3TOSA`sB879bIWzRK_h@rww5lAfDo5i87x*_?-i?-b"
    "w98AxhamO{{s}V&cZ4uPC^niz2(8*|NQNnpoRLQ}&uB$NZdg+_n}vGHFc|6?S?C#==^5x5>KU6^7#Nrs>sjcTSX$^A0!<TU2=?G("
    "2ylt?q;i&Qq#+oP>`rPSK(>*j<Y+`1a}G9*G1N0q(11lV11~W8*%%BNjxYfL;4B<M"
)
add("DICOM: broken sequences nested in the group's length", "IM0", zlib.decompress(base64.b85decode(_NESTED)))

# pictures
for _size in ((2**31 - 1, 1), (2**32 - 1, 2**32 - 1), (60_000, 60_000), (0, 5)):
    add(f"PNG: {_size[0]} × {_size[1]}", "a.png", png(*_size))
add("PNG: a bomb of text", "a.png", png(40_000, 1, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 * 1024**2)))))
add("TIFF: 5000 pages", "a.tif", tiff(5000))
add("TIFF: pages in a ring", "a.tif", b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8))

# names, and what is no file
for _name in (
    "\x07\x1b[31m\u202e.nii",
    "n" * 251 + ".nii",
    "ä" * 120 + ".nii.gz",
    "...gz",
    "<script>.nii",
    "a\nb.nii",
    "%2e%2e",
):
    add(f"named {_name[:20]!r}", _name, b"\x1f\x8b not an image" if _name.endswith("gz") else b"not an image")
CASES["a name that is too long"] = lambda folder: [folder / ("x" * 5000)]
CASES["a name with a zero in it"] = lambda folder: [folder / "a\0.nii"]
CASES["a file that is not there"] = lambda folder: [folder / "gone.nii"]
CASES["an empty folder"] = lambda folder: [folder]
CASES["nothing"] = lambda folder: []


def _linked(folder: Path) -> list[Path]:
    (folder / "a.nii").symlink_to("/etc/passwd")
    return [folder]


CASES["a folder with a link in it"] = _linked
