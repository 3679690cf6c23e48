"""Headers find their data files among what was uploaded, and nowhere else."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from detached_files import meta_text, nrrd_text, put, raw
from oblique import AFFINE, assert_is_phantom, assert_refused, phantom, save_nifti, save_zip, sitk_image

from medapp.io import files


def test_nrrd_with_its_voxels_in_a_packed_file_in_a_zip_and_a_folder(tmp_path: Path) -> None:
    both = {"x.nhdr": nrrd_text("data file: ./x.raw.gz", encoding="gzip"), "x.raw.gz": gzip.compress(raw())}
    paths = put(tmp_path / "up", both)
    assert_is_phantom(files.read(paths))
    assert_is_phantom(files.read([tmp_path / "up"]))
    assert_is_phantom(files.read([save_zip(tmp_path / "a.zip", **{f"study/{n}": d for n, d in both.items()})]))
    paths[1].rename(tmp_path / "up" / "x.raw")
    (tmp_path / "up" / "x.raw").write_bytes(raw())  # as a browser leaves it that unpacks what it fetches
    assert_is_phantom(files.read([tmp_path / "up"]))
    assert_refused(paths[0], words="upload it together with x.raw.gz")


def slices() -> dict[str, bytes]:
    return {f"s{k:03d}.raw": phantom()[..., k].astype("<i2").tobytes(order="F") for k in range(6)}


@pytest.mark.parametrize("form", ["LIST", "LIST 2", "s%03d.raw 0 5 1", "s%03d.raw 5 0 -1"])
@pytest.mark.parametrize("kind", ["nhdr", "mhd"])
def test_voxels_in_a_file_for_each_slice(tmp_path: Path, kind: str, form: str) -> None:
    names = list(slices()) if form.startswith("LIST") else []
    head = (
        nrrd_text(f"data file: {form}", *names)
        if kind == "nhdr"
        else meta_text(*names, data=form.replace("LIST 2", "LIST 2D"))
    )
    volume = files.read(put(tmp_path, {f"x.{kind}": head, **slices()}))
    np.testing.assert_array_equal(volume.array, phantom()[..., :: -1 if form.endswith("-1") else 1])
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    (tmp_path / "s003.raw").unlink()
    assert_refused(*sorted(tmp_path.iterdir()), words="together with s003.raw")


def test_files_of_the_same_name_are_distinguished_by_their_folder(tmp_path: Path) -> None:
    head = nrrd_text("data file: x.raw")
    one = put(tmp_path / "a", {"x.nhdr": head, "x.raw": raw()})
    two = put(tmp_path / "b", {"x.raw": bytes(864)})
    assert_is_phantom(files.read([*one, *two]))
    three = put(tmp_path / "c", {"x.raw": bytes(864)})
    assert_refused(one[0], *two, *three, words="2 files called x.raw")


def test_data_files_beside_a_header_are_found(tmp_path: Path) -> None:
    head = nrrd_text("data file: x.raw.gz", encoding="gzip")
    up = put(tmp_path / "up", {"x.nhdr": head, "x.raw.gz": gzip.compress(raw()), "other.raw": b"1", "scan.nii": b"2"})
    assert files.with_data_files(up[0]) == up[:2]
    assert_is_phantom(files.read(files.with_data_files(up[0])))
    up[1].unlink()
    secret = put(tmp_path, {"secret": gzip.compress(raw())})[0]
    up[1].symlink_to(secret)
    assert files.with_data_files(up[0]) == up[:1]
    loud = put(tmp_path / "loud", {"X.NHDR": head, "X.RAW.GZ": gzip.compress(raw())})
    assert files.with_data_files(loud[0]) == loud
    assert files.with_data_files(save_nifti(tmp_path / "a.nii", phantom())) == [tmp_path / "a.nii"]


@pytest.mark.parametrize(
    "target",
    ["../secret.raw", "/etc/passwd", "C:\\secret.raw", "sub/secret.raw", "./../secret.raw", "../s%03d.raw 1 9 1"],
)
@pytest.mark.parametrize("header", ["a.mhd", "a.nhdr"])
def test_a_header_may_point_only_to_what_was_uploaded_with_it(tmp_path: Path, header: str, target: str) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(1000))
    sitk.WriteImage(sitk_image(phantom()), tmp_path / "up" / header)
    path, raw = tmp_path / "up" / header, tmp_path / "up" / "a.raw"
    text = path.read_bytes().replace(b"a.raw", target.encode()).replace(b"encoding: gzip", b"encoding: raw")
    path.write_bytes(text)
    assert_refused(path, *([raw] if raw.exists() else []), words="another folder")
    path.write_bytes(text.replace(target.encode(), b"other.raw"))
    assert_refused(path, words="together with other.raw")
    path.write_bytes(
        text.replace(b"ElementDataFile = ", b"ElementDataFile : ").replace(
            b"data file: ", b"data file: a.raw\ndatafile: "
        )
    )
    assert_refused(path, words="clearly|another folder|upload it together")
