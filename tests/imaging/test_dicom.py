"""DICOM in and out: a volume cut into slices by hand comes back in place, and a mask lies over its images."""

import zipfile
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from medapp.errors import InputError
from medapp.imaging import files
from medapp.imaging.volume import Volume

# index (column, row, slice) -> LPS: oblique, voxels of 0.9 (column), 1.7 (row), 4 mm
LPS = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([0.9, 1.7, 4.0]), [-31, 12, 55])
RAS = np.diag([-1, -1, 1, 1]) @ LPS
STUDY, FRAME = generate_uid(), generate_uid()


def phantom() -> np.ndarray:
    """(9, 8, 6) columns, rows, slices."""
    array = np.random.default_rng(0).integers(0, 50, (9, 8, 6)).astype(np.uint16)
    array[7, 2, 4] = 1000
    return array


def bare(uid: str, series: str, **changes: object) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, series, FRAME
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.InstitutionName = (
        "Secret^Jane",
        "ID4711",
        "19700101",
        "Secret Hospital",
    )
    ds.ReferringPhysicianName, ds.StudyDescription, ds.ImageComments = "Secret^Doc", "Secret study", "Secret comment"
    ds.StudyDate = ds.SeriesDate = "20200101"
    ds.Modality, ds.SeriesNumber, ds.SeriesDescription, ds.ImageType = "MR", 3, "Ax FLAIR", ["ORIGINAL", "PRIMARY"]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    for word, value in changes.items():
        setattr(ds, word, value)
    return ds


def slices(
    array: np.ndarray | None = None, lps: np.ndarray = LPS, series: str | None = None, **changes: object
) -> list[Dataset]:
    """The volume cut along axis 2, one dataset each, written out by the standard's own equation (C.7.6.2.1-1)."""
    array, series, out = phantom() if array is None else array, series or generate_uid(), []
    for k in range(array.shape[2]):
        ds = bare(MRImageStorage, series, InstanceNumber=array.shape[2] - k)
        ds.Columns, ds.Rows = array.shape[:2]
        ds.ImagePositionPatient = [float(x) for x in lps[:3, 3] + k * lps[:3, 2]]
        between_columns, between_rows = np.linalg.norm(lps[:3, :2], axis=0)
        ds.ImageOrientationPatient = [float(x) for x in (*lps[:3, 0] / between_columns, *lps[:3, 1] / between_rows)]
        ds.PixelSpacing, ds.SliceThickness = [float(between_rows), float(between_columns)], 3.0
        ds.PixelData = np.ascontiguousarray(array[:, :, k].T).tobytes()
        for word, value in changes.items():
            setattr(ds, word, value)
        out.append(ds)
    return out


def saved(folder: Path, datasets: list[Dataset], seed: int = 0) -> list[Path]:
    """Written without extension and in no order."""
    folder.mkdir(exist_ok=True)
    paths = []
    for n in np.random.default_rng(seed).permutation(len(datasets)):
        paths.append(folder / f"IM{len(list(folder.iterdir())):04d}")
        datasets[n].save_as(paths[-1], enforce_file_format=True)
    return paths


def multiframe(order: list[int], compress: bool = False) -> Dataset:
    """An enhanced MR with the slices of the phantom in the given order."""
    array, single = phantom(), slices()
    ds = bare(EnhancedMRImageStorage, generate_uid(), NumberOfFrames=len(order))
    ds.Columns, ds.Rows = array.shape[:2]
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = single[0].PixelSpacing, 3.0
    orientation.ImageOrientationPatient = single[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], []
    for k in order:
        group, position, content, rescale = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = single[k].ImagePositionPatient
        content.FrameComments = "Secret frame"
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1 + k, 0, "US"
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.PixelValueTransformationSequence = [rescale]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    ds.PixelData = np.ascontiguousarray(array[:, :, order].transpose(2, 1, 0)).tobytes()
    if compress:
        ds.compress(RLELossless)
    return ds


def bright_mm(volume: Volume) -> np.ndarray:
    return volume.grid.to_mm(np.array(np.unravel_index(volume.array.argmax(), volume.shape)))


