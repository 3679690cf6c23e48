"""Geometry: resample volumes from one grid onto another, always through RAS+ millimetres, and derive grids."""

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec
from scipy import ndimage

from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume
from medapp.limits import MAX_VOXELS


def resample(volume: Volume, onto: Grid, *, outside: float = 0.0) -> Volume:
    """Resample `volume` onto the grid `onto`; what lies outside becomes `outside`.

    Label maps are resampled by nearest neighbour, images linearly, after a Gaussian where the new grid is coarser (its
    standard deviation is that of Cardoso et al., MICCAI 2015, against aliasing). Returns float32 for an image and the
    input's type for labels. A volume that is on the grid already is returned unchanged.
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
    resampled = np.stack(
        [
            ndimage.affine_transform(
                c, matrix, offset, tuple(onto.shape), order=order, mode="grid-constant", cval=outside
            )
            for c in channels
        ],
        axis=-1,
    )
    return volume.new_like(resampled if volume.is_colour else resampled[..., 0], affine=onto.affine)


def _antialias(volume: Volume, onto: Grid) -> np.ndarray:
    """Smooth the volume's array along the axes that become coarser on `onto`; float32."""
    array = np.asarray(volume.array, np.float32)
    index = np.linalg.inv(volume.affine) @ onto.affine
    ratio = np.abs(index[:3, :3]).max(axis=1)  # voxels of the volume per step on the new grid
    sigma = np.sqrt(np.maximum(ratio**2 - 1, 0) * (2 * np.sqrt(2 * np.log(2))) ** -2)
    if not (sigma > 0.05).any():
        return array
    return ndimage.gaussian_filter(array, (*sigma, *([0] * volume.is_colour)), mode="nearest", truncate=3)


def with_isotropic_spacing(grid: Grid, spacing: float) -> Grid:
    """Return the same box and axes with cubic voxels of `spacing` millimetres."""
    return with_spacing(grid, (spacing, spacing, spacing))


def with_spacing(grid: Grid, spacing: Sequence[float]) -> Grid:
    """Return the same box and axes with voxels of `spacing` millimetres.

    The centre stays; faces move by half a voxel at most. Raises InputError if that makes more than MAX_VOXELS.
    """
    i, j, k = (max(1, round(n * old / new)) for n, old, new in zip(grid.shape, grid.spacing, spacing, strict=True))
    if i * j * k > MAX_VOXELS:
        extent = " × ".join(f"{n * s:.0f}" for n, s in zip(grid.shape, grid.spacing, strict=True))
        raise InputError(f"The image is too large: it extends over {extent} mm; crop it to the region of interest.")
    directions = grid.affine[:3, :3] / grid.spacing * np.array(spacing)
    centre = grid.to_mm((np.array(grid.shape) - 1) / 2)
    return Grid((i, j, k), from_matvec(directions, centre - directions @ ((np.array((i, j, k)) - 1) / 2)))


def pad_grid(grid: Grid, multiple: int, axes: tuple[int, ...] = (0, 1, 2)) -> Grid:
    """Enlarge the grid on both sides until its shape along `axes` is a multiple of `multiple`."""
    extra = np.array([(-n) % multiple if axis in axes else 0 for axis, n in enumerate(grid.shape)])
    return crop_grid(grid, -(extra // 2), np.array(grid.shape) + extra - extra // 2)


def crop_grid(grid: Grid, lower: np.ndarray, upper: np.ndarray) -> Grid:
    """Return the grid from voxel index `lower` (included) to `upper` (excluded); both may lie outside the grid."""
    i, j, k = (int(n) for n in np.asarray(upper) - np.asarray(lower))
    return Grid((i, j, k), grid.affine @ from_matvec(np.eye(3), lower))


def reorient(grid: Grid, codes: str = "RAS") -> Grid:
    """Permute and flip the axes of the grid so that they point, as nearly as possible, along `codes`; voxels stay."""
    orientation = nib.orientations.io_orientation(grid.affine)
    transform = nib.orientations.ornt_transform(orientation, nib.orientations.axcodes2ornt(codes))
    i, j, k = (grid.shape[int(np.flatnonzero(transform[:, 0] == axis)[0])] for axis in range(3))
    return Grid((i, j, k), grid.affine @ nib.orientations.inv_ornt_aff(transform, grid.shape))


def is_flat(grid: Grid) -> bool:
    """Tell whether the grid is that of a picture: one voxel along one axis, more along the two others."""
    return sorted(n > 1 for n in grid.shape) == [False, True, True]


def covered_fraction(box: Grid, by: Grid) -> float:
    """Return the fraction of the box of one grid, from 0 to 1, that lies inside that of another."""
    axes = [np.linspace(0, n - 1, 9) for n in box.shape]
    index = by.to_index(box.to_mm(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)))
    return float(is_inside(index, by).mean())


def is_inside(index: np.ndarray, grid: Grid) -> np.ndarray:
    """Return, as (...) bool, which voxel indices (..., 3), fractions included, lie inside the grid's box."""
    return ((index > -0.6) & (index < np.array(grid.shape) - 0.4)).all(axis=-1)


def slice_axis(grid: Grid) -> int:
    """Return the voxel axis across the slices: the flat or clearly coarsest one, otherwise the nearest to head-foot."""
    if is_flat(grid):
        return grid.shape.index(1)
    if max(grid.spacing) > 1.5 * sorted(grid.spacing)[1]:
        return int(np.argmax(grid.spacing))
    return int(np.argmax(np.abs(grid.affine[2, :3]) / grid.spacing))


def to_display_slices(array: np.ndarray, grid: Grid, depth: int | None = None) -> np.ndarray:
    """View an array on `grid` as slices in display orientation: (N, rows, columns), or (N, rows, columns, 3).

    It is a view: writing to it writes to `array`. `depth` is the voxel axis across the slices, by default `slice_axis`.
    Rows run to posterior (to inferior in slices that are not axial), columns to the patient's left (to posterior in
    sagittal slices), as nearly as possible.
    """
    depth = slice_axis(grid) if depth is None else depth
    orientation = nib.orientations.io_orientation(grid.affine)
    world = int(orientation[depth, 0])  # 0, 1, 2: the slices are sagittal, coronal, axial
    codes = nib.orientations.axcodes2ornt("LPS" if world == 2 else "LPI")
    rows, columns = {2: (1, 0), 1: (2, 0), 0: (2, 1)}[world]
    view = nib.orientations.apply_orientation(array, nib.orientations.ornt_transform(orientation, codes))
    return np.moveaxis(view, (world, rows, columns), (0, 1, 2))
