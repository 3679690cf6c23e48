"""Decode, rescale and stack the pixel values of DICOM frames."""

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
MAX_COMPRESSED_RATIO = 1.5  # of a compressed frame to its pixels, plus the slack; even noise does not grow that much
COMPRESSED_SLACK_BYTES = 65_536
MAX_BITS_ALLOCATED = 32
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # its warnings quote patient data
# pydicom logs broken sequences, each with the messages of all errors within: gigabytes if they are nested
pydicom.Sequence.__str__ = lambda self: f"{len(self)} items"


def read_dataset(path: Path, pixels: bool = False) -> Dataset:
    """Read the dataset of a file, with or without preamble, by default without its pixels.

    Private elements and those of the patient are removed. Raises InputError for an incomplete DICOM file, and for the
    deflated transfer syntax, whose unpacked size is unlimited.
    """
    with LimitedReader(
        path, f"{safe_text(path)} uses an unsupported compression (deflate); export it uncompressed."
    ) as file:
        has_preamble = file.read(132)[128:] == b"DICM"
        file.seek(0)
        dataset = pydicom.dcmread(file, stop_before_pixels=not pixels, force=not has_preamble)
    tags = dataset.keys()
    for tag in [tag for tag in tags if tag.is_private or tag.group in IDENTITY_GROUPS]:
        del dataset[tag]
    if not any(keyword in dataset for keyword in ("SOPClassUID", "Rows", "DirectoryRecordSequence")):
        raise InputError(f"{safe_text(path)} is not a complete DICOM file; export it again.")
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    if "SamplesPerPixel" not in dataset:
        dataset.SamplesPerPixel = 1
    return dataset


def read_stack(paths: Sequence[Path], frames: Sequence[Frame], stack: Stack) -> np.ndarray:
    """Return the rescaled values (columns, rows, stack.depth), interpolated linearly between frames.

    Each frame has its own slope and intercept; values stay integers as long as these allow.
    """
    slices = _read_slices(paths, frames)
    array = np.empty((*slices[0].shape, stack.depth), np.result_type(*(image.dtype for image in slices)))
    for index in range(stack.depth):
        n = int(np.searchsorted(stack.indices, index - 1e-6))  # the first frame here or beyond
        if stack.indices[n] - index < 1e-3:
            array[..., index] = slices[stack.order[n]]
            continue
        weight = (index - stack.indices[n - 1]) / (stack.indices[n] - stack.indices[n - 1])
        blend = (1 - weight) * slices[stack.order[n - 1]].astype(np.float64) + weight * slices[stack.order[n]]
        array[..., index] = blend if array.dtype.kind == "f" else np.rint(blend)
    return array


def read_colour(path: Path) -> np.ndarray:
    """Read the only coloured picture of a file as (columns, rows, 1, 3) uint8. Raises InputError for other types."""
    with translate_errors(path, "DICOM"):
        array = _decode(read_dataset(path, pixels=True), path)
        if array.dtype != np.uint8:
            raise InputError(f"{safe_text(path)} has more than 8 bits per colour; export it with 8.")
        return array.swapaxes(0, 1)[:, :, None]


def shrink_integers(array: np.ndarray) -> np.ndarray:
    """Return an integer array as int16 if that can represent its values, any other array unchanged."""
    fits = array.dtype.kind == "i" and array.min() >= -(2**15) and array.max() < 2**15
    return array.astype(np.int16) if fits else array


def _read_slices(paths: Sequence[Path], frames: Sequence[Frame]) -> list[np.ndarray]:
    """Return the rescaled values (columns, rows) of each frame, as integers where slope and intercept allow."""
    slices, source, stored = [], -1, np.empty(0)
    for frame in frames:
        if frame.source != source:
            source, stored = frame.source, read_values(paths[frame.source])
        pixels = (stored if stored.ndim == 2 else stored[frame.number]).T
        if (frame.slope, frame.intercept) == (1, 0):
            slices.append(pixels)
        elif frame.slope == 1 and frame.intercept == int(frame.intercept) and pixels.dtype.kind in "iu":
            shifted = pixels.astype(np.int32) + int(frame.intercept)
            slices.append(shrink_integers(shifted))
        else:
            slices.append(pixels.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept))
    return slices


def read_values(path: Path) -> np.ndarray:
    """Return the stored grey values of a file, (rows, columns) or (frames, rows, columns).

    Raises InputError for colour, and for values that a lookup table defines.
    """
    check_time()
    with translate_errors(path, "DICOM"):
        dataset = read_dataset(path, pixels=True)
        if "ModalityLUTSequence" in dataset:
            raise InputError(
                f"{safe_text(path)} defines its values by a lookup table, which is not supported; export it as NIfTI."
            )
        if dataset.get("SamplesPerPixel", 1) != 1 or dataset.PhotometricInterpretation == "PALETTE COLOR":
            raise InputError(f"{safe_text(path)} has colours, but grey values are needed; choose the original series.")
        return _decode(dataset, path)


def _decode(dataset: Dataset, path: Path) -> np.ndarray:
    """Return the pixels. Raises InputError before anything is unpacked that is too large."""
    if int(dataset.BitsAllocated) > MAX_BITS_ALLOCATED:
        raise InputError(f"{safe_text(path)} has more than {MAX_BITS_ALLOCATED} bits per pixel; export it with fewer.")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        count = int(dataset.get("NumberOfFrames") or 1)
        size = dataset.Rows * dataset.Columns * dataset.get("SamplesPerPixel", 1) * dataset.BitsAllocated / 8
        offset_tables = [dataset.get(f"ExtendedOffsetTable{which}") for which in ("", "Lengths")]
        offsets = (offset_tables[0], offset_tables[1]) if all(offset_tables) else None
        for compressed in generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets):
            if len(compressed) > MAX_COMPRESSED_RATIO * size + COMPRESSED_SLACK_BYTES:
                raise InputError(
                    f"{safe_text(path)} is damaged: its pixels grow when they are compressed; export it again."
                )
    return dataset.pixel_array
