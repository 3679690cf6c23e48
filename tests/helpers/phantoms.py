"""Grids on which the tests of whole heads draw the template."""

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
