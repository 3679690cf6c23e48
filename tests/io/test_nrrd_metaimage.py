"""NRRD and MetaImage: axes, positions, units, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from detached_files import LPS, meta_text, nrrd_text, nrrd_vectors, put, raw
from oblique import AFFINE, BRIGHT, assert_is_phantom, assert_refused, phantom, save_zip, sitk_image

from medapp import cli
from medapp.errors import InputError
from medapp.io import files
from medapp.io.placement import NO_ORIGIN_REMARK, NO_POSITION_REMARK, NO_SPACING_REMARK


def test_images_without_a_position_get_a_remark(tmp_path: Path) -> None:
    head = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(range(8)))
    head = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nspacings: 1 1 1\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + bytes(range(8)))
    for name in ("a.mha", "a.nrrd"):
        volume = files.read([tmp_path / name])
        assert volume.array[1, 0, 0] == 1 and "left and right" in volume.remarks[0]


def test_header_and_data_in_one_zip(tmp_path: Path) -> None:
    sitk.WriteImage(sitk_image(phantom()), tmp_path / "a.mhd")
    path = save_zip(tmp_path / "a.zip", **{f"x/{n}": (tmp_path / n).read_bytes() for n in ("a.mhd", "a.raw")})
    np.testing.assert_array_equal(files.read([path]).array, phantom())


@pytest.mark.parametrize("cut", [20, 200])
@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "z.mha", "z.nrrd", "a.mhd"])
def test_truncated_itk_files_are_refused(tmp_path: Path, name: str, cut: int) -> None:
    sitk.WriteImage(sitk_image(phantom()), tmp_path / name, useCompression=name.startswith("z"))
    data = (tmp_path / name).with_suffix(".raw" if name == "a.mhd" else Path(name).suffix)
    data.write_bytes(data.read_bytes()[:-cut])
    assert_refused(*{tmp_path / name: 0, data: 0}, words="damaged|truncated")


def test_itk_further_dimensions_and_vectors_are_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image([4, 4, 4, 3], sitk.sitkInt16), tmp_path / "a.nrrd")
    assert_refused(tmp_path / "a.nrrd", words="4 dimensions: 3 time")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), tmp_path / "b.mha")
    assert_refused(tmp_path / "b.mha", words="3 values at every voxel")
    sitk.WriteImage(sitk.Image([5, 4], sitk.sitkUInt8), tmp_path / "c.mha")
    assert files.read([tmp_path / "c.mha"]).shape == (5, 4, 1)
    text = (tmp_path / "c.mha").read_bytes()
    (tmp_path / "d.mha").write_bytes(text.replace(b"DimSize = 5 4", b"DimSize = 50000 40000"))
    assert_refused(tmp_path / "d.mha", words="too large")


def test_a_missing_byte_order_is_asked_for(tmp_path: Path) -> None:
    assert_refused(*put(tmp_path, {"x.nrrd": nrrd_text("", endian=None) + raw()}), words="endian: little")


def test_overlapping_segments_are_refused_as_such(tmp_path: Path) -> None:
    four = {"dimension": "4", "type": "uchar", "kinds": "list domain domain domain",
            "space_directions": "none " + nrrd_vectors(LPS[:3, :3])}  # fmt: skip
    marks = ("Segmentation_MasterRepresentation:=Binary labelmap", "Segment0_Layer:=0", "Segment1_Layer:=1")
    for count in (2, 3):
        head = nrrd_text(*marks, "", sizes=f"{count} 9 8 6", **four)
        assert_refused(*put(tmp_path, {"x.seg.nrrd": head + bytes(432 * count)}), words=f"{count} layers of segments")
        assert_refused(*put(tmp_path, {"x.nrrd": head + bytes(432 * count)}), words=f"{count} layers of segments")
    one = nrrd_text(*marks, "", sizes="1 9 8 6", **four) + phantom(np.uint8).tobytes(order="F")
    assert_is_phantom(files.read(put(tmp_path, {"x.seg.nrrd": one})))
    head = nrrd_text("", sizes="3 9 8 6", **four)
    assert_refused(*put(tmp_path, {"x.nrrd": head + bytes(432 * 3)}), words="a list of 3 values")
    flat = nrrd_text(*marks, "", type="uchar") + phantom(np.uint8).tobytes(order="F")
    assert_is_phantom(files.read(put(tmp_path, {"y.seg.nrrd": flat})))


def test_nonspatial_axes_of_an_nrrd(tmp_path: Path) -> None:
    last = {"dimension": "4", "space_directions": nrrd_vectors(LPS[:3, :3]) + " none"}
    for kind in ("time", "list", "???"):
        head = nrrd_text("", sizes="9 8 6 1", kinds=f"domain domain domain {kind}", **last)
        assert_is_phantom(files.read(put(tmp_path, {"x.nrrd": head + raw()})))
    head = nrrd_text("", sizes="9 8 6 2", kinds="domain domain domain time", **last)
    assert_refused(*put(tmp_path, {"x.nrrd": head + raw() * 2}), words="4 dimensions: 2 time points")


def test_colours_of_an_nrrd(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (3, 9, 8, 6)).astype(np.uint8)
    for kind in ("RGB-color", "vector"):
        head = nrrd_text("", dimension="4", type="uchar", sizes="3 9 8 6", kinds=f"{kind} domain domain domain",
                         space_directions="none " + nrrd_vectors(LPS[:3, :3]))  # fmt: skip
        volume = files.read(put(tmp_path, {"x.nrrd": head + rgb.tobytes(order="F")}), colour=True)
        np.testing.assert_array_equal(volume.array, np.moveaxis(rgb, 0, -1))
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("m", 1000), ("meters", 1000), ("cm", 10), ("um", 1e-3)])
def test_units_of_nrrd_and_metaimage(tmp_path: Path, unit: str, scale: float) -> None:
    fine = np.diag([1 / scale] * 3 + [1]) @ LPS
    head = nrrd_text(f'space units: "{unit}" "{unit}" "{unit}"', "", space_directions=nrrd_vectors(fine[:3, :3]),
                     space_origin=nrrd_vectors(fine[:3, 3:]))  # fmt: skip
    assert_is_phantom(files.read(put(tmp_path, {"x.nrrd": head + raw()})))
    spacing = " ".join(repr(v / scale) for v in (1.7, 0.9, 4.0))
    offset = " ".join(map(repr, fine[:3, 3].tolist()))
    head = meta_text(data="LOCAL", DistanceUnits=unit, ElementSpacing=spacing, Offset=offset)
    assert_is_phantom(files.read(put(tmp_path, {"x.mha": head + raw()})))


def test_what_simpleitk_writes_comes_back(tmp_path: Path) -> None:
    for name in ("a.nhdr", "a.mhd"):
        for packed in (False, True):
            folder = tmp_path / f"{name}{packed}"
            folder.mkdir()
            sitk.WriteImage(sitk_image(phantom()), folder / name, useCompression=packed)
            assert_is_phantom(files.read([folder]))
            assert_is_phantom(files.read(cli._files(folder / name)))
            shutil.make_archive(str(tmp_path / "z"), "zip", folder)
            assert_is_phantom(files.read([tmp_path / "z.zip"]))
    assert files.read([tmp_path / "z.zip"]).array[BRIGHT] == 100


def remarks(folder: Path, name: str, data: bytes) -> tuple[str, ...]:
    return files.read(put(folder, {name: data})).remarks


def test_metaimage_remarks_on_what_is_assumed(tmp_path: Path) -> None:
    for changes, expected in (
        ({"ElementSpacing": None}, {NO_SPACING_REMARK}),
        ({"Offset": None}, {NO_ORIGIN_REMARK}),
        ({"TransformMatrix": None}, {NO_POSITION_REMARK}),
        ({"ElementSpacing": None, "Offset": None, "TransformMatrix": None}, {NO_SPACING_REMARK, NO_POSITION_REMARK}),
        ({"ElementSpacing": None, "ElementSize": "1 1 1"}, set()),
        ({"Offset": None, "Position": "0 0 0"}, set()),
    ):
        assert set(remarks(tmp_path, "x.mha", meta_text(data="LOCAL", **changes) + raw())) == expected, changes


def test_nrrd_remarks_on_what_is_assumed(tmp_path: Path) -> None:
    bare = {"space": None, "space_directions": None, "space_origin": None}
    for changes, expected in (
        (bare, {NO_SPACING_REMARK, NO_POSITION_REMARK}),
        (bare | {"spacings": "1 2 3"}, {NO_POSITION_REMARK}),
        (bare | {"spacings": "1 2 nan"}, {NO_POSITION_REMARK, NO_SPACING_REMARK}),
        ({"space_origin": None}, {NO_ORIGIN_REMARK}),
        ({"space": "scanner-xyz"}, {NO_POSITION_REMARK}),
        ({"space": None, "space_dimension": "3"}, {NO_POSITION_REMARK}),
        ({"space": "RAS"}, set()),
        ({"space": "right-anterior-superior"}, set()),
    ):
        first = {"space_dimension": changes.pop("space_dimension")} if "space_dimension" in changes else {}
        text = nrrd_text("", **changes)
        if first:
            text = text.replace(b"sizes", b"space dimension: 3\nsizes")
        assert set(remarks(tmp_path, "x.nrrd", text + raw())) == expected, changes


def test_nrrd_spaces(tmp_path: Path) -> None:
    signs = {"left-posterior-superior": (1, 1), "LPS": (1, 1), "RAS": (-1, -1), "left-anterior-superior": (1, -1)}
    for space, (x, y) in signs.items():
        volume = files.read(put(tmp_path, {"x.nrrd": nrrd_text("", space=space) + raw()}))
        np.testing.assert_allclose(np.diag([x, y, 1, 1]) @ volume.affine, AFFINE, atol=1e-4, err_msg=space)


@pytest.mark.parametrize("origin", [{}, {"space_origin": None}])
def test_nrrd_directions_without_a_space_are_called_unspecified(tmp_path: Path, origin: dict) -> None:
    data = nrrd_text("", space=None, **origin) + raw()
    with pytest.raises(InputError, match=r"space: left-posterior-superior") as caught:
        files.read(put(tmp_path, {"x.nrrd": data}))
    assert "damaged" not in str(caught.value)
