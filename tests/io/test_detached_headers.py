"""Headers and voxels in files of their own: NRRD, MetaImage, NIfTI and Analyze pairs, in every encoding."""

import bz2
import gzip
import shutil
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from detached_files import LPS, meta_text, nrrd_text, put, raw, vectors
from nibabel.spm99analyze import Spm99AnalyzeImage
from oblique import AFFINE, BRIGHT, assert_refused, phantom, save_nifti, sitk_image, zipped

from medapp import cli
from medapp.imaging.volume import Volume
from medapp.io import archives, files


def same(volume: Volume) -> None:
    np.testing.assert_array_equal(volume.array, phantom())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert not volume.remarks


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
    same(files.read(paths))


def test_nrrd_with_its_voxels_in_a_packed_file_in_a_zip_and_a_folder(tmp_path: Path) -> None:
    both = {"x.nhdr": nrrd_text("data file: ./x.raw.gz", encoding="gzip"), "x.raw.gz": gzip.compress(raw())}
    paths = put(tmp_path / "up", both)
    same(files.read(paths))
    same(files.read([tmp_path / "up"]))
    same(files.read([zipped(tmp_path / "a.zip", **{f"study/{n}": d for n, d in both.items()})]))
    paths[1].rename(tmp_path / "up" / "x.raw")
    (tmp_path / "up" / "x.raw").write_bytes(raw())  # as a browser leaves it that unpacks what it fetches
    same(files.read([tmp_path / "up"]))
    assert_refused(paths[0], words="upload it together with x.raw.gz")


def test_nrrd_skips_lines_and_bytes(tmp_path: Path) -> None:
    noise = b"one\ntwo\n"
    for number, (skips, data) in enumerate({
        "line skip: 2": noise + raw(), "lineskip: 1\nbyteskip: 4": noise + raw(), "byte skip: -1": noise + raw(),
    }.items()):  # fmt: skip
        same(files.read(put(tmp_path / str(number), {"x.nhdr": nrrd_text(skips, "datafile: x.raw"), "x.raw": data})))
    packed = nrrd_text("byte skip: 3", "data file: x.raw", encoding="gzip")
    same(files.read(put(tmp_path / "z", {"x.nhdr": packed, "x.raw": gzip.compress(b"abc" + raw())})))
    ends = nrrd_text("byte skip: -1", "data file: x.raw", encoding="gzip")
    assert_refused(
        *put(tmp_path / "e", {"x.nhdr": ends, "x.raw": gzip.compress(raw())}), words="where its voxels begin"
    )


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
        same(volume)
    for word in ("LOCAL", "local"):
        same(files.read(put(tmp_path / "one", {"x.mha": meta_text(data=word) + raw()})))


def test_text_that_is_no_number_or_too_large_for_its_type_is_refused(tmp_path: Path) -> None:
    for data, key in (
        (b"1 2 x " * 200, "not a number"),
        (b"1 2 99999 " * 200, "cannot hold"),
        (b"1 2 3", "truncated"),
    ):
        assert_refused(*put(tmp_path, {"x.nrrd": nrrd_text("", encoding="ascii") + data}), words=key)


def test_an_order_of_bytes_that_is_not_told_is_asked_for(tmp_path: Path) -> None:
    assert_refused(*put(tmp_path, {"x.nrrd": nrrd_text("", endian=None) + raw()}), words="endian: little")


def test_files_of_the_same_name_are_told_apart_by_their_folder_or_not_at_all(tmp_path: Path) -> None:
    head = nrrd_text("data file: x.raw")
    one = put(tmp_path / "a", {"x.nhdr": head, "x.raw": raw()})
    two = put(tmp_path / "b", {"x.raw": bytes(864)})
    same(files.read([*one, *two]))
    three = put(tmp_path / "c", {"x.raw": bytes(864)})
    assert_refused(one[0], *two, *three, words="2 files called x.raw")


