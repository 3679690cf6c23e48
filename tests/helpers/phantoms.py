"""Phantoms: grids for the template's head, a CT of a body, an MR image of a head."""

import numpy as np
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.imaging.volume import Grid


def grid(spacing, turn=(0, 0, 0), order=(0, 1, 2), flip=(1, 1, 1), size=(160, 190, 160)) -> Grid:
    """A box of `size` mm about the template's middle, stored in that order."""
    matrix = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() @ np.diag(np.multiply(spacing, flip))
    shape = tuple(int(s / d) for s, d in zip(size, spacing, strict=True))
    place = from_matvec(matrix, np.array([0, -18, 10]) - matrix @ (np.array(shape) - 1) / 2)
    return Grid(tuple(shape[a] for a in order), place[:, [*order, 3]])


def ct_body() -> np.ndarray:
    """A body of soft tissue within fat, with a lung and bone, in air; HU with noise."""
    i, j, k = np.ogrid[:64, :64, :8]
    radius = np.hypot(i - 32, j - 32) + 0 * k
    hu = np.full((64, 64, 8), -1000.0)
    hu[radius < 26] = -100
    hu[radius < 22] = 40
    hu[np.hypot(i - 24, j - 32) + 0 * k < 6] = -850
    hu[np.hypot(i - 44, j - 32) + 0 * k < 4] = 700
    return (hu + 15 * np.random.default_rng(0).standard_normal(hu.shape)).astype(np.float32)


def mr_head() -> np.ndarray:
    """A head of three tissues in a dark background, from 0 to about 900."""
    i, j, k = np.ogrid[:64, :64, :8]
    radius = np.hypot(i - 32, j - 32) + 0 * k
    array = np.full((64, 64, 8), 5.0)
    array[radius < 26] = 250
    array[radius < 22] = 500
    array[radius < 12] = 800
    return np.abs(array + 30 * np.random.default_rng(0).standard_normal(array.shape)).astype(np.float32)
