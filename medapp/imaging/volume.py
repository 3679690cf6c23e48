"""Volume and Grid: an image and its position in the patient."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import aff2axcodes


class Grid(NamedTuple):
    """A box of voxels in the patient: its shape and its affine."""

    shape: tuple[int, int, int]
    affine: np.ndarray  # (4, 4) voxel index -> RAS+ millimetres

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each axis in millimetres, (3,)."""
        return voxel_sizes(self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres, also right for sheared and oblique grids."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)

    @property
    def corners(self) -> np.ndarray:
        """The centres of the corner voxels, (8, 3) RAS+ millimetres."""
        return self.to_mm(np.array(np.meshgrid(*((0, n - 1) for n in self.shape))).reshape(3, -1).T)

    def to_mm(self, index: np.ndarray) -> np.ndarray:
        """Transform voxel indices (..., 3) to RAS+ millimetres (..., 3)."""
        return apply_affine(self.affine, index)

    def to_index(self, mm: np.ndarray) -> np.ndarray:
        """Transform RAS+ millimetres (..., 3) to voxel indices (..., 3), not rounded."""
        return apply_affine(np.linalg.inv(self.affine), mm)

    def is_same(self, other: "Grid", tolerance_mm: float = 1e-3) -> bool:
        """Tell whether both grids have the same shape and corners within `tolerance_mm` of each other."""
        if tuple(self.shape) != tuple(other.shape):
            return False
        return bool(np.abs(self.corners - other.corners).max() < tolerance_mm)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image, a mask or a label map; never changed in place.

    `array` is (I, J, K), or (I, J, K, 3) for colour, made read-only and contiguous. `affine` is (4, 4), voxel index to
    RAS+ millimetres. `labels` maps value to structure and is empty for an intensity image; it decides how the volume
    is resampled. `unit` is that of the values: "HU", "Bq/ml" or "" where the scale is arbitrary. `remarks` are
    sentences for the user from the reader of the file. `headers` are the DICOM headers it was read from, without pixels
    and without identity, in the order of the slices along axis 2; empty for other formats. `sequence` is the one of
    `imaging.scan_kinds` that the file's header or name tells, or "". Raises ValueError for other shapes.
    """

    array: np.ndarray
    affine: np.ndarray
    labels: Mapping[int, str] = field(default_factory=dict)
    name: str = "image"
    unit: str = ""
    remarks: tuple[str, ...] = ()
    headers: tuple[Any, ...] = ()
    sequence: str = ""

    def __post_init__(self) -> None:
        """Check the shapes and make array and affine read-only."""
        array = np.ascontiguousarray(self.array).view()
        affine = np.array(self.affine, np.float64)
        if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3):
            raise ValueError(f"a volume is (I, J, K) or (I, J, K, 3), not {array.shape}")
        if affine.shape != (4, 4):
            raise ValueError(f"an affine is (4, 4), not {affine.shape}")
        array.flags.writeable = False
        affine.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "labels", dict(self.labels))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along the three axes, without colours."""
        return self.array.shape[:3]

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        return Grid(self.shape, self.affine)

    @property
    def spacing(self) -> np.ndarray:
        """Size of a voxel along each axis in millimetres, (3,)."""
        return self.grid.spacing

    @property
    def axis_codes(self) -> str:
        """Directions of the three axes as nibabel's axis codes, for example "RAS" or "LPI"."""
        return "".join(aff2axcodes(self.affine))

    @property
    def is_colour(self) -> bool:
        """Whether each voxel holds red, green and blue."""
        return self.array.ndim == 4

    def new_like(self, array: np.ndarray, **changes: Any) -> "Volume":
        """Return a volume on the same grid with other values.

        For example `volume.new_like(mask, labels={1: "lesion"}, name="mask")`.
        """
        return replace(self, array=array, **changes)


_digests: WeakKeyDictionary[Volume, str] = WeakKeyDictionary()


def digest_volume(volume: Volume) -> str:
    """Return a digest of a volume's voxels and affine; computed once per volume."""
    if volume not in _digests:
        content = hashlib.blake2b(volume.array, digest_size=12)
        content.update(repr((volume.array.dtype.str, volume.shape, volume.affine.tolist())).encode())
        _digests[volume] = content.hexdigest()
    return _digests[volume]
