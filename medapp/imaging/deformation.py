"""Deformation: a dense displacement field from the fixed to the moving image, and measures of it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medapp.imaging.volume import Grid, Volume

MIN_HALVED_VOXELS = 32  # along an axis; a smaller grid is not halved when a deformation is inverted


@dataclass(frozen=True, eq=False)
class Deformation:
    """A displacement field on the fixed grid: moving point = fixed point + vector.

    `vectors` is (3, I, J, K) in RAS+ millimetres; `affine` is (4, 4), voxel index to RAS+ millimetres. The field is
    interpolated linearly between voxels and constant beyond the border. Raises ValueError for other shapes.
    """

    vectors: np.ndarray
    affine: np.ndarray

    def __post_init__(self) -> None:
        """Check the shape and make the vectors contiguous, float32 and read-only."""
        vectors = np.ascontiguousarray(self.vectors, np.float32).view()
        if vectors.ndim != 4 or vectors.shape[0] != 3:
            raise ValueError(f"vectors are (3, I, J, K), not {vectors.shape}")
        vectors.flags.writeable = False
        object.__setattr__(self, "vectors", vectors)
        object.__setattr__(self, "affine", np.array(self.affine, np.float64))

    @classmethod
    def from_affine(cls, matrix: np.ndarray, grid: Grid) -> "Deformation":
        """Return the field of an affine `matrix` (4, 4), fixed to moving points in RAS+ millimetres, on a grid."""
        return cls(_transform_indices((matrix @ grid.affine - grid.affine)[:3], grid.shape), grid.affine)

    @property
    def grid(self) -> Grid:
        """The grid of the fixed image."""
        return Grid(self.vectors.shape[1:], self.affine)

    @property
    def magnitude(self) -> np.ndarray:
        """Length of each vector in millimetres, (I, J, K)."""
        return np.sqrt(np.square(self.vectors).sum(0))

    def resample(self, onto: Grid, *, order: int = 1) -> "Deformation":
        """Resample the field onto another grid, linearly, or by B-splines of `order` up to 3 from a coarse grid."""
        if self.grid.is_same(onto, tolerance_mm=1e-4):
            return self
        index = np.linalg.inv(self.affine) @ onto.affine
        matrix = index[:3, :3]
        if np.abs(matrix - np.diag(np.diag(matrix))).max() < 1e-6:
            matrix = np.diag(matrix)  # axis by axis: several times faster
        components = [
            ndimage.affine_transform(v, matrix, index[:3, 3], tuple(onto.shape), order=order, mode="nearest")
            for v in self.vectors
        ]
        return Deformation(np.stack(components), onto.affine)

    def transform_points(self, points: np.ndarray) -> np.ndarray:
        """Map points (N, 3) of the fixed image to the moving one, both in RAS+ millimetres."""
        return points + _sample_vectors(self.vectors, self.grid.to_index(points).T, 1).T

    def warp(self, moving: Volume, affine: np.ndarray | None = None, *, outside: float = 0.0) -> Volume:
        """Resample `moving` onto the fixed grid, linearly, or by nearest neighbour for a label map.

        A fixed point goes through this field and then through `affine` (4, 4), RAS+ millimetres to RAS+ millimetres,
        to the moving point; beyond the moving image it gets the value `outside`. Returns float32 for an image and the
        input's type for labels.
        """
        index = np.linalg.inv(moving.affine) @ (np.eye(4) if affine is None else affine)
        indices = _transform_indices((index @ self.affine)[:3], self.grid.shape)
        for row, weights in zip(indices, index[:3, :3], strict=True):
            for weight, component in zip(weights, self.vectors, strict=True):
                if weight:
                    row += np.float32(weight) * component
        order, dtype = (0, moving.array.dtype) if moving.labels else (1, np.float32)
        channels = np.moveaxis(moving.array, 3, 0) if moving.is_colour else moving.array[None]
        warped = np.stack(
            [
                ndimage.map_coordinates(
                    c, indices, dtype, order=order, mode="grid-constant", cval=outside, prefilter=False
                )
                for c in channels
            ],
            axis=-1,
        )
        return moving.new_like(warped if moving.is_colour else warped[..., 0], affine=self.affine)

    def compose(self, after: "Deformation | np.ndarray") -> "Deformation":
        """Apply this field, then `after`, another field or an affine (4, 4) in RAS+ mm; the result has this grid."""
        if not isinstance(after, Deformation):
            rotated = np.tensordot(after[:3, :3].astype(np.float32), self.vectors, 1)
            return Deformation(rotated + Deformation.from_affine(after, self.grid).vectors, self.affine)
        return Deformation(self.vectors + after._sample_after(self), self.affine)

    def invert(
        self, onto: Grid | None = None, *, tolerance: float = 0.01, steps: int = 50
    ) -> tuple["Deformation", np.ndarray]:
        """Return the inverse field, from moving to fixed points, on `onto` (by default this grid), and its error.

        The error, (I, J, K) in millimetres, is the distance between each point and its image after inverse and forward
        mapping: up to `tolerance` where the field is invertible, more where it folds or ends. The iteration is
        v <- -u(x + v) (Chen et al., Med Phys 2008), coarse to fine, over the points above the tolerance, with half the
        step where it overshoots.
        """
        onto = onto or self.grid
        if min(onto.shape) >= 2 * MIN_HALVED_VOXELS:
            i, j, k = ((n + 1) // 2 for n in onto.shape)
            half = Grid((i, j, k), onto.affine @ np.diag([2.0, 2, 2, 1]))
            start = self.invert(half, tolerance=10 * tolerance, steps=steps)[0].resample(onto).vectors
        else:
            start = -self.resample(onto).vectors
        inverse = start.reshape(3, -1).copy()
        index = np.linalg.inv(self.affine)
        base = _transform_indices((index @ onto.affine)[:3], onto.shape).reshape(3, -1)
        to_index = index[:3, :3].astype(np.float32)
        errors = np.full(inverse.shape[1], np.inf, np.float32)
        step = np.ones_like(errors)
        active = np.arange(inverse.shape[1])
        for _ in range(steps):
            current = inverse[:, active]
            residual = current + _sample_vectors(self.vectors, base[:, active] + to_index @ current, 1)
            distance = np.sqrt(np.square(residual).sum(0))
            step[active[distance > errors[active]]] /= 2
            errors[active] = distance
            is_above = distance > tolerance
            active, residual = active[is_above], residual[:, is_above]
            if not len(active):
                break
            inverse[:, active] -= step[active] * residual
        return Deformation(inverse.reshape(3, *onto.shape), onto.affine), errors.reshape(onto.shape)

    def jacobian_determinant(self) -> np.ndarray:
        """Return the local change of volume, (I, J, K): above 1 the moving region is larger, at 0 or below it folds.

        Central differences in millimetres, one-sided at the border; right for oblique and anisotropic grids.
        """
        a = self.affine[:3, :3].astype(np.float32)  # m: derivatives of the mapped point by voxel index
        m = [[d + e for d, e in zip(np.gradient(v), row, strict=True)] for v, row in zip(self.vectors, a, strict=True)]
        determinant = m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1])
        determinant -= m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        determinant += m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
        return determinant / np.float32(np.linalg.det(a))

    def bending_energy(self, mask: np.ndarray | None = None) -> float:
        """Return the mean over the voxels (of `mask`) of the squared second derivatives of the vectors, in 1/mm²."""
        to_index = np.linalg.inv(self.affine[:3, :3])
        metric = (to_index @ to_index.T).astype(np.float32)  # from voxel steps to millimetres, oblique or not
        box: tuple[slice, ...] = (slice(None),) * 3
        if mask is not None and mask.any():
            ends = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a)))[[0, -1]] for a in range(3)]
            box = tuple(slice(max(low - 2, 0), high + 3) for low, high in ends)
            mask = mask[box]
        total = np.zeros(self.vectors[0][box].shape, np.float32)
        for component in (v[box] for v in self.vectors):
            second = np.stack([np.stack(np.gradient(first)) for first in np.gradient(component)])
            scaled = np.einsum("abijk,bc->acijk", second, metric, optimize=True)
            total += np.einsum("acijk,caijk->ijk", scaled, scaled)
        return float(total.mean() if mask is None else total[mask].mean())

    def _sample_after(self, first: "Deformation") -> np.ndarray:
        """Sample this field's vectors, (3, I, J, K), at the points to which `first` maps the voxels of its grid."""
        index = np.linalg.inv(self.affine)
        indices = _transform_indices((index @ first.affine)[:3], first.grid.shape)
        indices += np.tensordot(index[:3, :3].astype(np.float32), first.vectors, 1)
        return _sample_vectors(self.vectors, indices, 1)


