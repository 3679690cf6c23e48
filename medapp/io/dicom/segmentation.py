"""Write a mask as DICOM SEG, aligned with its source images."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import medapp
from medapp.errors import InputError
from medapp.imaging.brain_labels import split_side
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.io.dicom import slice_headers

SNOMED_NAMES = {  # label without its side -> SNOMED name of the structure, or of the one that contains it
    "brain": "Brain",
    "Cerebral-White-Matter": "CerebralWhiteMatter",
    "Cerebral-Cortex": "CerebralCortex",
    "Lateral-Ventricle": "LateralVentricle",
    "Inf-Lat-Ventricle": "LateralVentricle",
    "3rd-Ventricle": "ThirdVentricle",
    "4th-Ventricle": "FourthVentricle",
    "Cerebellum-White-Matter": "Cerebellum",
    "Cerebellum-Cortex": "CerebellarCortex",
    "Thalamus": "Thalamus",
    "Caudate": "CaudateNucleus",
    "Putamen": "Putamen",
    "Pallidum": "GlobusPallidus",
    "Hippocampus": "Hippocampus",
    "Amygdala": "Amygdala",
    "Accumbens": "NucleusAccumbens",
    "Ventral-DC": "Diencephalon",
    "Brain-Stem": "BrainStem",
    "Vessel": "Brain",
    "Choroid-Plexus": "LateralVentricle",
}


def write_dicom_seg(mask: Volume, path: Path, *, by_hand: bool = False) -> Path:
    """Write `mask` as a binary DICOM SEG, one segment per label that occurs, and return the path.

    `mask.headers` are those of the series that the image was read from; a mask on another grid is resampled onto that
    of the series by nearest neighbour. Each frame names its source image where that has a unique uid. An empty mask
    gives a SEG with empty frames. A mask that was corrected `by_hand` is called semi-automatic. Raises InputError
    without headers.
    """
    import highdicom  # slow to import

    if not mask.headers or not mask.labels:
        raise InputError("A DICOM segmentation needs an image that was read from DICOM; upload the DICOM series.")
    headers: list[Dataset] = list(mask.headers)
    shape = (int(headers[0].Columns), int(headers[0].Rows), len(headers))
    array = resample(mask, Grid(shape, slice_headers.affine_from_headers(headers))).array
    values = set(np.unique(array).tolist())
    labels = {value: label for value, label in mask.labels.items() if value in values} or mask.labels
    numbered = np.zeros(array.shape, np.uint8 if len(labels) < 256 else np.uint16)
    for number, value in enumerate(labels, start=1):
        numbered[array == value] = number
    segments = [_describe_segment(n, label, by_hand) for n, label in enumerate(labels.values(), start=1)]
    seg = highdicom.seg.Segmentation(
        source_images=[_single_frame_header(header) for header in headers],
        pixel_array=np.ascontiguousarray(numbered.T),  # (slices, rows, columns)
        segmentation_type="BINARY",
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=900,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="medapp",
        manufacturer_model_name="medapp",
        software_versions=medapp.__version__,
        device_serial_number="0",
        series_description=f"medapp segmentation{', corrected by hand' * by_hand}, for research only",
        omit_empty_frames=bool(numbered.any()),
    )
    _set_sources(seg, headers)
    seg.save_as(path)
    return path


def _single_frame_header(header: Dataset) -> Dataset:
    """Return the header as that of a single-frame MR image, whatever it was."""
    single = Dataset()
    single.update({element.tag: element for element in header if element.keyword != "SourceImageSequence"})
    single.SOPClassUID, single.SpacingBetweenSlices = slice_headers.MR_CLASS, header.SliceThickness
    return single


def _set_sources(seg: Dataset, headers: list[Dataset]) -> None:
    """Replace the headers by the images they were made from, wherever `seg` names its sources."""
    sources = {header.SOPInstanceUID: header.get("SourceImageSequence") for header in headers}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        derivation = frame.get("DerivationImageSequence")
        if not derivation:
            continue
        (item,) = derivation[0].SourceImageSequence
        uid = item.ReferencedSOPInstanceUID
        if uid not in sources:  # replaced already: the frames of all segments at one position share the item
            continue
        if references := sources[uid]:
            item.update(references[0])
        else:
            frame.DerivationImageSequence = Items([])
    images: dict[str, Dataset] = {}  # a multi-frame image is named once
    for references in sources.values():
        if references:
            image = Dataset()
            image.ReferencedSOPClassUID = references[0].ReferencedSOPClassUID
            image.ReferencedSOPInstanceUID = references[0].ReferencedSOPInstanceUID
            images[image.ReferencedSOPInstanceUID] = image
    del seg.SourceImageSequence, seg.ReferencedSeriesSequence
    if images:
        series = Dataset()
        series.SeriesInstanceUID = headers[0].SeriesInstanceUID
        series.ReferencedInstanceSequence = Items(images.values())
        seg.SourceImageSequence = Items(images.values())
        seg.ReferencedSeriesSequence = Items([series])


def _describe_segment(number: int, label: str, by_hand: bool) -> Dataset:
    """Return the description of a segment: an anatomical structure if its label is known, otherwise a lesion."""
    import highdicom

    anatomy = SNOMED_NAMES.get(split_side(label)[1])
    category = codes.SCT.AnatomicalStructure if anatomy else codes.SCT.MorphologicallyAbnormalStructure
    kind = getattr(codes.SCT, anatomy) if anatomy else codes.SCT.Lesion
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="SEMIAUTOMATIC" if by_hand else "AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="medapp", version=medapp.__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
