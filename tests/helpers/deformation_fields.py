"""Oblique grids with unequal voxels, a smooth deformation between them, and the same as a SimpleITK transform."""

import numpy as np
import SimpleITK as sitk
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid, Volume
from medapp.io.transforms import write_affine, write_displacement


def rotated_grid(shape, spacing, angles, middle=(3.0, -5.0, 7.0)) -> Grid:
    """A rotated grid centred on `middle` (mm)."""
    directions = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.array(spacing)
    return Grid(shape, from_matvec(directions, np.array(middle) - directions @ ((np.array(shape) - 1) / 2)))


FIXED = rotated_grid((40, 36, 30), (1.1, 1.4, 1.9), (12, -18, 25))


MOVING = rotated_grid((44, 30, 36), (1.3, 1.7, 1.2), (-8, 14, 160))


AFFINE = from_matvec(
    Rotation.from_euler("xyz", (6, -9, 4), degrees=True).as_matrix() @ np.diag([1.05, 0.95, 1.0]), (2.0, -1.5, 1.0)
)


def smooth_deformation(where: Grid, size: float = 3.0, seed: int = 0) -> Deformation:
    """A field of waves of about 50 mm and at most `size` mm along each axis."""
    random = np.random.default_rng(seed)
    points = where.to_mm(np.moveaxis(np.indices(where.shape), 0, -1))
    waves = random.normal(0, 2 * np.pi / 80, (3, 3))
    return Deformation(
        size * np.sin(np.moveaxis(points @ waves, -1, 0) + random.uniform(0, 6, (3, 1, 1, 1))), where.affine
    )


def asymmetric_image(where: Grid) -> Volume:
    """An image that tells where a point is: smooth, without symmetry."""
    points = where.to_mm(np.moveaxis(np.indices(where.shape), 0, -1))
    return Volume(
        np.sin(points / (6, 8, 7)).sum(-1).astype(np.float32) + 0.02 * points[..., 0].astype(np.float32), where.affine
    )


def itk_transform(folder, deformation) -> sitk.Transform:
    """SimpleITK's transform of the deformation and then AFFINE, through the written files."""
    field = sitk.ReadImage(str(write_displacement(deformation, folder / "displacement.nii.gz")), sitk.sitkVectorFloat64)
    affine = sitk.ReadTransform(str(write_affine(AFFINE, folder / "affine.tfm")))
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(field)])
