"""DICOM datasets made by hand: a volume cut into slices, and the positions of a segmentation's pixels."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import files

# index (column, row, slice) -> LPS: oblique, voxels of 0.9 (column), 1.7 (row), 4 mm
LPS = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([0.9, 1.7, 4.0]), [-31, 12, 55])
RAS = np.diag([-1, -1, 1, 1]) @ LPS
STUDY, FRAME = generate_uid(), generate_uid()


def phantom() -> np.ndarray:
    """(9, 8, 6) columns, rows, slices."""
    array = np.random.default_rng(0).integers(0, 50, (9, 8, 6)).astype(np.uint16)
    array[7, 2, 4] = 1000
    return array


def new_dataset(uid: str, series: str, **changes: object) -> Dataset:
    """An MR dataset of the SOP class `uid` with an identity that must not get out."""
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
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    return ds


def slices(
    array: np.ndarray | None = None, lps: np.ndarray = LPS, series: str | None = None, **changes: object
) -> list[Dataset]:
    """The volume cut along axis 2, one dataset each, written out by the standard's own equation (C.7.6.2.1-1)."""
    array, series, out = phantom() if array is None else array, series or generate_uid(), []
    for k in range(array.shape[2]):
        ds = new_dataset(MRImageStorage, series, InstanceNumber=array.shape[2] - k)
        ds.Columns, ds.Rows = array.shape[:2]
        ds.ImagePositionPatient = [float(x) for x in lps[:3, 3] + k * lps[:3, 2]]
        between_columns, between_rows = np.linalg.norm(lps[:3, :2], axis=0)
        ds.ImageOrientationPatient = [float(x) for x in (*lps[:3, 0] / between_columns, *lps[:3, 1] / between_rows)]
        ds.PixelSpacing, ds.SliceThickness = [float(between_rows), float(between_columns)], 3.0
        ds.PixelData = np.ascontiguousarray(array[:, :, k].T).tobytes()
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        out.append(ds)
    return out


def save_all(folder: Path, datasets: list[Dataset], seed: int = 0) -> list[Path]:
    """Save without extension and in random order."""
    folder.mkdir(exist_ok=True)
    paths = []
    for n in np.random.default_rng(seed).permutation(len(datasets)):
        paths.append(folder / f"IM{len(list(folder.iterdir())):04d}")
        datasets[n].save_as(paths[-1], enforce_file_format=True)
    return paths


def multiframe(order: list[int], compress: bool = False) -> Dataset:
    """An enhanced MR with the slices of the phantom in the given order."""
    array, single = phantom(), slices()
    ds = new_dataset(EnhancedMRImageStorage, generate_uid(), NumberOfFrames=len(order))
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


def assert_refused(paths: list[Path], words: str) -> None:
    """Reading raises InputError with one sentence that contains `words` and nothing of the patient."""
    with pytest.raises(InputError, match=words) as caught:
        files.read(paths)
    assert "Secret" not in str(caught.value) and str(caught.value).endswith(".")


def segment_mm(seg: Dataset, number: int) -> np.ndarray:
    """Sorted RAS+ millimetres (n, 3) of the pixels of a segment, from the SEG alone by the standard's equation."""
    shared, positions = seg.SharedFunctionalGroupsSequence[0], []
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for group, pixels in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        where = group if "SegmentIdentificationSequence" in group else shared
        if where.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
            between_rows, between_columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
            origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            rows, columns = np.nonzero(pixels)
            positions.append(
                origin
                + np.outer(columns * between_columns, orientation[0])
                + np.outer(rows * between_rows, orientation[1])
            )
    points = np.concatenate(positions) * [-1, -1, 1]
    return points[np.lexsort(points.T)]


def expected_mm(mask: Volume, value: int) -> np.ndarray:
    """The same of the voxels of a mask that have a value."""
    points = mask.grid.to_mm(np.argwhere(mask.array == value))
    return points[np.lexsort(points.T)]