def refused(paths: list[Path], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        files.read(paths)
    assert "Secret" not in str(caught.value) and str(caught.value).endswith(".")


# in


def test_an_oblique_series_in_any_order_without_extensions(tmp_path: Path) -> None:
    volume = files.read(saved(tmp_path / "s", slices()), name="FLAIR")
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
    where = bright_mm(files.read(saved(tmp_path / "s", slices(array, lps))))
    axis, sign = side
    assert where[axis] == sign * 4 and np.abs(np.delete(where, axis)).max() == 0


def test_rescaled_slice_by_slice_with_units(tmp_path: Path) -> None:
    ct = slices(Modality="CT", SOPClassUID=CTImageStorage, RescaleSlope=1, RescaleIntercept=-1024)
    volume = files.read(saved(tmp_path / "ct", ct))
    assert volume.unit == "HU" and volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, phantom().astype(np.int16) - 1024)
    pet = slices(Modality="PT", Units="BQML", RescaleIntercept=0)
    for k, ds in enumerate(pet):
        ds.RescaleSlope = 0.5 + k
    volume = files.read(saved(tmp_path / "pt", pet))
    assert volume.unit == "Bq/ml" and volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array, phantom() * (0.5 + np.arange(6)))
    volume = files.read(saved(tmp_path / "suv", slices(Modality="PT", Units="GML")))
    assert volume.unit == "" and "GML" in volume.remarks[0]


def test_a_tilted_gantry_is_a_sheared_affine(tmp_path: Path) -> None:
    tilted = LPS @ np.array([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    volume = files.read(saved(tmp_path / "s", slices(lps=tilted)))
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ tilted, atol=1e-6)
    assert "tilted by 12.0°" in volume.remarks[0]


def test_a_missing_slice_is_noted_and_leaves_its_neighbours_in_place(tmp_path: Path) -> None:
    volume = files.read(saved(tmp_path / "s", [ds for k, ds in enumerate(slices()) if k != 2]))
    np.testing.assert_allclose(volume.affine, RAS, atol=1e-6)
    kept = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(volume.array[..., kept], phantom()[..., kept])
    between = (phantom()[..., 1].astype(float) + phantom()[..., 3]) / 2
    np.testing.assert_allclose(volume.array[..., 2], between, atol=0.51)
    assert "1 slice is missing" in volume.remarks[0] and volume.headers == ()


def test_series_that_are_no_volume_are_refused(tmp_path: Path) -> None:
    uneven = slices()
    uneven[5].ImagePositionPatient = [float(x) for x in LPS[:3, 3] + 5.5 * LPS[:3, 2]]
    refused(saved(tmp_path / "uneven", uneven), "uneven distances, 4.00 to 6.00 mm")
    refused(saved(tmp_path / "gap", [ds for k, ds in enumerate(slices()) if k in (0, 1, 2, 5)]), "2 slices are missing")
    turned = slices()
    turned[3].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    refused(saved(tmp_path / "turned", turned), "not parallel")
    refused(saved(tmp_path / "scout", slices(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])), "localizer")
    wide = slices()
    wide[2].PixelSpacing = [1.7, 0.8]
    refused(saved(tmp_path / "wide", wide), "pixels of different sizes")
    nowhere = slices()
    del nowhere[1].ImagePositionPatient
    refused(saved(tmp_path / "nowhere", nowhere), "where it lies")
    refused(saved(tmp_path / "mosaic", slices(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])), "mosaic")
    refused(saved(tmp_path / "colour", slices(PhotometricInterpretation="PALETTE COLOR")), "coloured")


@pytest.mark.parametrize(
    ("word", "values", "said"), [("EchoTime", (10, 90), "echo times"), ("DiffusionBValue", (0.0, 1000.0), "b-values")]
)
def test_several_images_at_each_place_are_refused_with_the_reason(
    tmp_path: Path, word: str, values: tuple, said: str
) -> None:
    uid = generate_uid()
    both = [ds for value in values for ds in slices(series=uid, **{word: value})]
    refused(saved(tmp_path / "s", both), f"2 images at each place .different {said}.")


def test_the_same_image_twice_is_one_image(tmp_path: Path) -> None:
    once = slices()
    paths = saved(tmp_path / "s", once) + saved(tmp_path / "again", once, seed=1)
    assert files.read(paths).shape == (9, 8, 6)


