"""NIfTI in and out, pairs of header and image, and Analyze: values, affines, units, and what is refused."""

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from detached_files import put, raw
from nibabel.spm99analyze import Spm99AnalyzeImage
from oblique import AFFINE, BRIGHT, assert_is_phantom, assert_refused, phantom, save_nifti, save_zip

from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.io.placement import NO_POSITION_REMARK


def test_nifti_values_scaled_integers_kept_fractions_single(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7, AFFINE)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "scaled.nii.gz")  # nibabel chooses slope and intercept
    scaled = files.read([tmp_path / "scaled.nii.gz"])
    assert scaled.array.dtype == np.float32 and scaled.array.max() == pytest.approx(23 / 7, abs=1e-3)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    big = nib.Nifti1Image(phantom(), AFFINE, header)
    nib.save(big, tmp_path / "big.nii")
    volume = files.read([tmp_path / "big.nii"])
    assert volume.array.dtype == np.int16 and volume.array.dtype.isnative and volume.array[BRIGHT] == 100
    assert files.read([save_nifti(tmp_path / "d.nii", phantom(np.float64))]).array.dtype == np.float32


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 3, 1), (5, 4, 3, 1, 1)])
def test_nifti_dimensions_of_one_are_squeezed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    volume = files.read([save_nifti(tmp_path / "a.nii", np.ones(shape, np.uint8))])
    assert volume.shape == (5, 4, 3 if len(shape) > 2 and shape[2] == 3 else 1)


def test_nifti_uses_sform_then_qform_and_remarks_where_both_are_missing(tmp_path: Path) -> None:
    def saved(sform: np.ndarray | None, qform: np.ndarray | None) -> Volume:
        image = nib.Nifti1Image(phantom(), None)
        image.header.set_zooms((0.9, 1.7, 4.0))
        image.set_sform(sform, 1 if sform is not None else 0)
        image.set_qform(qform, 1 if qform is not None else 0)
        nib.save(image, tmp_path / "a.nii")
        return files.read([tmp_path / "a.nii"])

    moved = AFFINE + np.outer([1, 0, 0, 0], [0, 0, 0, 20.0])
    np.testing.assert_allclose(saved(None, AFFINE).affine, AFFINE, atol=1e-4)
    both = saved(AFFINE, moved)
    np.testing.assert_allclose(both.affine, AFFINE, atol=1e-4)
    assert "sform" in both.remarks[0]
    flat = saved(np.diag([1.0, 1, 0, 1]), moved)
    np.testing.assert_allclose(flat.affine, moved, atol=1e-4)
    assert "qform was used" in flat.remarks[0]
    nowhere = saved(None, None)
    assert "left and right" in nowhere.remarks[0]
    np.testing.assert_allclose(nowhere.spacing, [0.9, 1.7, 4.0], atol=1e-5)


def test_nifti_in_metres_becomes_millimetres(tmp_path: Path) -> None:
    image = nib.Nifti1Image(phantom(), np.diag([1e-3, 1e-3, 1e-3, 1]) @ AFFINE)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(files.read([tmp_path / "a.nii"]).spacing, nib.affines.voxel_sizes(AFFINE), rtol=1e-5)


def test_invalid_nifti_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    assert_refused(save_nifti(path, np.ones((4, 4, 4, 3), np.uint8)), words="4 dimensions: 3 time points")
    assert_refused(save_nifti(path, np.ones((4, 4, 4, 1, 3), np.float32)), words="vector")
    assert_refused(save_nifti(path, np.ones((4, 4, 4), np.complex64)), words="complex")
    assert_refused(save_nifti(path, np.full((2, 2, 2), 1e300)), words="as large as 1e.300")
    flat = nib.Nifti1Image(phantom(), np.eye(4))
    flat.header["srow_z"] = flat.header["srow_y"]
    flat.header["qform_code"] = 0
    nib.save(flat, path)
    raw = bytearray(path.read_bytes())
    raw[312:328] = raw[296:312]  # srow_z becomes srow_y
    path.write_bytes(raw)
    assert_refused(path, words="no valid position")
    raw[312:328] = struct.pack("<4f", 0, 0, np.nan, 0)
    path.write_bytes(raw)
    assert_refused(path, words="no valid position")
    raw[42:48] = struct.pack("<3h", 0, 8, 6)
    path.write_bytes(raw)
    assert_refused(path, words="no voxels|damaged")


