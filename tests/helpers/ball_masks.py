"""A ball as a mask on grids in several orientations."""

import numpy as np
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.imaging.volume import Volume

TILT = Rotation.from_euler("xyz", [20, 10, -30], degrees=True).as_matrix()
AFFINES = {
    "RAS": from_matvec(np.diag([1.0, 1.5, 2.0]), (-20, -30, -40)),
    "mirrored": from_matvec(np.diag([-1.0, 1.5, 2.0]), (20, -30, -40)),
    "oblique": from_matvec(TILT @ np.diag([1.0, 1.5, 2.0]), (5, 6, 7)),
    "oblique, permuted, mirrored": from_matvec((TILT @ np.diag([1.0, 1.5, 2.0]))[:, [1, 0, 2]], (5, 6, 7)),
}


def ball(affine: np.ndarray, radius: float = 12.0, shape=(48, 44, 40)) -> tuple[Volume, np.ndarray]:
    """A mask of all voxels within `radius` mm of a point that is not the middle, and that point."""
    grid = Volume(np.zeros(shape, np.uint8), affine).grid
    centre = grid.to_mm(np.array([20.0, 22.0, 18.0]))
    distance = np.linalg.norm(grid.to_mm(np.indices(shape).transpose(1, 2, 3, 0)) - centre, axis=-1)
    return Volume((distance < radius).astype(np.uint8), affine, labels={1: "lesion"}), centre
