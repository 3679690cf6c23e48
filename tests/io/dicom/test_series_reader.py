"""DICOM in and out: a volume cut into slices by hand comes back in place, and a mask lies over its images."""

import copy
import zipfile
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
from dicom_slices import LPS, RAS, assert_refused, expected_mm, multiframe, phantom, save_all, segment_mm, slices
from pydicom.data import get_testdata_file
from pydicom.uid import CTImageStorage, generate_uid

from medapp.errors import InputError
from medapp.imaging import hounsfield
from medapp.imaging.volume import Volume
from medapp.io import files


def bright_mm(volume: Volume) -> np.ndarray:
    return volume.grid.to_mm(np.array(np.unravel_index(volume.array.argmax(), volume.shape)))


def test_an_oblique_series_in_any_order_without_extensions(tmp_path: Path) -> None:
    volume = files.read(save_all(tmp_path / "s", slices()), name="FLAIR")
    np.testing.assert_array_equal(volume.array, phantom())
    np.testing.assert_allclose(volume.affine, RAS, atol=1e-6)
    np.testing.assert_allclose(bright_mm(volume), nib.affines.apply_affine(RAS, (7, 2, 4)), atol=1e-6)
    assert volume.array.dtype == np.uint16 and volume.name == "FLAIR" and not volume.remarks and volume.unit == ""


@pytest.mark.parametrize(
    ("row", "column", "index", "side"),
    [
        ((1, 0, 0), (0, 1, 0), (0, 4, 3), (0, 1)),  # axial: the first column is the patient's right, RAS x > 0
        ((1, 0, 0), (0, 1, 0), (4, 0, 3), (1, 1)),  # axial: the first row is the front
        ((0, 1, 0), (0, 0, -1), (4, 0, 3), (2, 1)),  # sagittal: the first row is the head
        ((0, 1, 0), (0, 0, -1), (0, 4, 3), (1, 1)),  # sagittal: the first column is the front
        ((1, 0, 0), (0, 0, -1), (0, 4, 3), (0, 1)),  # coronal: the first column is the patient's right
        ((1, 0, 0), (0, 0, -1), (4, 8, 3), (2, -1)),  # coronal: the last row is the feet
    ],
)
def test_right_front_and_head_are_where_a_radiologist_expects(
    tmp_path: Path, row: tuple, column: tuple, index: tuple[int, int, int], side: tuple[int, int]
) -> None:
    array = np.zeros((9, 9, 7), np.uint16)
    array[index] = 9
    lps = nib.affines.from_matvec(np.column_stack([row, column, np.cross(row, column)]).astype(float))
    lps[:3, 3] = -lps[:3, :3] @ [4, 4, 3]
    where = bright_mm(files.read(save_all(tmp_path / "s", slices(array, lps))))
    axis, sign = side
    assert where[axis] == sign * 4 and np.abs(np.delete(where, axis)).max() == 0


def test_rescaled_slice_by_slice_with_units(tmp_path: Path) -> None:
    ct = slices(Modality="CT", SOPClassUID=CTImageStorage, RescaleSlope=1, RescaleIntercept=-1024)
    volume = files.read(save_all(tmp_path / "ct", ct))
    assert volume.unit == "HU" and volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, phantom().astype(np.int16) - 1024)
    pet = slices(Modality="PT", Units="BQML", RescaleIntercept=0)
    for k, ds in enumerate(pet):
        ds.RescaleSlope = 0.5 + k
    volume = files.read(save_all(tmp_path / "pt", pet))
    assert volume.unit == "Bq/ml" and volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, phantom() * (0.5 + np.arange(6)))
    volume = files.read(save_all(tmp_path / "suv", slices(Modality="PT", Units="GML")))
    assert volume.unit == "" and "GML" in volume.remarks[0]


