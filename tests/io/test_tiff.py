"""TIFF: every type of number, tiles, packing, pages that are slices or colours, sizes; or a sentence."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from oblique import assert_refused
from PIL import Image

from medapp.io import files, tiff
from medapp.io.placement import NO_POSITION_REMARK
from medapp.io.raster import NO_PIXEL_SIZE_REMARK, REDUCED_DEPTH_REMARK, TRANSPARENCY_REMARK

RNG = np.random.default_rng(0)
GREY = RNG.random((70, 50)) * 100
RGB = (RNG.random((70, 50, 3)) * 255).astype(np.uint8)
STACK = (RNG.random((4, 7, 5)) * 60_000).astype(np.uint16)


def saved(folder: Path, array: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(folder / "a.tif", array, **options)
    return folder / "a.tif"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_every_type_of_number(tmp_path: Path, kind: str, order: str) -> None:
    array = (GREY - (50 if kind[0] in "if" else 0)).astype(kind)
    if kind == "u4":
        array += np.uint32(3_000_000_000)
    for options in ({}, {"tile": (16, 32)}, {"bigtiff": True}, {"compression": "deflate"}, {"rowsperstrip": 9}):
        path = saved(tmp_path, array.astype(array.dtype.newbyteorder(order)), byteorder=order, **options)
        volume = files.read([path])
        np.testing.assert_array_equal(volume.array[..., 0], array.T.astype(np.float32) if kind[0] == "f" else array.T)
        assert volume.axis_codes == "LPS" and volume.remarks == (NO_PIXEL_SIZE_REMARK,)


def test_black_and_white_exchanged(tmp_path: Path) -> None:
    for kind, most in ((np.uint8, 255), (np.uint16, 65535)):
        array = GREY.astype(kind)
        volume = files.read([saved(tmp_path, array, photometric="miniswhite")])
        np.testing.assert_array_equal(volume.array[..., 0], most - array.T)


@pytest.mark.parametrize("options", [{}, {"tile": (16, 32)}, {"compression": "deflate", "predictor": True}])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_colours_in_planes_or_not(tmp_path: Path, planar: bool, deep: bool, options: dict) -> None:
    array = RGB.astype(np.uint16) * 257 if deep else RGB
    array = np.moveaxis(array, -1, 0).copy() if planar else array
    options = options | ({"planarconfig": "separate"} if planar else {})
    volume = files.read([saved(tmp_path, array, photometric="rgb", **options)], colour=True)
    np.testing.assert_array_equal(volume.array[:, :, 0], RGB.swapaxes(0, 1))
    assert (REDUCED_DEPTH_REMARK in volume.remarks) == deep


def test_lzw_and_jpeg(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16, np.float32, np.int32):
        Image.fromarray(GREY.astype(kind)).save(tmp_path / "a.tif", compression="tiff_lzw")
        np.testing.assert_array_equal(files.read([tmp_path / "a.tif"]).array[..., 0], GREY.astype(kind).T)
    for packing in ("tiff_lzw", "packbits"):
        Image.fromarray(RGB).save(tmp_path / "a.tif", compression=packing)
        volume = files.read([tmp_path / "a.tif"], colour=True)
        np.testing.assert_array_equal(volume.array[:, :, 0], RGB.swapaxes(0, 1))
    for mode, packing in (("CMYK", None), ("RGB", "jpeg"), ("P", None), ("1", "group4")):
        Image.fromarray(RGB).convert(mode).save(tmp_path / "a.tif", compression=packing)
        expected = np.asarray(Image.open(tmp_path / "a.tif").convert("L" if mode == "1" else "RGB")).swapaxes(0, 1)
        np.testing.assert_array_equal(files.read([tmp_path / "a.tif"], colour=True).array[:, :, 0], expected)


def test_pages_of_colour_planes_are_one_coloured_picture(tmp_path: Path) -> None:
    planes = np.moveaxis(RGB, -1, 0).copy()
    names = {"Channel": {"Name": ["Red", "Green", "Blue"]}}
    for options in (
        {"ome": True, "metadata": {"axes": "CYX"}},
        {"ome": True, "metadata": {"axes": "CYX"} | names},
        {"imagej": True, "metadata": {"axes": "CYX"}},
    ):
        path = saved(tmp_path, planes, photometric="minisblack", **options)
        volume = files.read([path], colour=True)
        np.testing.assert_array_equal(volume.array[:, :, 0], RGB.swapaxes(0, 1))
        assert tiff.PAGES_AS_COLOURS_REMARK in volume.remarks
        assert_refused(path, words="colours")


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX"])
def test_slices_in_colour_planes_in_either_order(tmp_path: Path, axes: str) -> None:
    slices = (RNG.random((4, 3, 7, 5)) * 255).astype(np.uint8)  # z, c, y, x
    array = slices if axes == "ZCYX" else slices.swapaxes(0, 1)
    path = saved(tmp_path, np.ascontiguousarray(array), ome=True, photometric="minisblack", metadata={"axes": axes})
    volume = files.read([path], colour=True)
    np.testing.assert_array_equal(volume.array, slices.transpose(3, 2, 0, 1))
    assert tiff.PAGES_AS_SLICES_REMARK.format(4) in volume.remarks


def test_time_points_and_channels_that_are_not_colours_are_refused(tmp_path: Path) -> None:
    stains = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "Cy5"]}}
    path = saved(tmp_path, np.moveaxis(RGB, -1, 0).copy(), ome=True, photometric="minisblack", metadata=stains)
    assert_refused(path, words="3 channels .DAPI, FITC, Cy5.", colour=True)
    two = saved(tmp_path, STACK[:2], ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    assert_refused(two, words="2 channels", colour=True)
    for options in ({"imagej": True}, {"ome": True}):
        assert_refused(
            saved(tmp_path, STACK, photometric="minisblack", metadata={"axes": "TYX"}, **options), words="4 time"
        )
    for array in (np.zeros((7, 5, 5), np.uint8), np.zeros((7, 5, 2), np.uint8)):
        assert_refused(saved(tmp_path, array, photometric="minisblack", planarconfig="contig"), words=r"\d channels")
    assert_refused(saved(tmp_path, (RGB / 255).astype(np.float32), photometric="rgb"), words="8 bits", colour=True)
    assert_refused(saved(tmp_path, GREY.astype(np.complex64)), words="complex")


def test_an_ome_tiff_of_several_files_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, STACK, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    text = tifffile.TiffFile(path).pages[0].description
    for old, new, words in (
        ('SizeZ="4"', 'SizeZ="9"', "9 planes .*4 pages"),
        ("<TiffData", '<TiffData><UUID FileName="/etc/passwd">urn:x</UUID></TiffData><TiffData><UUID FileName="b">y'
         "</UUID></TiffData><TiffData", "one of 2 files"),
    ):  # fmt: skip
        assert old in text
        changed = saved(tmp_path, STACK, photometric="minisblack", description=text.replace(old, new), metadata=None)
        assert_refused(changed, words=words)
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]>' + text
    volume = files.read([saved(tmp_path, STACK, photometric="minisblack", description=bomb, metadata=None)])
    np.testing.assert_array_equal(volume.array, STACK.transpose(2, 1, 0))


def test_sizes_of_imagej_and_ome(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "spacing": 3, "unit": "mm"}
    volume = files.read([saved(tmp_path, STACK, imagej=True, resolution=(2, 4), metadata=metadata)])
    np.testing.assert_allclose(volume.spacing, [0.5, 0.25, 3])
    assert NO_POSITION_REMARK in volume.remarks and NO_PIXEL_SIZE_REMARK not in volume.remarks
    sizes = {f"PhysicalSize{axis}": value for axis, value in zip("XYZ", (500, 0.25, 0.3), strict=True)}
    units = {f"PhysicalSize{axis}Unit": unit for axis, unit in zip("XYZ", ("µm", "mm", "cm"), strict=True)}
    path = saved(tmp_path, STACK, ome=True, photometric="minisblack", metadata={"axes": "ZYX"} | sizes | units)
    np.testing.assert_allclose(files.read([path]).spacing, [0.5, 0.25, 3])
    np.testing.assert_array_equal(files.read([path]).array, STACK.transpose(2, 1, 0))
    micro = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    assert NO_PIXEL_SIZE_REMARK in files.read([saved(tmp_path, STACK[0], ome=True, metadata=micro)]).remarks


def test_transparency_and_depth_of_pictures_get_remarks(tmp_path: Path) -> None:
    alpha = np.full((70, 50, 1), 255, np.uint8)
    for level, expected in ((255, False), (0, True)):
        alpha[3, 4] = level
        clear = np.dstack([RGB, alpha])
        Image.fromarray(clear, "RGBA").save(tmp_path / "a.png")
        tifffile.imwrite(tmp_path / "a.tif", clear, photometric="rgb", extrasamples=["unassalpha"])
        for name in ("a.png", "a.tif"):
            volume = files.read([tmp_path / name], colour=True)
            np.testing.assert_array_equal(volume.array[:, :, 0], RGB.swapaxes(0, 1))
            assert (TRANSPARENCY_REMARK in volume.remarks) == expected


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter, clockwise
    Image.fromarray(GREY.astype(np.uint8)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(files.read([tmp_path / "a.png"]).array[..., 0], np.rot90(GREY.astype(np.uint8), -1).T)
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "a.jpg", exif=exif)
    assert files.read([tmp_path / "a.jpg"], colour=True).shape == (70, 50, 1)


def test_damaged_tiffs_are_refused_quickly(tmp_path: Path) -> None:
    whole = saved(tmp_path, GREY.astype(np.float64), compression="deflate", rowsperstrip=10).read_bytes()
    plain = saved(tmp_path, GREY.astype(np.float64)).read_bytes()
    for data in (whole, plain):
        for end in (-1, -50, -3000, 30, 9):
            (tmp_path / "b.tif").write_bytes(data[:end])
            assert_refused(tmp_path / "b.tif", words="damaged|truncated")


def test_pages_of_a_tiff_are_slices_and_must_match(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), n, np.uint8)) for n in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    np.testing.assert_array_equal(files.read([tmp_path / "a.tif"]).array[0, 0], [0, 1, 2])
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=[pages[1].resize((2, 2))])
    assert_refused(tmp_path / "b.tif", words="different sizes")
