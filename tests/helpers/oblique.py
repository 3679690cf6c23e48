"""A small oblique phantom with unequal voxels, and the ways in which tests save it."""

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import files

AFFINE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.4) @ np.diag([0.9, 1.7, 4.0]) @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    [-31, 12, 55],
)
BRIGHT = (7, 2, 4)


def phantom(dtype: type = np.int16) -> np.ndarray:
    """(9, 8, 6), noise and one bright voxel."""
    array = np.random.default_rng(0).integers(0, 50, (9, 8, 6)).astype(dtype)
    array[BRIGHT] = 100
    return array


def assert_is_phantom(volume: Volume) -> None:
    """The volume is `phantom()` at its place, and nothing had to be assumed."""
    np.testing.assert_array_equal(volume.array, phantom())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert not volume.remarks


def bright_mm(volume: Volume) -> np.ndarray:
    """RAS+ millimetres (3,) of the brightest voxel."""
    return volume.grid.to_mm(np.array(np.unravel_index(volume.array.argmax(), volume.shape)))


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Save with nibabel and return the path."""
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def sitk_image(array: np.ndarray, affine: np.ndarray = AFFINE) -> sitk.Image:
    """SimpleITK's image of `array` (I, J, K) at the same place in the patient, made by hand: RAS to LPS."""
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    image.SetOrigin(lps[:3, 3])
    return image


def save_zip(path: Path, **contents: bytes) -> Path:
    """Save a zip of files by name and return the path."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def assert_refused(*paths: Path, words: str, **options: object) -> None:
    """Reading raises InputError with one sentence that contains the regular expression `words` and no folder."""
    with pytest.raises(InputError, match=words) as caught:
        files.read(paths, **options)
    text = str(caught.value)
    assert text.endswith(".") and "\n" not in text and len(text) < 400 and str(paths[0].parent) not in text