def test_a_tilted_gantry_is_a_sheared_affine(tmp_path: Path) -> None:
    tilted = LPS @ np.array([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    volume = files.read(save_all(tmp_path / "s", slices(lps=tilted)))
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ tilted, atol=1e-6)
    assert "tilted by 12.0°" in volume.remarks[0]


def test_a_missing_slice_gets_a_remark_and_its_neighbours_keep_their_place(tmp_path: Path) -> None:
    volume = files.read(save_all(tmp_path / "s", [ds for k, ds in enumerate(slices()) if k != 2]))
    np.testing.assert_allclose(volume.affine, RAS, atol=1e-6)
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(volume.array[..., kept], phantom()[..., kept])
    between = (phantom()[..., 1].astype(float) + phantom()[..., 3]) / 2
    np.testing.assert_allclose(volume.array[..., 2], between, atol=0.51)
    assert "1 slice is missing" in volume.remarks[0]


def test_series_that_are_no_volume_are_refused(tmp_path: Path) -> None:
    uneven = slices()
    for ds, k in zip(uneven, (0, 1, 1.3, 2, 3.6, 4), strict=True):
        ds.ImagePositionPatient = [float(x) for x in LPS[:3, 3] + k * LPS[:3, 2]]
    assert_refused(save_all(tmp_path / "uneven", uneven), "uneven distances, 1.20 to 6.40 mm")
    assert_refused(
        save_all(tmp_path / "gap", [ds for k, ds in enumerate(slices()) if k in (0, 1, 2, 5)]), "2 slices are missing"
    )
    turned = slices()
    turned[3].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    assert_refused(save_all(tmp_path / "turned", turned), "2 series.*5 slices of 9×8, oblique.*1 slice of 9×8, axial")
    assert_refused(save_all(tmp_path / "scout", slices(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])), "localizer")
    wide = slices()
    wide[2].PixelSpacing = [1.7, 0.8]
    assert_refused(save_all(tmp_path / "wide", wide), "2 series.*5 slices.*1 slice")
    nowhere = slices()
    del nowhere[1].ImagePositionPatient
    assert_refused(save_all(tmp_path / "nowhere", nowhere), "no position")
    assert_refused(save_all(tmp_path / "mosaic", slices(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])), "mosaic")
    assert_refused(save_all(tmp_path / "colour", slices(PhotometricInterpretation="PALETTE COLOR")), "colour")


def test_several_series_in_a_zip_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    one, two, scout = generate_uid(), generate_uid(), generate_uid()
    paths = save_all(tmp_path / "s", slices(series=one, SeriesDescription="Ax\x07 <b>FLAIR"))
    paths += save_all(tmp_path / "s", slices(phantom() + 1, series=two, SeriesNumber=4, SeriesDescription="x" * 64))
    paths += save_all(tmp_path / "s", slices(series=scout, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as box:
        for path in paths:
            box.write(path, f"study/{path.name}")
        box.writestr("study/README.txt", "read me")
        box.write(get_testdata_file("test-SR.dcm"), "study/SR")
    with pytest.raises(files.SeveralSeriesError) as caught:
        files.read([tmp_path / "study.zip"])
    listed = {s.uid: s for s in caught.value.series}
    assert set(listed) == {one, two}
    assert listed[one].title == "1. Ax _b_FLAIR, 6 slices of 9×8, oblique axial (series 3)" and listed[one].slices == 6
    assert len(listed[two].title) < 100 and "Secret" not in str(caught.value)
    for name in (two, "2"):
        np.testing.assert_array_equal(files.read([tmp_path / "study.zip"], name).array, phantom() + 1)
    with pytest.raises(InputError, match="localizer"):
        files.read([tmp_path / "study.zip"], scout)
    with pytest.raises(InputError, match="not in this upload"):
        files.read([tmp_path / "study.zip"], "1.2.3")


@pytest.mark.parametrize("compress", [False, True])
def test_an_enhanced_multiframe_file_in_any_order(tmp_path: Path, compress: bool) -> None:
    path = save_all(tmp_path / "s", [multiframe([3, 0, 5, 1, 4, 2], compress)])
    volume = files.read(path)
    np.testing.assert_array_equal(volume.array, phantom() * np.arange(1, 7))  # the slope of each frame is its own
    np.testing.assert_allclose(volume.affine, RAS, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
    ],
)
def test_compressed_files_hold_what_the_plain_one_holds(name: str) -> None:
    plain, packed = files.read([get_testdata_file("MR_small.dcm")]), files.read([get_testdata_file(name)])
    np.testing.assert_array_equal(packed.array, plain.array)
    np.testing.assert_allclose(packed.affine, plain.affine, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test-SR.dcm", "a report"), ("reportsi.dcm", "a report"), ("rtplan.dcm", "radiotherapy plan"),
        ("rtstruct.dcm", "a set of contours"),
        ("rtdose.dcm", "dose map"), ("waveform_ecg.dcm", "recording"), ("liver_1frame.dcm", "a segmentation"),
        ("image_dfl.dcm", "deflate"), ("MR_truncated.dcm", "damaged, truncated"), ("SC_rgb_rle.dcm", "colours"),
        ("examples_palette.dcm", "colour"), ("rtplan_truncated.dcm", "radiotherapy plan|damaged"),
    ],
)  # fmt: skip
def test_other_objects_are_refused_by_name(name: str, words: str) -> None:
    assert_refused([get_testdata_file(name)], words)