def test_several_series_in_a_zip_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    one, two, scout = generate_uid(), generate_uid(), generate_uid()
    paths = saved(tmp_path / "s", slices(series=one, SeriesDescription="Ax\x07 <b>FLAIR"))
    paths += saved(tmp_path / "s", slices(phantom() + 1, series=two, SeriesNumber=4, SeriesDescription="x" * 64))
    paths += saved(tmp_path / "s", slices(series=scout, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as box:
        for path in paths:
            box.write(path, f"study/{path.name}")
        box.writestr("study/README.txt", "read me")
        box.write(get_testdata_file("test-SR.dcm"), "study/SR")
    with pytest.raises(files.SeveralSeries) as caught:
        files.read([tmp_path / "study.zip"])
    listed = {s.uid: s for s in caught.value.series}
    assert set(listed) == {one, two}
    assert listed[one].title == "3: Ax _b_FLAIR, 6 slices of 9×8" and listed[one].slices == 6
    assert len(listed[two].title) < 80 and "Secret" not in str(caught.value)
    np.testing.assert_array_equal(files.read([tmp_path / "study.zip"], two).array, phantom() + 1)
    with pytest.raises(InputError, match="localizer"):
        files.read([tmp_path / "study.zip"], scout)
    with pytest.raises(InputError, match="not in this upload"):
        files.read([tmp_path / "study.zip"], "1.2.3")


@pytest.mark.parametrize("compress", [False, True])
def test_an_enhanced_multiframe_file_in_any_order(tmp_path: Path, compress: bool) -> None:
    path = saved(tmp_path / "s", [multiframe([3, 0, 5, 1, 4, 2], compress)])
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
        ("image_dfl.dcm", "deflate"), ("MR_truncated.dcm", "damaged, truncated"), ("SC_rgb_rle.dcm", "coloured"),
        ("examples_palette.dcm", "coloured"), ("rtplan_truncated.dcm", "radiotherapy plan|damaged"),
    ],
)  # fmt: skip
def test_other_objects_are_refused_by_name(name: str, words: str) -> None:
    refused([get_testdata_file(name)], words)


def test_pydicoms_own_files_are_read_or_refused_in_words() -> None:
    folder = Path(get_testdata_file("MR_small.dcm")).parent
    outcomes = []
    for path in sorted(p for p in folder.glob("*.dcm") if p.stat().st_size < 200_000):
        try:
            outcomes.append(files.read([path], colour=True))
        except InputError as error:
            outcomes.append(str(error))
    assert sum(isinstance(o, Volume) for o in outcomes) > 30


