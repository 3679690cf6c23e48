"""Write an image as a derived DICOM series, aligned with its source series."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    EnhancedPETImageStorage,
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

import medapp
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.io.dicom import slice_headers

SINGLE_FRAME_CLASSES = {
    EnhancedCTImageStorage: CTImageStorage,
    EnhancedMRImageStorage: MRImageStorage,
    EnhancedPETImageStorage: PositronEmissionTomographyImageStorage,
    LegacyConvertedEnhancedCTImageStorage: CTImageStorage,
    LegacyConvertedEnhancedMRImageStorage: MRImageStorage,
    LegacyConvertedEnhancedPETImageStorage: PositronEmissionTomographyImageStorage,
}
COPIED_KEYWORDS = ("StudyInstanceUID", "FrameOfReferenceUID", "Modality", "RescaleType", "Units", "DecayCorrection")
GEOMETRY_KEYWORDS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def write_dicom_series(volume: Volume, folder: Path, description: str = "medapp, for research only") -> list[Path]:
    """Write `volume` as one file per slice into `folder`, which is created, and return the paths.

    `volume.headers` are those of the series that the image was read from; a volume on another grid is resampled onto
    that of the series. The files are a new series of the same study and frame of reference, with new uids, each naming
    its source; they hold no other patient data. Values are 16-bit integers: CT and others with the slope and intercept
    of the source where these can represent all values, PET with a slope per slice. Raises InputError without headers.
    """
    if not volume.headers or volume.is_colour:
        raise InputError("A DICOM series needs a grey image that was read from DICOM; upload the DICOM series.")
    headers: list[Dataset] = list(volume.headers)
    shape = (int(headers[0].Columns), int(headers[0].Rows), len(headers))
    array = resample(volume, Grid(shape, slice_headers.affine_from_headers(headers))).array
    folder.mkdir(parents=True, exist_ok=True)
    series, paths = generate_uid(), []
    slope, intercept = _choose_rescale(array, headers[0])
    for index, header in enumerate(headers):
        values = array[:, :, index].T
        if volume.unit == "Bq/ml":
            slope, intercept = max(float(np.abs(values).max()) / 32_000, 1e-12), 0.0
        dataset = _new_dataset(header, description, volume.unit)
        dataset.SeriesInstanceUID = series
        dataset.InstanceNumber = index + 1
        dataset.ImageIndex = index + 1
        _set_pixels(dataset, values, float(f"{slope:.10g}"), intercept)
        paths.append(folder / f"{index + 1:04d}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def _choose_rescale(array: np.ndarray, header: Dataset) -> tuple[float, float]:
    """Return slope and intercept of the source, or others where 16 bits could not represent the values with them."""
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    low, high = float(array.min()), float(array.max())
    is_representable = all(abs((value - intercept) / slope) < 32_767 for value in (low, high))
    if is_representable and high - low > 100 * slope:
        return slope, intercept
    return max((high - low) / 64_000, 1e-12), (high + low) / 2


def _new_dataset(header: Dataset, description: str, unit: str) -> Dataset:
    """Return a dataset for one slice with the attributes of its source but without pixels."""
    kind = SINGLE_FRAME_CLASSES.get(header.SOPClassUID, header.SOPClassUID)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = kind
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    for keyword in slice_headers.BLANK_KEYWORDS:
        setattr(dataset, keyword, "")
    for keyword in COPIED_KEYWORDS:
        if header.get(keyword) not in (None, ""):
            dataset[keyword] = header[keyword]
    dataset.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    dataset.SeriesNumber = 901
    dataset.SeriesDescription = description[:64]
    dataset.DerivationDescription = "Restored by a neural network; not for diagnosis"
    dataset.Manufacturer, dataset.ManufacturerModelName = "medapp", "medapp"
    dataset.SoftwareVersions = medapp.__version__
    dataset.PositionReferenceIndicator = ""
    dataset.AcquisitionNumber = None
    for keyword in ("SourceImageSequence", *GEOMETRY_KEYWORDS):
        if keyword in header:
            dataset[keyword] = header[keyword]
    if kind == CTImageStorage:
        dataset.KVP = None
        dataset.RescaleType = "HU" if unit == "HU" else "US"
    return dataset


def _set_pixels(dataset: Dataset, values: np.ndarray, slope: float, intercept: float) -> None:
    """Store the values (rows, columns) as 16-bit pixels, and the attributes that describe them."""
    pixels = np.rint((values - np.float64(intercept)) / slope).clip(-32_768, 32_767).astype("<i2")
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope, dataset.RescaleIntercept = slice_headers.format_decimals([slope, intercept])
    dataset.PixelData = pixels.tobytes()