def test_pydicoms_own_files_are_read_or_refused() -> None:
    folder = Path(get_testdata_file("MR_small.dcm")).parent
    outcomes = []
    for path in sorted(p for p in folder.glob("*.dcm") if p.stat().st_size < 200_000):
        try:
            outcomes.append(files.read([path], colour=True))
        except InputError as error:
            outcomes.append(str(error))
    assert sum(isinstance(o, Volume) for o in outcomes) > 30


def test_enhanced_frames_with_measures_and_orientation_of_their_own(tmp_path: Path) -> None:
    ds = multiframe([3, 0, 5, 1, 4, 2])
    shared = ds.SharedFunctionalGroupsSequence[0]
    for k, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        for word in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            setattr(group, word, copy.deepcopy(shared[word].value))
        plane = group.PlaneOrientationSequence[0]
        plane.ImageOrientationPatient = [float(x) + 1e-7 * (k % 2) for x in plane.ImageOrientationPatient]
    del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence
    volume = files.read(save_all(tmp_path / "s", [ds]))
    mask = volume.new_like((volume.array > 20).astype(np.uint8) + (volume.array > 60), labels={1: "lesion", 2: "core"})
    seg = hd.seg.segread(files.write_dicom_seg(mask, tmp_path / "a.dcm"))
    for value in (1, 2):
        np.testing.assert_allclose(segment_mm(seg, value), expected_mm(mask, value), atol=1e-4)
    frame = seg.PerFrameFunctionalGroupsSequence[0]
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    lies = ds.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1].PlanePositionSequence[0]
    np.testing.assert_allclose(
        frame.PlanePositionSequence[0].ImagePositionPatient, lies.ImagePositionPatient, atol=1e-4
    )
    assert source.ReferencedSOPInstanceUID == ds.SOPInstanceUID
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


