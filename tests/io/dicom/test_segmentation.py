"""A mask becomes a DICOM SEG aligned with the series it was made from."""

from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_slices import LPS, assert_refused, expected_mm, multiframe, phantom, save_all, segment_mm, slices
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medapp.errors import InputError
from medapp.io import files


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, list[Path]]:
    return {
        "single": save_all(tmp_path / "single", slices()),
        "tilted": save_all(
            tmp_path / "tilted", slices(lps=LPS @ np.array([[1, 0, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
        ),
        "multi": save_all(tmp_path / "multi", [multiframe([3, 0, 5, 1, 4, 2])]),
    }


@pytest.mark.parametrize("kind", ["single", "tilted", "multi"])
def test_a_segmentation_lies_over_the_images(tmp_path: Path, sources: dict[str, list[Path]], kind: str) -> None:
    volume = files.read(sources[kind])
    array = np.zeros(volume.shape, np.uint8)
    array[7, 2, 4] = array[6, 2, 4] = array[1, 5, 1] = 1
    array[0, 7, 5] = 4
    mask = volume.new_like(array, labels={1: "lesion", 4: "oedema"}, name="mask")
    path = files.write_dicom_seg(mask, tmp_path / "mask.seg.dcm")
    seg = hd.seg.segread(path)
    for number, value in ((1, 1), (2, 4)):
        np.testing.assert_allclose(segment_mm(seg, number), expected_mm(mask, value), atol=1e-4)
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
    assert_refused([path], "a segmentation")


def turned_a_little(series: list[Dataset]) -> None:
    for k, ds in enumerate(series):
        ds.ImageOrientationPatient = [float(x) + 1e-6 * ((k + n) % 3) for n, x in enumerate(ds.ImageOrientationPatient)]
        ds.ImagePositionPatient = [float(x) + 1e-4 * ((k + n) % 3) for n, x in enumerate(ds.ImagePositionPatient)]


def renamed_each(*words: str) -> Callable[[list[Dataset]], None]:
    def change(series: list[Dataset]) -> None:
        for ds in series:
            for word in words:
                setattr(ds, word, generate_uid())

    return change


def without(*words: str) -> Callable[[list[Dataset]], None]:
    def change(series: list[Dataset]) -> None:
        for ds in series:
            for word in words:
                delattr(ds, word)

    return change


UNUSUAL: dict[str, Callable[[list[Dataset]], None]] = {
    "orientation off in a last digit": turned_a_little,
    "a frame of reference each": renamed_each("FrameOfReferenceUID"),
    "a study and a series each": renamed_each("StudyInstanceUID", "SeriesInstanceUID"),
    "one image uid for all": lambda series: [setattr(ds, "SOPInstanceUID", "1.2.3") for ds in series] and None,
    "no modality, no dates": without("Modality", "StudyDate", "SeriesDate"),
    "no frame of reference": without("FrameOfReferenceUID"),
    "no study": without("StudyInstanceUID"),
    "no series": without("SeriesInstanceUID"),
    "words for uids": lambda series: [setattr(ds, "StudyInstanceUID", "Secret") for ds in series] and None,
    "no number of colours": without("SamplesPerPixel"),
    "no patient": without("PatientName", "PatientID", "PatientBirthDate"),
    "no thickness": without("SliceThickness"),
    "a slice missing": lambda series: series.__delitem__(2),
    "spacing that changes": lambda series: [series.__delitem__(k) for k in (4, 2)] and None,
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_read_can_have_a_segmentation(tmp_path: Path, name: str) -> None:
    deep = np.concatenate([phantom(), phantom()], axis=2)
    series = slices(deep)
    if name == "spacing that changes":
        series = series[:6] + series[7::2]
    UNUSUAL[name](series)
    volume = files.read(save_all(tmp_path / "s", series))
    assert len(volume.headers) == volume.shape[2]
    parts = (volume.array > 20).astype(np.uint8) + (volume.array > 30)
    mask = volume.new_like(parts, labels={1: "lesion", 2: "core"})
    path = files.write_dicom_seg(mask, tmp_path / "a.dcm")
    for value in (1, 2):
        np.testing.assert_allclose(segment_mm(pydicom.dcmread(path), value), expected_mm(mask, value), atol=1e-3)
    seg = hd.seg.segread(path)
    assert seg.get_volume(combine_segments=True).array.sum() == mask.array.sum()
    named = [r.ReferencedSOPInstanceUID for one in seg.get("ReferencedSeriesSequence", []) for r in one[0x0008114A]]
    known = {ds.SOPInstanceUID for ds in series} if name != "one image uid for all" else set()
    assert set(named) == known and len(named) == len(known)
    assert b"Secret" not in path.read_bytes()
    back = files.read(files.write_dicom_series(volume, tmp_path / "out"))
    assert back.grid.is_same(volume.grid, 1e-3)
    np.testing.assert_allclose(back.array, volume.array, atol=0.51)


def test_regions_of_the_brain_are_anatomy_and_those_not_found_are_left_out(
    tmp_path: Path, sources: dict[str, list[Path]]
) -> None:
    volume = files.read(sources["single"])
    array = np.zeros(volume.shape, np.uint8)
    array[6, 2, 4], array[1, 5, 1] = 14, 30
    labels = {13: "Brain-Stem", 14: "Left-Hippocampus", 30: "Right-Hippocampus"}
    seg = hd.seg.segread(files.write_dicom_seg(volume.new_like(array, labels=labels), tmp_path / "labels.seg.dcm"))
    descriptions = [seg.get_segment_description(n) for n in seg.segment_numbers]
    assert [description.segment_label for description in descriptions] == ["Left-Hippocampus", "Right-Hippocampus"]
    assert {description.segmented_property_category.value for description in descriptions} == {"91723000"}
    assert {description.segmented_property_type.value for description in descriptions} == {"5366008"}
    np.testing.assert_allclose(segment_mm(seg, 2), expected_mm(volume.new_like(array), 30), atol=1e-4)


def test_each_frame_of_a_segmentation_names_its_source_image(tmp_path: Path, sources: dict[str, list[Path]]) -> None:
    volume = files.read(sources["single"])
    path = files.write_dicom_seg(
        volume.new_like((volume.array == 1000).astype(np.uint8), labels={1: "lesion"}), tmp_path / "a.dcm"
    )
    (frame,) = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    named = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    (drawn,) = (ds for ds in map(pydicom.dcmread, sources["single"]) if ds.pixel_array.max() == 1000)
    assert named == drawn.SOPInstanceUID == volume.headers[4].SOPInstanceUID


def test_a_series_that_does_not_give_its_thickness_can_have_a_segmentation(tmp_path: Path) -> None:
    volume = files.read(save_all(tmp_path / "s", slices(SliceThickness=None)))
    mask = volume.new_like((volume.array == 1000).astype(np.uint8), labels={1: "lesion"})
    path = files.write_dicom_seg(mask, tmp_path / "a.dcm")
    np.testing.assert_allclose(segment_mm(pydicom.dcmread(path), 1), expected_mm(mask, 1), atol=1e-4)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_an_empty_mask_is_a_segmentation_too(tmp_path: Path, sources: dict[str, list[Path]], kind: str) -> None:
    volume = files.read(sources[kind])
    path = files.write_dicom_seg(
        volume.new_like(np.zeros(volume.shape, np.uint8), labels={1: "lesion"}), tmp_path / "a.dcm"
    )
    assert not pydicom.dcmread(path).pixel_array.any() and hd.seg.segread(path).number_of_segments == 1


def test_a_mask_that_was_corrected_by_hand_is_no_longer_automatic(tmp_path: Path) -> None:
    image = files.read(save_all(tmp_path / "in", slices()))
    mask = image.new_like((image.array > 10).astype(np.uint8), labels={1: "lesion"}, unit="")
    for by_hand, kind in ((False, "AUTOMATIC"), (True, "SEMIAUTOMATIC")):
        seg = pydicom.dcmread(files.write_dicom_seg(mask, tmp_path / f"{kind}.dcm", by_hand=by_hand))
        assert seg.SegmentSequence[0].SegmentAlgorithmType == kind
        assert ("by hand" in seg.SeriesDescription) is by_hand


def test_a_mask_on_another_grid_is_resampled_and_one_without_headers_refused(
    tmp_path: Path, sources: dict[str, list[Path]]
) -> None:
    volume = files.read(sources["single"])
    mask = volume.new_like((volume.array == 1000).astype(np.uint8), labels={1: "lesion"})
    turned = mask.new_like(
        mask.array[::-1], affine=mask.affine @ nib.affines.from_matvec(np.diag([-1.0, 1, 1]), [8, 0, 0])
    )
    path = files.write_dicom_seg(turned, tmp_path / "a.dcm")
    np.testing.assert_allclose(segment_mm(pydicom.dcmread(path), 1), expected_mm(mask, 1), atol=1e-4)
    with pytest.raises(InputError, match="read from DICOM"):
        files.write_dicom_seg(mask.new_like(mask.array, headers=()), tmp_path / "b.dcm")


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_neither_headers_nor_segmentation_hold_the_identity(
    tmp_path: Path, sources: dict[str, list[Path]], kind: str
) -> None:
    volume = files.read(sources[kind])
    path = files.write_dicom_seg(
        volume.new_like((volume.array > 900).astype(np.uint8), labels={1: "lesion"}), tmp_path / "a.dcm"
    )
    for text in (*map(str, volume.headers), path.read_bytes().decode("latin-1")):
        assert not any(word in text for word in ("Secret", "ID4711", "19700101", "20200101", "FLAIR"))
    assert all("PixelData" not in header for header in volume.headers)
    assert len(volume.headers) == 6
