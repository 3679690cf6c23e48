"""Files in and out: the bright voxel stays where it is in the patient, and what cannot be read is refused in words."""

import gzip
import struct
import zipfile
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from oblique import AFFINE, BRIGHT, assert_refused, bright_mm, phantom, save_nifti, sitk_image, zipped
from PIL import Image

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import archives, files
from medapp.io.validation import safe_text, translate_errors

# the same place, whatever the format


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.mgz", "a.mgh", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.zip", "noext"]
)
def test_every_format_puts_the_bright_voxel_at_the_same_millimetres(tmp_path: Path, name: str) -> None:
    path, array = tmp_path / name, phantom()
    if name.startswith("a.n") and "i" in name:
        save_nifti(path, array)
    elif ".mg" in name:
        nib.save(nib.MGHImage(array, AFFINE), path)
    elif name == "a.zip":
        zipped(
            path,
            **{
                "study/scan.nii.gz": save_nifti(tmp_path / "in.nii.gz", array).read_bytes(),
                "__MACOSX/._scan.nii.gz": b"x",
            },
        )
    elif name == "noext":
        path.write_bytes(save_nifti(tmp_path / "in.nii.gz", array).read_bytes())
    else:
        sitk.WriteImage(sitk_image(array), path)
    paths = (
        [p for p in tmp_path.iterdir() if p.stem == path.stem and p.suffix != ".zip"]
        if name in ("a.nhdr", "a.mhd")
        else [path]
    )
    volume = files.read(paths, name="T1")
    assert volume.name == "T1" and volume.array.dtype == np.int16 and not volume.remarks and not volume.headers
    np.testing.assert_allclose(bright_mm(volume), nib.affines.apply_affine(AFFINE, BRIGHT), atol=1e-3)
    np.testing.assert_array_equal(np.sort(volume.array, axis=None), np.sort(array, axis=None))
    np.testing.assert_allclose(sorted(volume.spacing), sorted([0.9, 1.7, 4.0]), atol=1e-4)


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", phantom())
    (tmp_path / "a.json").write_text("{}")
    assert files.read([tmp_path]).shape == (9, 8, 6)


# NIfTI in


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


def test_nifti_takes_sform_then_qform_then_says_that_it_lies_nowhere(tmp_path: Path) -> None:
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


