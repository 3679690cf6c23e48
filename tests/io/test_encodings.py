"""Voxels of NRRD and MetaImage in every encoding."""

import bz2
import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
from detached_files import meta_text, nrrd_text, put, raw
from oblique import assert_is_phantom, assert_refused, phantom

from medapp.io import files


def words(values: np.ndarray) -> bytes:
    return "\n".join(map(str, values.ravel(order="F").tolist())).encode()


NRRDS = {
    "raw": ("raw", raw()),
    "big endian": ("raw", raw(">")),
    "gzip": ("gzip", gzip.compress(raw())),
    "gz of two members": ("gz", gzip.compress(raw()[:300]) + gzip.compress(raw()[300:])),
    "bzip2": ("bzip2", bz2.compress(raw())),
    "hex": ("hex", "\n".join(raw().hex()[n : n + 61] for n in range(0, 1728, 61)).encode()),
    "text": ("ascii", words(phantom())),
}


@pytest.mark.parametrize("kind", NRRDS)
@pytest.mark.parametrize("apart", [False, True])
def test_nrrd_in_every_encoding(tmp_path: Path, kind: str, apart: bool) -> None:
    encoding, data = NRRDS[kind]
    changes = {"encoding": encoding, "endian": "big" if kind == "big endian" else None if kind == "text" else "little"}
    if apart:
        paths = put(tmp_path, {"x.nhdr": nrrd_text("data file: x.raw", **changes), "x.raw": data})
    else:
        paths = put(tmp_path, {"x.nrrd": nrrd_text("", **changes) + data})
    assert_is_phantom(files.read(paths))


def test_nrrd_skips_lines_and_bytes(tmp_path: Path) -> None:
    noise = b"one\ntwo\n"
    for number, (skips, data) in enumerate({
        "line skip: 2": noise + raw(), "lineskip: 1\nbyteskip: 4": noise + raw(), "byte skip: -1": noise + raw(),
    }.items()):  # fmt: skip
        assert_is_phantom(
            files.read(put(tmp_path / str(number), {"x.nhdr": nrrd_text(skips, "datafile: x.raw"), "x.raw": data}))
        )
    packed = nrrd_text("byte skip: 3", "data file: x.raw", encoding="gzip")
    assert_is_phantom(files.read(put(tmp_path / "z", {"x.nhdr": packed, "x.raw": gzip.compress(b"abc" + raw())})))
    ends = nrrd_text("byte skip: -1", "data file: x.raw", encoding="gzip")
    assert_refused(
        *put(tmp_path / "e", {"x.nhdr": ends, "x.raw": gzip.compress(raw())}), words="where its voxels begin"
    )


def test_metaimage_in_every_form(tmp_path: Path) -> None:
    packed = zlib.compress(raw())
    forms = {
        "plain": (meta_text(), raw()),
        "beside": (meta_text(data="./x.raw"), raw()),
        "packed": (meta_text(CompressedData="True", CompressedDataSize=str(len(packed))), packed),
        "gzip": (meta_text(CompressedData="True"), gzip.compress(raw())),
        "text": (meta_text(BinaryData="False"), words(phantom())),
        "header": (meta_text(HeaderSize="7"), b"*" * 7 + raw()),
        "end": (meta_text(HeaderSize="-1"), b"*" * 9 + raw()),
        "big endian": (meta_text(BinaryDataByteOrderMSB="True"), raw(">")),
        "keys after": (meta_text("ElementSpacing = 1.7 0.9 4", ElementSpacing=None), raw()),
        "size": (meta_text(ElementSize="1.7 0.9 4", ElementSpacing=None), raw()),
    }
    for name, (head, data) in forms.items():
        volume = files.read(put(tmp_path / name, {"x.mhd": head, "x.raw": data}))
        np.testing.assert_allclose(volume.spacing, [1.7, 0.9, 4], atol=1e-5, err_msg=name)
        assert_is_phantom(volume)
    for word in ("LOCAL", "local"):
        assert_is_phantom(files.read(put(tmp_path / "one", {"x.mha": meta_text(data=word) + raw()})))


def test_text_that_is_not_a_number_or_does_not_fit_its_type_is_refused(tmp_path: Path) -> None:
    for data, key in (
        (b"1 2 x " * 200, "not a number"),
        (b"1 2 99999 " * 200, "cannot hold"),
        (b"1 2 3", "truncated"),
    ):
        assert_refused(*put(tmp_path, {"x.nrrd": nrrd_text("", encoding="ascii") + data}), words=key)
