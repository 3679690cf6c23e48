"""A restored series out: it lies where its source lies, with its values, its own uids, and nothing of the patient."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.result import Result

LPS = from_matvec(euler2mat(0.3, -0.2, 0.4) @ np.diag([0.9, 1.7, 4.0]), [-31, 12, 55])
SERIES = {
    "CT": (CTImageStorage, {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU"}),
    "PT": (PositronEmissionTomographyImageStorage, {"RescaleSlope": 2.5, "RescaleIntercept": 0, "Units": "BQML"}),
}


def series(folder: Path, modality: str) -> list[Path]:
    """(12, 10, 5) columns, rows, slices, in no order."""
    kind, extra = SERIES[modality]
    array = np.random.default_rng(0).integers(0, 3000, (12, 10, 5)).astype(np.uint16)
    uid, study, frame = generate_uid(), generate_uid(), generate_uid()
    folder.mkdir()
    for place, k in enumerate((3, 0, 4, 1, 2)):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = kind
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, uid, frame
        ds.PatientName, ds.PatientID, ds.StudyDate, ds.InstitutionName = "Secret^Jane", "ID4711", "20200101", "Secret"
        ds.Modality, ds.SeriesDescription = modality, "Secret thorax"
        ds.Columns, ds.Rows = array.shape[:2]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        size = np.linalg.norm(LPS[:3, :2], axis=0)
        ds.ImagePositionPatient = [float(x) for x in LPS[:3, 3] + k * LPS[:3, 2]]
        ds.ImageOrientationPatient = [float(x) for x in (*LPS[:3, 0] / size[0], *LPS[:3, 1] / size[1])]
        ds.PixelSpacing, ds.SliceThickness = [float(size[1]), float(size[0])], 4.0
        for word, value in extra.items():
            setattr(ds, word, value)
        ds.PixelData = np.ascontiguousarray(array[:, :, k].T).tobytes()
        ds.save_as(folder / f"IM{place}", enforce_file_format=True)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("modality", SERIES)
def test_a_restored_series_comes_back_in_place_with_its_values(tmp_path, modality):
    source = files.read(series(tmp_path / "in", modality))
    restored = source.new_like(source.array.astype(np.float32) * 0.9 + 0.3, name="restored")
    paths = files.write_dicom_series(restored, tmp_path / "out")
    back = files.read(paths)
    assert back.grid.is_same(source.grid, 1e-3) and back.unit == source.unit
    within = 0.5 if modality == "CT" else float(restored.array.max()) / 60_000
    np.testing.assert_allclose(back.array, restored.array, atol=within + 1e-3)
    first = pydicom.dcmread(paths[0])
    if modality == "CT":
        assert (first.RescaleSlope, first.RescaleIntercept, first.RescaleType) == (1, -1024, "HU")
    assert [pydicom.dcmread(p).InstanceNumber for p in paths] == [1, 2, 3, 4, 5]


def test_uids_are_new_except_study_and_frame_of_reference(tmp_path):
    inputs = series(tmp_path / "in", "CT")
    source = files.read(inputs)
    old = [pydicom.dcmread(p) for p in inputs]
    new = [pydicom.dcmread(p) for p in files.write_dicom_series(source, tmp_path / "out")]
    assert not {d.SOPInstanceUID for d in old} & {d.SOPInstanceUID for d in new}
    assert len({d.SOPInstanceUID for d in new}) == 5 and len({d.SeriesInstanceUID for d in new}) == 1
    assert new[0].SeriesInstanceUID != old[0].SeriesInstanceUID
    assert {d.StudyInstanceUID for d in old} == {d.StudyInstanceUID for d in new}
    assert {d.FrameOfReferenceUID for d in old} == {d.FrameOfReferenceUID for d in new}
    assert new[0].ImageType[:2] == ["DERIVED", "SECONDARY"]
    by_uid = {d.SOPInstanceUID: d for d in old}
    for d in new:
        origin = by_uid[d.SourceImageSequence[0].ReferencedSOPInstanceUID]
        np.testing.assert_allclose(d.ImagePositionPatient, origin.ImagePositionPatient, atol=1e-5)
        assert not any(word in str(d) for word in ("Secret", "ID4711", "'20200101'"))  # a UID is of random digits


def test_values_that_the_source_could_not_hold_get_another_scale(tmp_path):
    source = files.read(series(tmp_path / "in", "CT"))
    wide = source.new_like(source.array.astype(np.float32) * 100)
    back = files.read(files.write_dicom_series(wide, tmp_path / "out"))
    np.testing.assert_allclose(back.array, wide.array, atol=float(np.ptp(wide.array)) / 100_000)


def test_an_image_that_was_no_dicom_is_refused(tmp_path):
    with pytest.raises(InputError, match="read from DICOM"):
        files.write_dicom_series(Volume(np.zeros((4, 4, 4)), np.eye(4)), tmp_path)


def test_a_result_from_dicom_is_saved_as_both(tmp_path):
    source = files.read(series(tmp_path / "in", "CT"))
    regions = Volume(np.ones(source.shape, np.uint16), source.affine, {1: "region 1"})
    result = Result({"image": source, "restored": source.new_like(source.array + 0.5), "regions": regions})
    written = result.write_files(tmp_path / "out", ("restored", "regions")).paths
    assert [p.name for p in written] == ["restored.nii.gz", "restored_dicom", "regions.nii.gz", "result.json"]
    assert len(list((tmp_path / "out" / "restored_dicom").iterdir())) == 5


def test_a_coloured_picture_is_saved_as_it_was_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (7, 11, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    picture = files.read([tmp_path / "in.png"], colour=True)
    Result({"restored": picture}).write_files(tmp_path / "out", ("restored",))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "restored.png")), pixels)
