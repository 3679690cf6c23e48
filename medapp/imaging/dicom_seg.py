"""A mask out as DICOM SEG, so that it lies over the images it was made from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

import medapp
from medapp.errors import InputError
from medapp.imaging import dicom_frames
from medapp.imaging.anatomy import sided
from medapp.imaging.dicom_frames import Frame, Stack
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume

KEPT = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality",
    "Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "Units", "DecayCorrection",
)  # fmt: skip
KEPT_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
BLANK = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
NEEDED = KEPT[:5]
ANATOMY = {  # a label without its side, and SNOMED's name for it, or for what it is part of
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


def reduced(headers: Sequence[Dataset], frames: Sequence[Frame], stack: Stack) -> tuple[Dataset, ...]:
    """Headers with nothing but uids, geometry and the meaning of the values, in the order of the stack.

    The identity of the patient is blank; free text and dates are not there. A multi-frame header comes once, its frames
    in the order of its file. Empty where no segmentation could be made: a uid or a slice is missing, or there are
    several multi-frame files.
    """
    whole = len(stack.places) == stack.places[-1] + 1 and len(headers) in (1, len(frames))
    if not whole or any(not header.get(word) for header in headers for word in NEEDED):
        return ()
    thickness = round(float(np.linalg.norm(stack.affine[:3, 2])), 4)
    return tuple(_bare(headers[n], thickness) for n in dict.fromkeys(frames[n].source for n in stack.order))


def write_dicom_seg(mask: Volume, path: Path) -> Path:
    """Write `mask` as a binary DICOM SEG, one segment per label that occurs, and return the path.

    `mask.headers` are those of the series the image was read from; a mask on another grid is taken to the series' own
    by nearest voxel. An empty mask gives a SEG whose frames are all empty. Raises InputError if there are no headers.
    """
    import highdicom  # slow to import, and needed only here

    if not mask.headers or not mask.labels:
        raise InputError("A DICOM segmentation can only be made of a mask whose image was read from DICOM.")
    sources: list[Dataset] = list(mask.headers)
    frames = dicom_frames.frames(sources)
    stack = dicom_frames.placed(frames)
    shape = (int(sources[0].Columns), int(sources[0].Rows), len(frames))
    array = resample(mask, Grid(shape, stack.affine)).array
    there = set(np.unique(array).tolist())
    labels = {value: label for value, label in mask.labels.items() if value in there} or mask.labels
    numbered = np.zeros(array.shape, np.uint8)
    for number, value in enumerate(labels, start=1):
        numbered[array == value] = number
    planes = np.empty(shape[::-1], np.uint8)
    planes[stack.order] = numbered.T  # (slices, rows, columns), in the order of the source
    segments = [_segment(n, label) for n, label in enumerate(labels.values(), start=1)]
    seg = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=planes,
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
        series_description="medapp segmentation, for research only",
        omit_empty_frames=bool(planes.any()),
    )
    seg.save_as(path)
    return path


def _segment(number: int, label: str) -> Dataset:
    import highdicom

    anatomy = ANATOMY.get(sided(label)[1])
    category = codes.SCT.AnatomicalStructure if anatomy else codes.SCT.MorphologicallyAbnormalStructure
    kind = getattr(codes.SCT, anatomy) if anatomy else codes.SCT.Lesion
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="medapp", version=medapp.__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )


def _bare(header: Dataset, thickness: float) -> Dataset:
    bare = Dataset()
    bare.SliceThickness = thickness  # where the header does not give it
    for word in KEPT:
        if header.get(word) not in (None, ""):
            bare[word] = header[word]
    for word in BLANK:
        setattr(bare, word, "")
    for word in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        if word in header:
            setattr(bare, word, Items(_bare_group(item) for item in header[word]))
    return bare


def _bare_group(item: Dataset) -> Dataset:
    bare = Dataset()
    for word in KEPT_GROUPS:
        if word in item and len(item[word].value):
            inner = Dataset()
            inner.update({element.tag: element for element in item[word][0] if element.keyword in KEPT})
            setattr(bare, word, Items([inner]))
    return bare
