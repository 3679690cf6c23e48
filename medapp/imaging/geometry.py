"""Geometry: volumes moved from one grid onto another, always through millimetres in the patient."""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec
from scipy import ndimage

from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume
from medapp.limits import MAX_VOXELS


def resample(volume: Volume, onto: Grid, *, outside: float = 0.0) -> Volume:
    """Draw `volume` on the grid `onto`; what lies outside becomes `outside`.

    Label maps are taken from the nearest voxel, images linearly, after a Gaussian where the new grid is coarser
    (standard deviation chosen as in Cardoso et al., MICCAI 2015, so that nothing aliases). Returns float32 for an
    image and the input's type for labels. A volume already on the grid is returned as it is.
    """
    if volume.grid.is_same(onto, tolerance_mm=1e-4):
        return volume
    index = np.linalg.inv(volume.affine) @ onto.affine  # index on the new grid -> index in the volume
    if volume.labels:
        array, order = volume.array, 0
    else:
        array, order = _antialias(volume, onto), 1
    channels = np.moveaxis(array, 3, 0) if volume.is_colour else array[None]
    matrix, offset = index[:3, :3], index[:3, 3]
    if np.abs(matrix - np.diag(np.diag(matrix))).max() < 1e-6:
        matrix = np.diag(matrix)  # axis by axis: several times faster
    out = np.stack(
        [
            ndimage.affine_transform(
                c, matrix, offset, tuple(onto.shape), order=order, mode="grid-constant", cval=outside
            )
            for c in channels
        ],
        axis=-1,
    )
    return volume.new_like(out if volume.is_colour else out[..., 0], affine=onto.affine)


def _antialias(volume: Volume, onto: Grid) -> np.ndarray:
    array = np.asarray(volume.array, np.float32)
    index = np.linalg.inv(volume.affine) @ onto.affine
    ratio = np.abs(index[:3, :3]).max(axis=1)  # how many of the volume's voxels one step on the new grid jumps over
    sigma = np.sqrt(np.maximum(ratio**2 - 1, 0) * (2 * np.sqrt(2 * np.log(2))) ** -2)
    if not (sigma > 0.05).any():
        return array
    return ndimage.gaussian_filter(array, (*sigma, *([0] * volume.is_colour)), mode="nearest", truncate=3)


def with_isotropic_spacing(grid: Grid, spacing: float) -> Grid:
    """The same box with cubic voxels of `spacing` millimetres and the grid's own axes."""
    return with_spacing(grid, (spacing, spacing, spacing))


def with_spacing(grid: Grid, spacing: Sequence[float]) -> Grid:
    """The same box and axes with voxels of `spacing` millimetres; the middle stays, faces move half a voxel at most.

    Raises InputError if that makes more than MAX_VOXELS.
    """
    i, j, k = (max(1, round(n * old / new)) for n, old, new in zip(grid.shape, grid.spacing, spacing, strict=True))
    if i * j * k > MAX_VOXELS:
        reach = " × ".join(f"{n * s:.0f}" for n, s in zip(grid.shape, grid.spacing, strict=True))
        raise InputError(f"The image reaches over {reach} mm, too far to be looked at: cut it to what is of interest.")
    turn = grid.affine[:3, :3] / grid.spacing * np.array(spacing)
    middle = grid.to_mm((np.array(grid.shape) - 1) / 2)
    return Grid((i, j, k), from_matvec(turn, middle - turn @ ((np.array((i, j, k)) - 1) / 2)))


def pad_grid(grid: Grid, multiple: int, axes: tuple[int, ...] = (0, 1, 2)) -> Grid:
    """The grid grown on both sides until its shape along `axes` is a multiple of `multiple`."""
    grow = np.array([(-n) % multiple if axis in axes else 0 for axis, n in enumerate(grid.shape)])
    return crop_grid(grid, -(grow // 2), np.array(grid.shape) + grow - grow // 2)


def crop_grid(grid: Grid, lower: np.ndarray, upper: np.ndarray) -> Grid:
    """The grid between voxel indices `lower` (included) and `upper` (not included); both may lie outside it."""
    i, j, k = (int(n) for n in np.asarray(upper) - np.asarray(lower))
    return Grid((i, j, k), grid.affine @ from_matvec(np.eye(3), lower))


def reorient(grid: Grid, codes: str = "RAS") -> Grid:
    """The same voxels with axes swapped and turned round so that they point, as nearly as can be, along `codes`."""
    now = nib.orientations.io_orientation(grid.affine)
    turn = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt(codes))
    i, j, k = (grid.shape[int(np.flatnonzero(turn[:, 0] == axis)[0])] for axis in range(3))
    return Grid((i, j, k), grid.affine @ nib.orientations.inv_ornt_aff(turn, grid.shape))


def is_flat(grid: Grid) -> bool:
    """Whether the grid is a picture: one voxel along one axis, more along the two others."""
    return sorted(n > 1 for n in grid.shape) == [False, True, True]


def covered_fraction(box: Grid, by: Grid) -> float:
    """The share of one grid's box, from 0 to 1, that lies in another's."""
    axes = [np.linspace(0, n - 1, 9) for n in box.shape]
    index = by.to_index(box.to_mm(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)))
    return float(is_inside(index, by).mean())


def is_inside(index: np.ndarray, grid: Grid) -> np.ndarray:
    """(...) bool: which voxel indices (..., 3), fractions too, lie in the grid's box."""
    return ((index > -0.6) & (index < np.array(grid.shape) - 0.4)).all(axis=-1)


def slice_axis(grid: Grid) -> int:
    """The voxel axis across the slices: the flat or clearly thickest one, otherwise the nearest to head-foot."""
    if is_flat(grid):
        return grid.shape.index(1)
    if max(grid.spacing) > 1.5 * sorted(grid.spacing)[1]:
        return int(np.argmax(grid.spacing))
    return int(np.argmax(np.abs(grid.affine[2, :3]) / grid.spacing))


def to_display_slices(array: np.ndarray, grid: Grid, depth: int | None = None) -> np.ndarray:
    """(N, rows, columns) or (N, rows, columns, 3): a view of an array on `grid`, slice by slice, which writes through.

    `depth` is the voxel axis across the slices, by default `slice_axis`. Rows run to the back (to the foot in slices
    that are not axial), columns to the patient's left (to the back in sagittal slices), as nearly as can be.
    """
    depth = slice_axis(grid) if depth is None else depth
    now = nib.orientations.io_orientation(grid.affine)
    world = int(now[depth, 0])  # 0, 1, 2: the slices are sagittal, coronal, axial
    turn = nib.orientations.ornt_transform(now, nib.orientations.axcodes2ornt("LPS" if world == 2 else "LPI"))
    rows, columns = {2: (1, 0), 1: (2, 0), 0: (2, 1)}[world]
    view = nib.orientations.apply_orientation(array, turn)
    return np.moveaxis(view, (world, rows, columns), (0, 1, 2))
