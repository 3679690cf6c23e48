"""The values of DICOM frames: decoded, rescaled, stacked."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medapp.errors import InputError
from medapp.io.dicom.frames import Frame
from medapp.io.dicom.stack import Stack
from medapp.io.validation import LimitedReader, check_time, safe_text, translate_errors

IDENTITY_GROUPS = (0x0010, 0x0012, 0x0032, 0x0038, 0x0040)  # groups: patient, trial, request, visit, procedure
MAX_COMPRESSED_RATIO = 1.5  # packed frame to its pixels, and SLACK; even noise does not grow so much
COMPRESSED_SLACK_BYTES = 65_536
MAX_BITS_ALLOCATED = 32
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # its warnings quote the patient's data
# pydicom writes broken sequences into its log, each with the words of all faults within: gigabytes if they are nested
pydicom.Sequence.__str__ = lambda self: f"{len(self)} items"


def read_dataset(path: Path, pixels: bool = False) -> Dataset:
    """The dataset of a file, with or without its preamble, by default without its pixels.

    Private elements and those of the patient are not in it. Raises InputError for what is no whole DICOM file, and for
    the deflated syntax, whose size nothing bounds.
    """
    with LimitedReader(
        path, f"{safe_text(path)} is packed in a way (deflate) that is not taken; export it uncompressed."
    ) as file:
        whole = file.read(132)[128:] == b"DICM"
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=not pixels, force=not whole)
    tags = dataset.keys()
    for tag in [tag for tag in tags if tag.is_private or tag.group in IDENTITY_GROUPS]:
        del dataset[tag]
    if not any(word in dataset for word in ("SOPClassUID", "Rows", "DirectoryRecordSequence")):
        raise InputError(f"{safe_text(path)} is not a whole DICOM file.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    if "SamplesPerPixel" not in dataset:
        dataset.SamplesPerPixel = 1
    return dataset


def read_stack(paths: Sequence[Path], frames: Sequence[Frame], stack: Stack) -> np.ndarray:
    """(columns, rows, stack.depth) rescaled values: the frames at their places, blends of the two nearest between them.

    Each frame has its own slope and intercept; values stay whole numbers as long as these allow.
    """
    slices = _read_slices(paths, frames)
    array = np.empty((*slices[0].shape, stack.depth), np.result_type(*(image.dtype for image in slices)))
    for place in range(stack.depth):
        n = int(np.searchsorted(stack.indices, place - 1e-6))  # the first frame here or beyond
        if stack.indices[n] - place < 1e-3:
            array[..., place] = slices[stack.order[n]]
            continue
        share = (place - stack.indices[n - 1]) / (stack.indices[n] - stack.indices[n - 1])
        blend = (1 - share) * slices[stack.order[n - 1]].astype(np.float64) + share * slices[stack.order[n]]
        array[..., place] = blend if array.dtype.kind == "f" else np.rint(blend)
    return array


def read_colour(path: Path) -> np.ndarray:
    """(columns, rows, 1, 3) uint8: the one coloured picture of a file."""
    with translate_errors(path, "DICOM"):
        array = _decode(read_dataset(path, pixels=True), path)
        if array.dtype != np.uint8:
            raise InputError(f"{safe_text(path)} has more than 8 bits a colour, which is not taken.")
        return array.swapaxes(0, 1)[:, :, None]


def _read_slices(paths: Sequence[Path], frames: Sequence[Frame]) -> list[np.ndarray]:
    slices, source, raw = [], -1, np.empty(0)
    for frame in frames:
        if frame.source != source:
            source, raw = frame.source, read_values(paths[frame.source])
        pixels = (raw if raw.ndim == 2 else raw[frame.number]).T
        if (frame.slope, frame.intercept) == (1, 0):
            slices.append(pixels)
        elif frame.slope == 1 and frame.intercept == int(frame.intercept) and pixels.dtype.kind in "iu":
            shifted = pixels.astype(np.int32) + int(frame.intercept)
            small = shifted.min() >= -(2**15) and shifted.max() < 2**15
            slices.append(shifted.astype(np.int16) if small else shifted)
        else:
            slices.append(pixels.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept))
    return slices


def read_values(path: Path) -> np.ndarray:
    """(rows, columns) or (frames, rows, columns): the grey values that a file stores. Raises InputError for colour."""
    check_time()
    with translate_errors(path, "DICOM"):
        dataset = read_dataset(path, pixels=True)
        if "ModalityLUTSequence" in dataset:
            raise InputError(f"{safe_text(path)} gives its values by a table, which is not taken; export it as NIfTI.")
        if dataset.get("SamplesPerPixel", 1) != 1 or dataset.PhotometricInterpretation == "PALETTE COLOR":
            raise InputError(f"{safe_text(path)} is coloured, and grey values are needed; choose the original series.")
        return _decode(dataset, path)


def _decode(dataset: Dataset, path: Path) -> np.ndarray:
    """The pixels. Raises InputError before anything is unpacked that is larger than it may be."""
    if int(dataset.BitsAllocated) > MAX_BITS_ALLOCATED:
        raise InputError(f"{safe_text(path)} has more than {MAX_BITS_ALLOCATED} bits a pixel, which is not taken.")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        count = int(dataset.get("NumberOfFrames") or 1)
        size = dataset.Rows * dataset.Columns * dataset.get("SamplesPerPixel", 1) * dataset.BitsAllocated / 8
        table = [dataset.get(f"ExtendedOffsetTable{which}") for which in ("", "Lengths")]
        offsets = (table[0], table[1]) if all(table) else None
        for packed in generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets):
            if len(packed) > MAX_COMPRESSED_RATIO * size + COMPRESSED_SLACK_BYTES:
                raise InputError(f"{safe_text(path)} is damaged: its pixels take more room packed than unpacked.")
    return dataset.pixel_array
