"""Deformation: where each point of the fixed image comes from in the moving one."""

from dataclasses import dataclass

import numpy as np

from medapp.imaging.volume import Grid


@dataclass(frozen=True, eq=False)
class Deformation:
    """A displacement field on the fixed grid: moving point = fixed point + vector.

    `vectors` is (3, I, J, K) in RAS+ millimetres; `affine` is (4, 4), voxel index to RAS+ millimetres.
    """

    vectors: np.ndarray
    affine: np.ndarray

    def __post_init__(self) -> None:
        vectors = np.ascontiguousarray(self.vectors, np.float32).view()
        if vectors.ndim != 4 or vectors.shape[0] != 3:
            raise ValueError(f"vectors are (3, I, J, K), not {vectors.shape}")
        vectors.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "affine", np.array(self.affine, np.float64))

    @property
    def grid(self) -> Grid:
        return Grid(self.vectors.shape[1:], self.affine)

    def jacobian_determinant(self) -> np.ndarray:
        """(I, J, K) change of volume: above 1 a fixed voxel maps to a larger moving region, at 0 or below it folds.

        Central differences in millimetres, one-sided at the border; right for oblique and anisotropic grids.
        """
        per_voxel = np.stack([np.stack(np.gradient(v), 0) for v in self.vectors], 0)  # (vector, voxel axis, I, J, K)
        inverse = np.linalg.inv(self.affine[:3, :3])
        per_mm = np.einsum("vaijk,am->ijkvm", per_voxel, inverse)
        return np.linalg.det(per_mm + np.eye(3)).astype(np.float32)
