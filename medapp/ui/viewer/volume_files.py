"""Volume files: images, maps and label maps as NIfTI files for the browser, named by their content."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medapp.imaging.geometry import resample, with_spacing
from medapp.imaging.volume import Grid, Volume, digest_volume
from medapp.rendering import colour
from medapp.ui.gradio_compat import FileData
from medapp.ui.viewer.texture_files import write_gzipped

MAX_VOXELS = 48_000_000  # a browser needs about 12 bytes of graphics memory for each
MAX_SIDE = 512  # voxels along an axis


def limit_grid(grid: Grid) -> Grid:
    """Return the grid, or one over the same box with larger voxels, if the grid is too large for a browser."""
    spacing, smallest = grid.spacing, float(min(grid.spacing))
    limited = grid
    while max(limited.shape) > MAX_SIDE or np.prod(limited.shape, dtype=np.int64) > MAX_VOXELS:
        smallest *= 1.05
        limited = with_spacing(grid, tuple(float(max(s, smallest)) for s in spacing))
    return limited


def write_volume(volume: Volume, grid: Grid, folder: Path) -> FileData:
    """Write a volume, resampled to `grid`, as NIfTI into `folder`, unless the file is there already."""
    path = folder / f"{digest_volume(volume)}-{'x'.join(map(str, grid.shape))}.nii.gz"
    return write_gzipped(path, lambda: pack_nifti(place_on_grid(volume, grid)))


def place_on_grid(volume: Volume, grid: Grid) -> Volume:
    """Return the volume, resampled to the grid unless it lies on it."""
    return volume if grid.is_same(volume.grid) else resample(volume, onto=grid)


def pack_nifti(volume: Volume) -> bytes:
    """Return a volume as the bytes of a NIfTI file, in as few as show no difference."""
    array, slope, inter = _pack_voxels(volume)
    image = nib.Nifti1Image(array, volume.affine)
    image.header.set_slope_inter(slope, inter)
    image.header.set_xyzt_units("mm")
    return image.to_bytes()


def _pack_voxels(volume: Volume) -> tuple[np.ndarray, float, float]:
    """Return the voxels in as few bytes as show no difference, slope and intercept; colour as NIfTI's RGB."""
    array = volume.array
    if volume.is_colour:
        pixels = array if array.dtype == np.uint8 else np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(pixels).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0], 1.0, 0.0
    if array.dtype == bool or array.dtype == np.uint8:
        return array.astype(np.uint8), 1.0, 0.0
    array = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(array.min()), float(array.max())
    is_integer = np.issubdtype(array.dtype, np.integer) or not np.any(array % 1)
    if is_integer and low >= -32768 and high <= 32767:
        return array.astype(np.int16), 1.0, 0.0
    step = (high - low) / 65534
    window = colour.find_window(array)
    if step and step <= (window.high - window.low) / 4000:
        return np.rint((array - low) / step - 32767).astype(np.int16), step, low + 32767 * step
    return array.astype(np.float32), 1.0, 0.0