def test_nifti_colour_only_where_it_is_wanted(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (5, 4, 3, 3)).astype(np.uint8)
    files.write(Volume(rgb, AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(files.read([tmp_path / "a.nii.gz"], colour=True).array, rgb)
    assert_refused(tmp_path / "a.nii.gz", words="colours")


@pytest.mark.parametrize("labels", [{}, {1: "lesion"}])
def test_written_nifti_opens_in_itk_at_the_same_place(tmp_path: Path, labels: dict[int, str]) -> None:
    array = phantom() if not labels else (phantom() == 100).astype(np.int64)
    volume = Volume(array, AFFINE, labels=labels)
    path = files.write(volume, tmp_path / "out.nii.gz")
    image = sitk.ReadImage(path)
    lps = image.TransformIndexToPhysicalPoint(BRIGHT)
    np.testing.assert_allclose(np.array(lps) * [-1, -1, 1], nib.affines.apply_affine(AFFINE, BRIGHT), atol=1e-3)
    assert image[BRIGHT] == array.max()
    header = nib.load(path).header
    assert (header["sform_code"], header["qform_code"]) == (1, 1) and header.get_xyzt_units()[0] == "mm"
    assert header.get_data_dtype() == (np.uint8 if labels else np.float32)
    assert header.get_intent()[0] == ("label" if labels else "none")
    assert not any(bytes(header[field]).strip(b"\0") for field in ("descrip", "aux_file", "intent_name", "db_name"))
    back = files.read([path])
    assert back.grid.is_same(volume.grid)
    np.testing.assert_array_equal(back.array, array)


def test_a_sheared_grid_is_written_with_its_shear(tmp_path: Path) -> None:
    shear = AFFINE @ np.array([[1, 0, 0.4, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    path = files.write(Volume(phantom(), shear), tmp_path / "a.nii")
    assert nib.load(path).header["qform_code"] == 0
    np.testing.assert_allclose(files.read([path]).affine, shear, atol=1e-4)


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pair_of_header_and_image(tmp_path: Path, kind: type, order: str) -> None:
    (tmp_path / "up").mkdir()
    header = kind.header_class(endianness=order)
    header.set_data_dtype(f"{order}i2")
    nib.save(kind(phantom(), AFFINE, header), tmp_path / "up" / "x.img")
    pair = [tmp_path / "up" / "x.hdr", tmp_path / "up" / "x.img"]
    assert_is_phantom(files.read(pair))
    assert_is_phantom(files.read(pair[::-1]))
    assert_is_phantom(files.read([tmp_path / "up"]))
    both = {f"x/{p.name}": p.read_bytes() for p in pair}
    assert_is_phantom(files.read([save_zip(tmp_path / "a.zip", **both, **{"__MACOSX/x/._x.hdr": b"junk"})]))
    packed = put(tmp_path / "gz", {f"{p.name}.gz": gzip.compress(p.read_bytes()) for p in pair})
    assert_is_phantom(files.read(packed))
    assert_is_phantom(files.read([pair[0], packed[1]]))
    assert_refused(pair[0], words="upload it together with x.img")
    assert_refused(pair[1], words="upload it together with its .hdr")
    pair[1].write_bytes(pair[1].read_bytes()[:-9])
    assert_refused(*pair, words="truncated")
    packed[1].write_bytes(gzip.compress(bytes(40_000_000)))
    assert_refused(*packed, words="more than")


def test_analyze_gets_a_remark_about_left_and_right(tmp_path: Path) -> None:
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


def test_headers_with_the_wrong_magic(tmp_path: Path) -> None:
    whole = save_nifti(tmp_path / "x.nii", phantom()).read_bytes()
    assert_is_phantom(files.read(put(tmp_path / "a", {"x.hdr": whole[:348], "x.img": raw()})))
    assert_is_phantom(files.read(put(tmp_path / "b", {"x.nii": whole[:344] + b"ni1\0" + whole[348:]})))
    assert_refused(*put(tmp_path / "c", {"x.nii": whole[:344] + b"ni1\0" + whole[348:-9]}), words="together with x.img")


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_nifti_without_the_offset_of_its_voxels(tmp_path: Path, kind: type) -> None:
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


def test_nifti_without_a_position_gets_a_remark_about_its_size(tmp_path: Path) -> None:
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


def test_an_invalid_quaternion_does_not_matter_beside_an_sform(tmp_path: Path) -> None:
    data = bytearray(save_nifti(tmp_path / "a.nii", phantom()).read_bytes())
    data[252:254] = struct.pack("<h", 1)
    data[256:268] = struct.pack("<3f", 0.9, 0.9, 0.9)
    np.testing.assert_allclose(files.read(put(tmp_path, {"a.nii": bytes(data)})).affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_nifti_with_an_invalid_slope_keeps_its_values(tmp_path: Path, slope: float) -> None:
    data = bytearray(save_nifti(tmp_path / "a.nii", phantom()).read_bytes())
    data[112:120] = struct.pack("<2f", slope, slope)
    np.testing.assert_array_equal(files.read(put(tmp_path, {"a.nii": bytes(data)})).array, phantom())
