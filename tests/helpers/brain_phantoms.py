"""Phantom brains on oblique grids, with their label maps, for the tests of registration."""

import numpy as np
from nibabel.affines import from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medapp.imaging.volume import Volume

WHITE, CORTEX, OTHER = (1, 20), (2, 21), 7


def turned(
    degrees: tuple[float, float, float], spacing: tuple[float, float, float], shape: tuple[int, int, int]
) -> np.ndarray:
    """An affine about the origin."""
    matrix = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag(spacing)
    return from_matvec(matrix, -matrix @ (np.array(shape) - 1) / 2)


def brain(
    affine: np.ndarray, shape: tuple[int, int, int], bend: float = 0.0, shift: float = 0.0
) -> tuple[Volume, Volume]:
    """Two hemispheres of white matter within a cortex, on any grid; `bend` mm of waves, `shift` mm to the right."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    mm = index @ affine[:3, :3].T + affine[:3, 3]
    mm = mm - (shift, 0, 0) + bend * np.sin(mm[..., [1, 2, 0]] / 14)
    radius = np.sqrt(np.square(mm / (56, 70, 50)).sum(-1))
    right = mm[..., 0] > 0
    labels = np.zeros(shape, np.int16)
    labels[radius < 1] = np.where(right, CORTEX[1], CORTEX[0])[radius < 1]
    labels[radius < 0.8] = np.where(right, WHITE[1], WHITE[0])[radius < 0.8]
    labels[np.linalg.norm(mm - (-20, 10, 0), axis=-1) < 12] = OTHER
    table = np.zeros(36, np.float32)
    table[[*WHITE, *CORTEX, OTHER]] = 900, 900, 600, 600, 350
    image = ndimage.gaussian_filter(table[labels], 0.7)
    image = np.where(labels > 0, image * (1 + 0.1 * np.sin(mm[..., 1] / 5)), 0)
    return Volume(image.astype(np.float32), affine, name="image"), Volume(labels, affine, name="labels")


def make_pair() -> tuple[Volume, Volume, Volume, Volume]:
    """Two brains on grids of their own, the second rotated, bent and shifted, and their label maps."""
    (fixed, mine), (moving, theirs) = (
        brain(turned((0, 0, 0), (2, 2, 2), (80, 96, 72)), (80, 96, 72)),
        brain(turned((8, -5, 15), (1.8, 2.2, 2.5), (90, 90, 64)), (90, 90, 64), 3.0, 9.0),
    )
    return fixed, moving, mine, theirs