def test_nifti_refusals(tmp_path: Path) -> None:
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


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = save_nifti(
        tmp_path / "a.nii", np.random.default_rng(0).integers(0, 9999, (40, 40, 9)).astype(np.int16)
    ).read_bytes()
    packed = gzip.compress(whole)
    for name, data in {
        "short.nii": whole[:-100], "stub.nii": whole[:200], "cut.nii.gz": packed[:-2000], "head.nii.gz": packed[:40],
        "few.nii.gz": gzip.compress(whole[:-100]), "crc.nii.gz": packed[:-8] + b"12345678",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert_refused(tmp_path / name, words="truncated|damaged|not an image")


def test_a_header_that_promises_too_much_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    for name, data in {
        "a.nii": header.binaryblock,
        "a.nii.gz": gzip.compress(header.binaryblock + bytes(2000)),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert_refused(tmp_path / name, words="too large.*30000 × 30000 × 30000")


def test_a_gzip_that_holds_more_than_its_header_promises_is_refused(tmp_path: Path) -> None:
    small = save_nifti(tmp_path / "a.nii", phantom()).read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(small + bytes(20_000_000)))
    assert_refused(tmp_path / "bomb.nii.gz", words="more than its header")


def test_nifti_colour_only_where_it_is_wanted(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (5, 4, 3, 3)).astype(np.uint8)
    files.write(Volume(rgb, AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(files.read([tmp_path / "a.nii.gz"], colour=True).array, rgb)
    assert_refused(tmp_path / "a.nii.gz", words="colours")


# NIfTI out


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


# pictures


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.png", np.uint8), ("a.png", np.uint16), ("a.tif", np.uint8), ("a.tif", np.uint16), ("a.tif", np.float32)],
)
def test_pictures_lie_as_drawn(tmp_path: Path, name: str, dtype: type) -> None:
    drawn = np.zeros((6, 9), dtype)  # rows, columns
    drawn[0, 8] = 60_000 if dtype == np.uint16 else 200  # top right of the picture: front, and the patient's left
    Image.fromarray(drawn).save(tmp_path / name)
    volume = files.read([tmp_path / name])
    assert volume.shape == (9, 6, 1) and volume.axis_codes == "LPS" and volume.array.dtype == dtype
    assert volume.array[8, 0, 0] == drawn.max() and "1 mm" in volume.remarks[0]


def test_pages_of_a_tiff_are_slices_and_must_match(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), n, np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(files.read([tmp_path / "a.tif"]).array[0, 0], [0, 1, 2])
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[pages[1].resize((2, 2))])
    assert_refused(tmp_path / "b.tif", words="different sizes")


def test_colour_pictures(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", words="colours")
    volume = files.read([tmp_path / "a.png"], colour=True)
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array[:, :, 0], rgb.swapaxes(0, 1))
    grey = np.dstack([rgb[..., :1]] * 3 + [np.full((6, 9), 255, np.uint8)])
    Image.fromarray(grey, "RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(files.read([tmp_path / "b.png"]).array[..., 0], rgb[..., 0].T)
    Image.fromarray(rgb).convert("P").save(tmp_path / "c.png")
    assert files.read([tmp_path / "c.png"], colour=True).is_colour


def test_pictures_beyond_pillows_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "a.png")
    for limit in (800, 100):  # Pillow warns beyond the limit, and raises beyond twice as much
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert_refused(tmp_path / "a.png", words="too large|could not be read")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    Image.fromarray(phantom(np.uint8)[..., 0]).save(tmp_path / "b.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    assert_refused(tmp_path / "cut.png", words="damaged")


# NRRD and MetaImage


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


def test_images_without_a_position_say_so(tmp_path: Path) -> None:
    head = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(range(8)))
    head = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nspacings: 1 1 1\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(head.encode() + bytes(range(8)))
    for name in ("a.mha", "a.nrrd"):
        volume = files.read([tmp_path / name])
        assert volume.array[1, 0, 0] == 1 and "left and right" in volume.remarks[0]


def test_header_and_data_in_one_zip(tmp_path: Path) -> None:
    sitk.WriteImage(sitk_image(phantom()), tmp_path / "a.mhd")
    path = zipped(tmp_path / "a.zip", **{f"x/{n}": (tmp_path / n).read_bytes() for n in ("a.mhd", "a.raw")})
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


# zips, and what is no image


def test_zips_that_are_not_safe_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = save_nifti(tmp_path / "in.nii", phantom()).read_bytes()
    path = tmp_path / "a.zip"
    for name in ("../../evil.nii", "/evil.nii", "a\\..\\..\\evil.nii", "C:\\evil.nii"):
        assert_refused(zipped(path, **{name: image}), words="leads out")
    assert not list(tmp_path.parent.glob("evil*"))
    assert_refused(zipped(path, **{"b.zip": zipped(tmp_path / "b.zip", a=b"a").read_bytes()}), words="another zip")
    assert_refused(zipped(path, **{"b.nii": zipped(tmp_path / "b.zip", a=b"a").read_bytes()}), words="another zip")
    link = zipfile.ZipInfo("link.nii")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as box:
        box.writestr(link, "/etc/passwd")
    assert_refused(path, words="holds a link")
    assert_refused(zipped(path), words="not an image")
    path.write_bytes(zipped(path, **{"a.nii": image}).read_bytes()[:-30])
    assert_refused(path, words="damaged|not an image")
    monkeypatch.setattr(archives, "MAX_UPLOAD_FILES", 2)
    assert_refused(zipped(path, a=b"1", b=b"2", c=b"3"), words="more than 2 files")
    monkeypatch.setattr(archives, "RATIO_CHECK_BYTES", 1000)
    assert_refused(zipped(path, **{"a.nii": bytes(1_000_000)}), words="unpacks to")


def test_a_zip_may_not_unpack_beyond_the_room(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too much"):
        archives.unzip(zipped(tmp_path / "a.zip", a=bytes(5000)), tmp_path / "out", room=4000)
    lying = bytearray((tmp_path / "a.zip").read_bytes())
    at = lying.rfind(b"PK\x01\x02")
    lying[at + 24 : at + 28] = struct.pack("<I", 10)  # the directory says 10 bytes, there are 5000
    (tmp_path / "b.zip").write_bytes(lying)
    with pytest.raises(InputError):
        archives.unzip(tmp_path / "b.zip", tmp_path / "out2", room=4000)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty.nii").write_bytes(b"")
    (tmp_path / "junk.mha").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "<b>x\x07\u202e.nii").write_bytes(b"not an image" * 100)
    assert_refused(tmp_path / "a.txt", words="a.txt is not an image")
    assert_refused(tmp_path / "empty.nii", words="not an image")
    assert_refused(tmp_path / "junk.mha", words="damaged|could not be read")
    assert_refused(tmp_path / "<b>x\x07\u202e.nii", words="^_b_x.nii is not an image")
    assert_refused(tmp_path / "gone.nii", words="does not exist")
    one, two = save_nifti(tmp_path / "1.nii", phantom()), save_nifti(tmp_path / "2.nii", phantom())
    assert_refused(one, two, words="2 images .*1.nii, 2.nii.*one of them")
    with pytest.raises(InputError, match="No file"):
        files.read([])


def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    save_nifti(tmp_path / "a.nii", phantom())
    nib.save(nib.MGHImage(phantom(), AFFINE), tmp_path / "a.mgh")
    for name in ("a.nrrd", "a.mha"):
        sitk.WriteImage(sitk_image(phantom()), tmp_path / name)
    for name in ("a.png", "a.tif", "a.jpg"):
        Image.fromarray(phantom()[..., 0].astype(np.uint8)).save(tmp_path / name)
    for name in ("a.nii", "a.mgh", "a.nrrd", "a.mha", "a.png", "a.tif", "a.jpg"):
        whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, min(len(whole), 400), 4)] = rng.integers(0, 256, 4)
            (tmp_path / f"bad{name[1:]}").write_bytes(damaged)
            with suppress(InputError):
                files.read([tmp_path / f"bad{name[1:]}"], colour=True)


def test_running_out_of_memory_is_not_called_a_damaged_file() -> None:
    with pytest.raises(MemoryError), translate_errors(Path("a"), "NIfTI"):
        raise MemoryError
    assert safe_text(Path("/home/somebody/a b.nii")) == "a b.nii" and len(safe_text("x" * 500)) == 60