def test_a_series_in_two_enhanced_files_is_one_volume_and_has_a_segmentation(tmp_path: Path) -> None:
    halves = [multiframe([0, 1, 2]), multiframe([3, 4, 5])]
    halves[1].SeriesInstanceUID = halves[0].SeriesInstanceUID
    volume = files.read(save_all(tmp_path / "s", halves))
    np.testing.assert_array_equal(volume.array, phantom() * np.arange(1, 7))
    mask = volume.new_like((volume.array > 25).astype(np.uint8), labels={1: "lesion"})
    seg = hd.seg.segread(files.write_dicom_seg(mask, tmp_path / "a.dcm"))
    np.testing.assert_allclose(segment_mm(seg, 1), expected_mm(mask, 1), atol=1e-4)
    named = [r.ReferencedSOPInstanceUID for r in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert sorted(named) == sorted(ds.SOPInstanceUID for ds in halves)


def test_a_picture_without_a_position_has_no_headers_and_a_remark(tmp_path: Path) -> None:
    (first, *_) = slices()
    for word in ("ImagePositionPatient", "ImageOrientationPatient"):
        delattr(first, word)
    volume = files.read(save_all(tmp_path / "s", [first]))
    assert volume.shape == (9, 8, 1) and not volume.headers
    assert any("cannot be written as DICOM" in remark for remark in volume.remarks)


CT = {"Modality": "CT", "SOPClassUID": CTImageStorage}


def body(shift: int) -> np.ndarray:
    """(24, 20, 6) a made-up CT: air at -1000 HU, soft tissue around 40, some bone; plus `shift`."""
    rng = np.random.default_rng(0)
    hu = np.full((24, 20, 6), -1000.0)
    hu[4:20, 4:16] = 40
    hu[8:10, 8:10] = 800
    return np.rint(hu + rng.normal(0, 10, hu.shape)).clip(-1024, None).astype(np.int16) + np.int16(shift)


@pytest.mark.parametrize("tags", [{}, {"RescaleSlope": 1, "RescaleIntercept": 0}])
def test_ct_values_that_are_1024_too_high_are_corrected_with_a_remark(tmp_path: Path, tags: dict) -> None:
    stored = body(1024).astype(np.uint16)
    volume = files.read(save_all(tmp_path / "s", slices(stored, **CT, **tags)))
    assert volume.unit == "HU" and "1024 was subtracted" in volume.remarks[0]
    np.testing.assert_array_equal(volume.array, body(0))


def test_ct_values_that_are_1024_too_low_are_corrected_with_a_remark(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 1, "RescaleIntercept": -2048}
    volume = files.read(save_all(tmp_path / "s", slices(body(1024).astype(np.uint16), **CT, **tags)))
    assert volume.unit == "HU" and "1024 was added" in volume.remarks[0]
    np.testing.assert_array_equal(volume.array, body(0))
    padded = np.full((30, 30, 6), -2000, np.int16)  # as some scanners fill the corners
    padded[3:27, 5:25] = body(0)
    padded[10:20, 5:25] = -1000
    assert not hounsfield.is_1024_too_low(padded) and not hounsfield.is_1024_too_low(body(0))


def test_slices_without_rescale_values_get_those_of_the_others(tmp_path: Path) -> None:
    series = slices(body(1024).astype(np.uint16), **CT)
    for header in series[2:]:
        header.RescaleSlope, header.RescaleIntercept = 1, -1024
    volume = files.read(save_all(tmp_path / "s", series))
    assert volume.unit == "HU" and volume.remarks[0].startswith("2 of the 6 slices do not give the scale")
    np.testing.assert_array_equal(volume.array, body(0))
    series[5].RescaleIntercept = -1000
    volume = files.read(save_all(tmp_path / "t", series))
    assert "may not match" in volume.remarks[0]


def test_implausibly_small_pixels_get_a_remark(tmp_path: Path) -> None:
    volume = files.read(save_all(tmp_path / "s", slices(PixelSpacing=[0.001, 0.001])))
    assert any("0.001 × 0.001" in remark for remark in volume.remarks)


def test_ct_without_rescale_values_is_hu_only_where_it_looks_so(tmp_path: Path) -> None:
    volume = files.read(save_all(tmp_path / "hu", slices(body(0), PixelRepresentation=1, **CT)))
    assert volume.unit == "HU" and "does not give the scale" in volume.remarks[0]
    np.testing.assert_array_equal(volume.array, body(0))
    volume = files.read(save_all(tmp_path / "other", slices((body(1024) // 8).astype(np.uint16), **CT)))
    assert volume.unit == "" and "unknown whether" in volume.remarks[0]
    volume = files.read(
        save_all(tmp_path / "told", slices(body(0), PixelRepresentation=1, RescaleSlope=1, RescaleIntercept=0, **CT))
    )
    assert volume.unit == "HU" and not volume.remarks