# out


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, list[Path]]:
    return {
        "single": saved(tmp_path / "single", slices()),
        "tilted": saved(
            tmp_path / "tilted", slices(lps=LPS @ np.array([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
        ),
        "multi": saved(tmp_path / "multi", [multiframe([3, 0, 5, 1, 4, 2])]),
    }


def lit_mm(seg: Dataset, number: int) -> np.ndarray:
    """(n, 3) RAS millimetres of the pixels of a segment, from the SEG alone and the standard's equation, sorted."""
    shared, found = seg.SharedFunctionalGroupsSequence[0], []
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for group, pixels in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        where = group if "SegmentIdentificationSequence" in group else shared
        if where.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
            between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
            origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            rows, columns = np.nonzero(pixels)
            found.append(
                origin
                + np.outer(columns * between_columns, orientation[0])
                + np.outer(rows * between_rows, orientation[1])
            )
    points = np.concatenate(found) * [-1, -1, 1]
    return points[np.lexsort(points.T)]


def expected_mm(mask: Volume, value: int) -> np.ndarray:
    points = mask.grid.to_mm(np.argwhere(mask.array == value))
    return points[np.lexsort(points.T)]


@pytest.mark.parametrize("kind", ["single", "tilted", "multi"])
def test_a_segmentation_lies_over_the_images(tmp_path: Path, sources: dict[str, list[Path]], kind: str) -> None:
    volume = files.read(sources[kind])
    array = np.zeros(volume.shape, np.uint8)
    array[7, 2, 4] = array[6, 2, 4] = array[1, 5, 1] = 1
    array[0, 7, 5] = 4
    mask = volume.like(array, labels={1: "lesion", 4: "oedema"}, name="mask")
    path = files.write_dicom_seg(mask, tmp_path / "mask.seg.dcm")
    seg = hd.seg.segread(path)
    for number, value in ((1, 1), (2, 4)):
        np.testing.assert_allclose(lit_mm(seg, number), expected_mm(mask, value), atol=1e-4)
    source = pydicom.dcmread(sources[kind][0])
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID and seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.SegmentationType == "BINARY" and [seg.get_segment_description(n).segment_label for n in (1, 2)] == [
        "lesion",
        "oedema",
    ]
    algorithm = seg.get_segment_description(1).SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "medapp"
    assert seg.get_segment_description(1).SegmentedPropertyTypeCodeSequence[0].CodeValue == "52988006"
    known = {pydicom.dcmread(p).SOPInstanceUID for p in sources[kind]}
    named = {r.ReferencedSOPInstanceUID for r in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named <= known and named
    refused([path], "a segmentation")


def test_regions_of_the_brain_are_anatomy_and_those_not_found_are_left_out(
    tmp_path: Path, sources: dict[str, list[Path]]
) -> None:
    volume = files.read(sources["single"])
    array = np.zeros(volume.shape, np.uint8)
    array[6, 2, 4], array[1, 5, 1] = 14, 30
    labels = {13: "Brain-Stem", 14: "Left-Hippocampus", 30: "Right-Hippocampus"}
    seg = hd.seg.segread(files.write_dicom_seg(volume.like(array, labels=labels), tmp_path / "labels.seg.dcm"))
    found = [seg.get_segment_description(n) for n in seg.segment_numbers]
    assert [one.segment_label for one in found] == ["Left-Hippocampus", "Right-Hippocampus"]
    assert {one.segmented_property_category.value for one in found} == {"91723000"}
    assert {one.segmented_property_type.value for one in found} == {"5366008"}
    np.testing.assert_allclose(lit_mm(seg, 2), expected_mm(volume.like(array), 30), atol=1e-4)


def test_each_frame_of_a_segmentation_names_the_image_it_was_drawn_on(
    tmp_path: Path, sources: dict[str, list[Path]]
) -> None:
    volume = files.read(sources["single"])
    path = files.write_dicom_seg(
        volume.like((volume.array == 1000).astype(np.uint8), labels={1: "lesion"}), tmp_path / "a.dcm"
    )
    (frame,) = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    named = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    (drawn,) = (ds for ds in map(pydicom.dcmread, sources["single"]) if ds.pixel_array.max() == 1000)
    assert named == drawn.SOPInstanceUID == volume.headers[4].SOPInstanceUID


def test_a_series_that_does_not_give_its_thickness_can_have_a_segmentation(tmp_path: Path) -> None:
    volume = files.read(saved(tmp_path / "s", slices(SliceThickness=None)))
    mask = volume.like((volume.array == 1000).astype(np.uint8), labels={1: "lesion"})
    path = files.write_dicom_seg(mask, tmp_path / "a.dcm")
    np.testing.assert_allclose(lit_mm(pydicom.dcmread(path), 1), expected_mm(mask, 1), atol=1e-4)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_an_empty_mask_is_a_segmentation_too(tmp_path: Path, sources: dict[str, list[Path]], kind: str) -> None:
    volume = files.read(sources[kind])
    path = files.write_dicom_seg(
        volume.like(np.zeros(volume.shape, np.uint8), labels={1: "lesion"}), tmp_path / "a.dcm"
    )
    assert not pydicom.dcmread(path).pixel_array.any() and hd.seg.segread(path).number_of_segments == 1


def test_a_mask_on_another_grid_is_brought_back_and_one_without_headers_refused(
    tmp_path: Path, sources: dict[str, list[Path]]
) -> None:
    volume = files.read(sources["single"])
    mask = volume.like((volume.array == 1000).astype(np.uint8), labels={1: "lesion"})
    turned = mask.like(mask.array[::-1], affine=mask.affine @ nib.affines.from_matvec(np.diag([-1.0, 1, 1]), [8, 0, 0]))
    path = files.write_dicom_seg(turned, tmp_path / "a.dcm")
    np.testing.assert_allclose(lit_mm(pydicom.dcmread(path), 1), expected_mm(mask, 1), atol=1e-4)
    with pytest.raises(InputError, match="read from DICOM"):
        files.write_dicom_seg(mask.like(mask.array, headers=()), tmp_path / "b.dcm")


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_neither_headers_nor_segmentation_hold_the_identity(
    tmp_path: Path, sources: dict[str, list[Path]], kind: str
) -> None:
    volume = files.read(sources[kind])
    path = files.write_dicom_seg(
        volume.like((volume.array > 900).astype(np.uint8), labels={1: "lesion"}), tmp_path / "a.dcm"
    )
    for text in (*map(str, volume.headers), path.read_bytes().decode("latin-1")):
        assert not any(word in text for word in ("Secret", "ID4711", "19700101", "20200101", "FLAIR"))
    assert all("PixelData" not in header for header in volume.headers)
    assert len(volume.headers) == (6 if kind == "single" else 1)
