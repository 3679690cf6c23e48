"""Check the position of an image as its file gives it: remarks for doubtful values, InputError for impossible ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes

from medapp.errors import InputError
from medapp.io.validation import is_valid_affine, safe_text
from medapp.limits import MAX_ORIGIN_MM, MAX_VOXEL_MM, MIN_VOXEL_MM

NO_POSITION_REMARK = "The file does not give a position in the patient: left and right are not reliable."
NO_ORIGIN_REMARK = "The file does not give an origin: the image may not be aligned with others of the same person."
NO_SPACING_REMARK = "The file does not give a voxel size: 1 mm is assumed, so volumes and distances may be wrong."
UNIT_MM = {
    "m": 1000.0, "meter": 1000.0, "metre": 1000.0, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0, "mm": 1.0,
    "millimeter": 1.0, "millimetre": 1.0, "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "micrometer": 1e-3,
    "micrometre": 1e-3, "nm": 1e-6, "inch": 25.4,
}  # fmt: skip
PLAUSIBLE_VOXEL_MM = 0.01, 100.0  # of a scan
WRONG_UNIT_REMARK = (
    "The header gives its lengths in {}, which would make voxels of {} mm; they were taken as millimetres."
)
ODD_SIZE_REMARK = "The voxel size is {} mm; if that is not right, the unit of length in the header is wrong."


def to_millimetres(affine: np.ndarray, unit: str, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Convert the lengths of an affine (4, 4) from `unit` into mm, and return it with a remark if the size is odd.

    Lengths that can only be millimetres stay. Raises InputError for an unknown unit of length.
    """
    word = unit.lower()
    scale = UNIT_MM.get(word) or UNIT_MM.get(word.removesuffix("s"))
    if scale is None:
        raise InputError(
            f"{safe_text(path)} gives its lengths in an unknown unit ({safe_text(unit, 20)}); save it with "
            "millimetres, mm."
        )
    scaled = affine * np.array([[scale], [scale], [scale], [1.0]])
    if _is_plausible(scaled) or not is_valid_affine(scaled if scale == 1.0 else affine):
        return scaled, ()
    if _is_plausible(affine):
        return affine, (WRONG_UNIT_REMARK.format(_unit_name(word), format_sizes(scaled)),)
    return scaled, (ODD_SIZE_REMARK.format(format_sizes(scaled)),)


def check_affine(affine: np.ndarray, path: Path) -> np.ndarray:
    """Return the affine (4, 4), in mm, if it is valid. Raises InputError that says what is wrong with it."""
    if is_valid_affine(affine):
        return affine
    name, size = safe_text(path), voxel_sizes(affine)
    if not np.isfinite(affine).all():
        raise InputError(f"{name} has no valid position: its matrix holds values that are not numbers; save it again.")
    if size.min() == 0:
        raise InputError(f"{name} has no valid position: its voxel size is 0 in the header; save it again.")
    if size.min() < MIN_VOXEL_MM or size.max() > MAX_VOXEL_MM:
        raise InputError(
            f"{name} has voxels of {format_sizes(affine)} mm, which is impossible: check the unit in its header and "
            "save it with lengths in millimetres."
        )
    if np.abs(affine[:3, 3]).max() > MAX_ORIGIN_MM:
        raise InputError(
            f"{name} is more than {MAX_ORIGIN_MM / 1000:.0f} m away from the scanner's centre; save it again."
        )
    raise InputError(
        f"{name} has no valid position: the directions in its header are missing, damaged or not independent; save the "
        "image again from its source."
    )


def format_sizes(affine: np.ndarray) -> str:
    """Return the voxel sizes of an affine as text for a message, for example "1 × 1 × 3"."""
    return " × ".join(f"{size:.4g}" for size in voxel_sizes(affine))


def _is_plausible(affine: np.ndarray) -> bool:
    size: Sequence[float] = voxel_sizes(affine)
    return min(size) >= PLAUSIBLE_VOXEL_MM[0] and max(size) <= PLAUSIBLE_VOXEL_MM[1]


def _unit_name(unit: str) -> str:
    return {"m": "metres", "um": "micrometres", "µm": "micrometres", "cm": "centimetres"}.get(unit, f"{unit}s")