# pairs


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pair_of_header_and_image(tmp_path: Path, kind: type, order: str) -> None:
    (tmp_path / "up").mkdir()
    header = kind.header_class(endianness=order)
    header.set_data_dtype(f"{order}i2")
    nib.save(kind(phantom(), AFFINE, header), tmp_path / "up" / "x.img")
    pair = [tmp_path / "up" / "x.hdr", tmp_path / "up" / "x.img"]
    same(files.read(pair))
    same(files.read(pair[::-1]))
    same(files.read([tmp_path / "up"]))
    both = {f"x/{p.name}": p.read_bytes() for p in pair}
    same(files.read([zipped(tmp_path / "a.zip", **both, **{"__MACOSX/x/._x.hdr": b"junk"})]))
    packed = put(tmp_path / "gz", {f"{p.name}.gz": gzip.compress(p.read_bytes()) for p in pair})
    same(files.read(packed))
    same(files.read([pair[0], packed[1]]))
    assert_refused(pair[0], words="upload it together with x.img")
    assert_refused(pair[1], words="upload it together with its .hdr")
    pair[1].write_bytes(pair[1].read_bytes()[:-9])
    assert_refused(*pair, words="truncated")
    packed[1].write_bytes(gzip.compress(bytes(40_000_000)))
    assert_refused(*packed, words="more than")


def test_analyze_says_that_left_and_right_are_not_known(tmp_path: Path) -> None:
    for order in "<>":
        header = Spm99AnalyzeImage.header_class(endianness=order)
        header.set_data_dtype(f"{order}i2")
        image = Spm99AnalyzeImage(phantom(), np.diag([-0.9, 1.7, 4, 1]), header)
        image.to_file_map({"header": nib.FileHolder(tmp_path / "x.hdr"), "image": nib.FileHolder(tmp_path / "x.img"),
                           "mat": nib.FileHolder(tmp_path / "x.mat")})  # fmt: skip
        volume = files.read([tmp_path / "x.hdr", tmp_path / "x.img"])
        np.testing.assert_array_equal(volume.array, phantom())
        np.testing.assert_allclose(volume.spacing, [0.9, 1.7, 4], atol=1e-5)
        assert "which side is left" in volume.remarks[0] and "0.9 × 1.7 × 4 mm" in volume.remarks[1]
        assert volume.axis_codes == "LAS"


def test_headers_with_the_wrong_mark(tmp_path: Path) -> None:
    whole = save_nifti(tmp_path / "x.nii", phantom()).read_bytes()
    same(files.read(put(tmp_path / "a", {"x.hdr": whole[:348], "x.img": raw()})))
    same(files.read(put(tmp_path / "b", {"x.nii": whole[:344] + b"ni1\0" + whole[348:]})))
    assert_refused(*put(tmp_path / "c", {"x.nii": whole[:344] + b"ni1\0" + whole[348:-9]}), words="together with x.img")


def test_the_command_line_finds_what_lies_beside_a_header(tmp_path: Path) -> None:
    head = nrrd_text("data file: x.raw.gz", encoding="gzip")
    up = put(tmp_path / "up", {"x.nhdr": head, "x.raw.gz": gzip.compress(raw()), "other.raw": b"1", "scan.nii": b"2"})
    assert cli._files(up[0]) == up[:2]
    same(files.read(cli._files(up[0])))
    up[1].unlink()
    secret = put(tmp_path, {"secret": gzip.compress(raw())})[0]
    up[1].symlink_to(secret)
    assert cli._files(up[0]) == up[:1] and up[1] not in cli._files(tmp_path / "up")
    loud = put(tmp_path / "loud", {"X.NHDR": head, "X.RAW.GZ": gzip.compress(raw())})
    assert cli._files(loud[0]) == loud
    assert cli._files(save_nifti(tmp_path / "a.nii", phantom())) == [tmp_path / "a.nii"]


def test_what_a_gzip_holds_is_looked_at_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packed,) = put(tmp_path, {"x.raw.gz": gzip.compress(raw())})
    monkeypatch.setattr(archives, "gunzip", lambda *_: pytest.fail("unpacked"))
    assert_refused(packed, words="without a header")


# layers, colours, units


