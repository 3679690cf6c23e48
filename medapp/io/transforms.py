"""Read and write deformations and affine transforms in the formats of ITK (ANTs, SimpleITK) and Learn2Reg.

A fixed point is mapped by the displacement and then by the affine to the moving point: in SimpleITK
`CompositeTransform([affine, displacement])`, in ANTs `-t displacement.nii.gz -t affine.tfm`.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from medapp.errors import InputError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid
from medapp.io.nifti import make_image
from medapp.io.validation import is_valid_affine, safe_text, translate_errors

RAS_TO_LPS = np.diag([-1.0, -1, 1, 1])  # and back
VECTOR_INTENT = 1007  # NIFTI_INTENT_VECTOR
STEPS_PER_MM = 2048  # resolution of a written displacement


def write_displacement(deformation: Deformation, path: Path) -> Path:
    """Write an ITK displacement field and return the path; ValueError for another suffix than .nii and .nii.gz.

    NIfTI (I, J, K, 1, 3) float32, vectors in LPS+ millimetres, intent 1007.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"a NIfTI file ends in .nii or .nii.gz: {path.name}")
    vectors = np.moveaxis(deformation.vectors, 0, -1) * np.float32([-1, -1, 1])
    vectors = np.rint(vectors * STEPS_PER_MM) / np.float32(STEPS_PER_MM)  # rounding makes gzip three times faster
    nib.save(make_image(vectors[:, :, :, None], deformation.affine, VECTOR_INTENT), path)
    return path


def read_displacement(path: Path) -> Deformation:
    """Read an ITK displacement field (I, J, K, 1, 3) in LPS+ millimetres, as ANTs and `write_displacement` write it.

    Raises InputError for anything else.
    """
    with translate_errors(path, "NIfTI"):
        image = nib.Nifti1Image.from_filename(path)
        shape, intent = image.shape, int(image.header["intent_code"])
        if len(shape) != 5 or shape[3:] != (1, 3) or intent != VECTOR_INTENT:
            raise InputError(
                f"{safe_text(path)} is not an ITK displacement field: it needs five dimensions and the vector intent."
            )
        vectors = np.asarray(image.dataobj, np.float32)[:, :, :, 0] * np.float32([-1, -1, 1])
        if not is_valid_affine(image.affine) or not np.isfinite(vectors).all():
            raise InputError(f"{safe_text(path)} is damaged: it holds positions or vectors that are not numbers.")
    return Deformation(np.moveaxis(vectors, -1, 0), image.affine)


def write_affine(matrix: np.ndarray, path: Path) -> Path:
    """Write a matrix (4, 4), fixed to moving points in RAS+ mm, as an ITK affine transform (.tfm); return the path."""
    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    sitk.WriteTransform(transform, str(path))
    return path


def read_affine(path: Path) -> np.ndarray:
    """Read a linear transform of ITK (.tfm, .txt, .mat) as (4, 4), fixed to moving points in RAS+ millimetres.

    Raises InputError if it is not one, or not linear.
    """
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{safe_text(path)} could not be read as an ITK transform.") from error
    if transform.GetDimension() != 3 or not transform.IsLinear():
        raise InputError(f"{safe_text(path)} is not a linear transform in three dimensions.")
    zero, *units = (np.array(transform.TransformPoint(point)) for point in np.eye(4)[:, 1:].tolist())
    lps = np.eye(4)
    lps[:3] = np.column_stack([*(unit - zero for unit in units), zero])
    return RAS_TO_LPS @ lps @ RAS_TO_LPS


def write_learn2reg(deformation: Deformation, path: Path) -> Path:
    """Write a Learn2Reg submission and return the path: displacements in voxels of the grid that both images share.

    `.npz` is the format of OASIS 2021: `arr_0` (3, I/2, J/2, K/2) float16, sampled by splines of order 2; `.nii.gz`
    that of later tasks: (I, J, K, 3) float32. Raises ValueError for another suffix.
    """
    voxels = np.tensordot(np.linalg.inv(deformation.affine[:3, :3]), deformation.vectors, 1).astype(np.float32)
    if path.suffix == ".npz":
        np.savez_compressed(path, np.stack([ndimage.zoom(v, 0.5, order=2) for v in voxels]).astype(np.float16))
    elif path.name.endswith((".nii", ".nii.gz")):
        nib.save(nib.Nifti1Image(np.moveaxis(voxels, 0, -1), deformation.affine), path)
    else:
        raise ValueError(f"Learn2Reg takes .npz or .nii.gz, not {path.name}")
    return path


def read_learn2reg(path: Path, grid: Grid) -> Deformation:
    """Read a Learn2Reg submission, `.npz` or `.nii.gz`, for images on `grid`. Raises InputError if it does not fit."""
    try:
        if path.suffix == ".npz":
            with np.load(path) as file:
                voxels = file["arr_0"].astype(np.float32)
            voxels = np.stack([ndimage.zoom(v, 2, order=2) for v in voxels])
        else:
            voxels = np.moveaxis(np.asarray(nib.Nifti1Image.from_filename(path).dataobj, np.float32), -1, 0)
    except (OSError, ValueError, KeyError, RuntimeError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(f"{safe_text(path)} could not be read as a Learn2Reg displacement field.") from error
    if voxels.shape != (3, *grid.shape):
        raise InputError(f"{safe_text(path)} is for images of {voxels.shape[1:]} voxels, not {tuple(grid.shape)}.")
    return Deformation(np.tensordot(grid.affine[:3, :3], voxels, 1), grid.affine)
