"""Zip and gzip files are unpacked within limits, and nothing in them chooses its place."""

import gzip
import struct
import zipfile
from pathlib import Path

import pytest
from detached_files import put, raw
from oblique import assert_refused, phantom, save_nifti, save_zip

from medapp.errors import InputError
from medapp.io import archives


def test_a_gzip_that_holds_more_than_its_header_announces_is_refused(tmp_path: Path) -> None:
    small = save_nifti(tmp_path / "a.nii", phantom()).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(small + bytes(20_000_000)))
    assert_refused(tmp_path / "bomb.nii.gz", words="more than its header")


def test_zips_that_are_not_safe_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = save_nifti(tmp_path / "in.nii", phantom()).read_bytes()
    path = tmp_path / "a.zip"
    for name in ("../../evil.nii", "/evil.nii", "a\\..\\..\\evil.nii", "C:\\evil.nii"):
        assert_refused(save_zip(path, **{name: image}), words="leads out")
    assert not list(tmp_path.parent.glob("evil*"))
    assert_refused(save_zip(path, **{"b.zip": save_zip(tmp_path / "b.zip", a=b"a").read_bytes()}), words="another zip")
    assert_refused(save_zip(path, **{"b.nii": save_zip(tmp_path / "b.zip", a=b"a").read_bytes()}), words="another zip")
    link = zipfile.ZipInfo("link.nii")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as box:
        box.writestr(link, "/etc/passwd")
    assert_refused(path, words="holds a link")
    assert_refused(save_zip(path), words="not an image")
    path.write_bytes(save_zip(path, **{"a.nii": image}).read_bytes()[:-30])
    assert_refused(path, words="damaged|not an image")
    monkeypatch.setattr(archives, "MAX_UPLOAD_FILES", 2)
    assert_refused(save_zip(path, a=b"1", b=b"2", c=b"3"), words="more than 2 files")
    monkeypatch.setattr(archives, "RATIO_CHECK_BYTES", 1000)
    assert_refused(save_zip(path, **{"a.nii": bytes(1_000_000)}), words="unpacks to")


def test_a_zip_may_not_unpack_beyond_the_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too much"):
        archives.unzip(save_zip(tmp_path / "a.zip", a=bytes(5000)), tmp_path / "out", room=4000)
    lying = bytearray((tmp_path / "a.zip").read_bytes())
    at = lying.rfind(b"PK\x01\x02")
    lying[at + 24 : at + 28] = struct.pack("<I", 10)  # the directory says 10 bytes, there are 5000
    (tmp_path / "b.zip").write_bytes(lying)
    with pytest.raises(InputError):
        archives.unzip(tmp_path / "b.zip", tmp_path / "out2", room=4000)


def test_a_gzip_without_an_image_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packed,) = put(tmp_path, {"x.raw.gz": gzip.compress(raw())})
    monkeypatch.setattr(archives, "gunzip", lambda *_: pytest.fail("unpacked"))
    assert_refused(packed, words="without a header")
