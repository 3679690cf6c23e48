"""What a header does not say of voxel sizes and place is said to the user; what it cannot mean is refused."""

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from detached_files import meta_text, nrrd_text, put, raw
from oblique import AFFINE, assert_refused, phantom, save_nifti

from medapp.io import files
from medapp.io.placement import NO_ORIGIN_REMARK, NO_POSITION_REMARK, NO_SPACING_REMARK


def remarks(folder: Path, name: str, data: bytes) -> tuple[str, ...]:
    return files.read(put(folder, {name: data})).remarks


def test_metaimage_says_what_is_assumed(tmp_path: Path) -> None:
    for changes, expected in (
        ({"ElementSpacing": None}, {NO_SPACING_REMARK}),
        ({"Offset": None}, {NO_ORIGIN_REMARK}),
        ({"TransformMatrix": None}, {NO_POSITION_REMARK}),
        ({"ElementSpacing": None, "Offset": None, "TransformMatrix": None}, {NO_SPACING_REMARK, NO_POSITION_REMARK}),
        ({"ElementSpacing": None, "ElementSize": "1 1 1"}, set()),
        ({"Offset": None, "Position": "0 0 0"}, set()),
    ):
        assert set(remarks(tmp_path, "x.mha", meta_text(data="LOCAL", **changes) + raw())) == expected, changes


def test_nrrd_says_what_is_assumed(tmp_path: Path) -> None:
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


def test_nrrd_spaces_lie_where_they_say(tmp_path: Path) -> None:
    signs = {"left-posterior-superior": (1, 1), "LPS": (1, 1), "RAS": (-1, -1), "left-anterior-superior": (1, -1)}
    for space, (x, y) in signs.items():
        volume = files.read(put(tmp_path, {"x.nrrd": nrrd_text("", space=space) + raw()}))
        np.testing.assert_allclose(np.diag([x, y, 1, 1]) @ volume.affine, AFFINE, atol=1e-4, err_msg=space)


def test_mgh_whose_flag_calls_its_geometry_unknown(tmp_path: Path) -> None:
    data = bytearray(nib.MGHImage(phantom(), AFFINE).to_bytes())
    assert not remarks(tmp_path, "x.mgh", bytes(data))
    data[28:30] = bytes(2)
    assert remarks(tmp_path, "x.mgh", bytes(data)) == (NO_POSITION_REMARK, NO_SPACING_REMARK)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_whose_voxels_begin_nowhere(tmp_path: Path, kind: type) -> None:
    whole = kind(phantom(), AFFINE).to_bytes()
    at, field, size = (108, "<f", 348) if kind is nib.Nifti1Image else (168, "<q", 540)
    zero = whole[:at] + struct.pack(field, 0) + whole[at + struct.calcsize(field) :]
    for data in (zero, zero[:size] + zero[size + 4 :]):  # with and without the four bytes between
        volume = files.read(put(tmp_path, {"x.nii": data}))
        np.testing.assert_array_equal(volume.array, phantom())
        assert "where the voxels begin" in volume.remarks[0]
    extended = bytearray(zero)
    extended[size] = 1
    assert_refused(*put(tmp_path, {"x.nii": bytes(extended)}), words="extensions")
    within = whole[:at] + struct.pack(field, 40) + whole[at + struct.calcsize(field) :]
    assert_refused(*put(tmp_path, {"x.nii": within}), words="offset")


def test_nifti_without_a_position_says_which_size_it_takes(tmp_path: Path) -> None:
    image = nib.Nifti1Image(phantom(), None)
    image.header.set_zooms((0.9, 1.7, 4.0))
    nib.save(image, tmp_path / "a.nii")
    volume = files.read([tmp_path / "a.nii"])
    assert volume.remarks[0] == NO_POSITION_REMARK and "0.9 × 1.7 × 4 mm" in volume.remarks[1]
    image.header["pixdim"][1:4] = 0
    nib.save(image, tmp_path / "a.nii")
    assert_refused(tmp_path / "a.nii", words="size is 0")


@pytest.mark.parametrize(("unit", "scale"), [("meter", 1000), ("micron", 1e-3), ("mm", 1), ("unknown", 1)])
def test_nifti_units(tmp_path: Path, unit: str, scale: float) -> None:
    image = nib.Nifti1Image(phantom(), np.diag([1 / scale] * 3 + [1]) @ AFFINE)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    volume = files.read([tmp_path / "a.nii"])
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5)
    assert not volume.remarks


def test_a_nifti_in_millimetres_that_says_metres_or_micrometres(tmp_path: Path) -> None:
    for unit, word in (("meter", "metres"), ("micron", "micrometres")):
        image = nib.Nifti1Image(phantom(), AFFINE)
        image.header.set_xyzt_units(unit)
        nib.save(image, tmp_path / "a.nii")
        volume = files.read([tmp_path / "a.nii"])
        np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5)
        assert f"in {word}" in volume.remarks[0] and "taken as millimetres" in volume.remarks[0]


def test_voxels_of_micrometres_are_told(tmp_path: Path) -> None:
    volume = files.read([save_nifti(tmp_path / "a.nii", phantom(), np.diag([1e-3, 1e-3, 4e-3, 1]) @ np.eye(4))])
    assert "0.001 × 0.001 × 0.004 mm" in volume.remarks[0] and "unit of length" in volume.remarks[0]


def test_sizes_that_cannot_be_meant_ask_for_the_unit(tmp_path: Path) -> None:
    assert_refused(save_nifti(tmp_path / "a.nii", phantom(), np.diag([2000.0, 2000, 2000, 1])), words="unit")
    assert_refused(save_nifti(tmp_path / "a.nii", phantom(), np.diag([1e-6, 1e-6, 1e-6, 1])), words="unit")
    far = np.diag([1.0, 1, 1, 1])
    far[0, 3] = 5e5
    assert_refused(save_nifti(tmp_path / "a.nii", phantom(), far), words="from the scanner's centre")


def test_a_broken_quaternion_does_not_matter_beside_an_sform(tmp_path: Path) -> None:
    data = bytearray(save_nifti(tmp_path / "a.nii", phantom()).read_bytes())
    data[252:254] = struct.pack("<h", 1)
    data[256:268] = struct.pack("<3f", 0.9, 0.9, 0.9)
    np.testing.assert_allclose(files.read(put(tmp_path, {"a.nii": bytes(data)})).affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_nifti_whose_slope_is_nothing_keeps_its_values(tmp_path: Path, slope: float) -> None:
    data = bytearray(save_nifti(tmp_path / "a.nii", phantom()).read_bytes())
    data[112:120] = struct.pack("<2f", slope, slope)
    np.testing.assert_array_equal(files.read(put(tmp_path, {"a.nii": bytes(data)})).array, phantom())