def folding_percent(determinant: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the percentage of voxels (of `mask`) at which the Jacobian determinant (I, J, K) is 0 or less."""
    return 100 * float((determinant <= 0).mean() if mask is None else (determinant[mask] <= 0).mean())


def sdlogj(determinant: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the standard deviation of the log Jacobian determinant (I, J, K), with foldings counted as 1e-9."""
    return float(np.log(np.clip(determinant if mask is None else determinant[mask], 1e-9, 1e9)).std(dtype=np.float64))


def sdlogj_learn2reg(determinant: np.ndarray) -> float:
    """Return SDlogJ as Learn2Reg's evaluation does: 3 is added to the determinant, 2 voxels cut off at each side."""
    return sdlogj(determinant[2:-2, 2:-2, 2:-2] + 3)


def _transform_indices(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Multiply `matrix` (3, 4) by the voxel indices of a grid: (3, I, J, K) float32."""
    i, j, k = np.ogrid[tuple(slice(n) for n in shape)]
    rows = [(a * i + d) + b * j + c * k for a, b, c, d in matrix]
    return np.stack([row.astype(np.float32) for row in rows])


def _sample_vectors(vectors: np.ndarray, index: np.ndarray, order: int) -> np.ndarray:
    """Sample vectors (3, I, J, K) at voxel indices (3, ...): (3, ...)."""
    return np.stack(
        [ndimage.map_coordinates(v, index, np.float32, order=order, mode="nearest", prefilter=False) for v in vectors]
    )