def test_layers_of_a_segmentation_are_called_layers(tmp_path: Path) -> None:
    four = {"dimension": "4", "type": "uchar", "kinds": "list domain domain domain",
            "space_directions": "none " + vectors(LPS[:3, :3])}  # fmt: skip
    marks = ("Segmentation_MasterRepresentation:=Binary labelmap", "Segment0_Layer:=0", "Segment1_Layer:=1")
    for count in (2, 3):
        head = nrrd_text(*marks, "", sizes=f"{count} 9 8 6", **four)
        assert_refused(*put(tmp_path, {"x.seg.nrrd": head + bytes(432 * count)}), words=f"{count} layers of segments")
        assert_refused(*put(tmp_path, {"x.nrrd": head + bytes(432 * count)}), words=f"{count} layers of segments")
    one = nrrd_text(*marks, "", sizes="1 9 8 6", **four) + phantom(np.uint8).tobytes(order="F")
    same(files.read(put(tmp_path, {"x.seg.nrrd": one})))
    head = nrrd_text("", sizes="3 9 8 6", **four)
    assert_refused(*put(tmp_path, {"x.nrrd": head + bytes(432 * 3)}), words="a list of 3 values")
    flat = nrrd_text(*marks, "", type="uchar") + phantom(np.uint8).tobytes(order="F")
    same(files.read(put(tmp_path, {"y.seg.nrrd": flat})))


def test_axes_of_an_nrrd_that_are_not_of_space(tmp_path: Path) -> None:
    last = {"dimension": "4", "space_directions": vectors(LPS[:3, :3]) + " none"}
    for kind in ("time", "list", "???"):
        head = nrrd_text("", sizes="9 8 6 1", kinds=f"domain domain domain {kind}", **last)
        same(files.read(put(tmp_path, {"x.nrrd": head + raw()})))
    head = nrrd_text("", sizes="9 8 6 2", kinds="domain domain domain time", **last)
    assert_refused(*put(tmp_path, {"x.nrrd": head + raw() * 2}), words="4 dimensions: 2 time points")


def test_colours_of_an_nrrd(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (3, 9, 8, 6)).astype(np.uint8)
    for kind in ("RGB-color", "vector"):
        head = nrrd_text("", dimension="4", type="uchar", sizes="3 9 8 6", kinds=f"{kind} domain domain domain",
                         space_directions="none " + vectors(LPS[:3, :3]))  # fmt: skip
        volume = files.read(put(tmp_path, {"x.nrrd": head + rgb.tobytes(order="F")}), colour=True)
        np.testing.assert_array_equal(volume.array, np.moveaxis(rgb, 0, -1))
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("m", 1000), ("meters", 1000), ("cm", 10), ("um", 1e-3)])
def test_units_of_nrrd_and_metaimage(tmp_path: Path, unit: str, scale: float) -> None:
    fine = np.diag([1 / scale] * 3 + [1]) @ LPS
    head = nrrd_text(f'space units: "{unit}" "{unit}" "{unit}"', "", space_directions=vectors(fine[:3, :3]),
                     space_origin=vectors(fine[:3, 3:]))  # fmt: skip
    same(files.read(put(tmp_path, {"x.nrrd": head + raw()})))
    spacing = " ".join(repr(v / scale) for v in (1.7, 0.9, 4.0))
    offset = " ".join(map(repr, fine[:3, 3].tolist()))
    head = meta_text(data="LOCAL", DistanceUnits=unit, ElementSpacing=spacing, Offset=offset)
    same(files.read(put(tmp_path, {"x.mha": head + raw()})))


def test_a_unit_that_cannot_be_meant_is_called_a_unit(tmp_path: Path) -> None:
    head = nrrd_text('space units: "m" "m" "m"', "")
    volume = files.read(put(tmp_path, {"x.nrrd": head + raw()}))
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert "in metres" in volume.remarks[0] and "1700 × 900 × 4000 mm" in volume.remarks[0]
    head = nrrd_text('space units: "furlong" "furlong" "furlong"', "")
    assert_refused(*put(tmp_path, {"x.nrrd": head + raw()}), words="unknown unit .furlong.")


def test_what_simpleitk_writes_comes_back(tmp_path: Path) -> None:
    for name in ("a.nhdr", "a.mhd"):
        for packed in (False, True):
            folder = tmp_path / f"{name}{packed}"
            folder.mkdir()
            sitk.WriteImage(sitk_image(phantom()), folder / name, useCompression=packed)
            same(files.read([folder]))
            same(files.read(cli._files(folder / name)))
            shutil.make_archive(str(tmp_path / "z"), "zip", folder)
            same(files.read([tmp_path / "z.zip"]))
    assert files.read([tmp_path / "z.zip"]).array[BRIGHT] == 100
