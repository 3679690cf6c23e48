"""Target registration error at landmarks."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.analysis import landmarks
from medapp.errors import InputError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid
from medapp.result import Result

TILTED = from_matvec(
    Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix() @ np.diag([1.0, 1.2, 2]), (5, 0, -9)
)


def test_landmarks_go_through_the_displacement_and_then_the_affine():
    affine = from_matvec(Rotation.from_euler("z", 20, degrees=True).as_matrix(), (3, 4, 5))
    field = Deformation(np.full((3, 30, 30, 20), 2.0), TILTED)
    fixed = np.array([[10.0, 5, 0], [8, 2, 3]])
    moving = (fixed + 2) @ affine[:3, :3].T + affine[:3, 3]
    result = landmarks.measure_landmarks(Result({}, field, affine=affine), np.hstack([fixed, moving]))
    assert result.metrics["tre"].value == pytest.approx(0, abs=1e-3)
    assert result.metrics["tre_before"].value == pytest.approx(np.sqrt(12), abs=1e-3)
    assert len(result.tables["landmarks"].rows) == 2


def test_landmarks_outside_their_image_are_refused():
    grid = Grid((30, 30, 20), np.eye(4))
    inside, outside = np.full((4, 3), 10.0), np.full((4, 3), 200.0)
    landmarks.require_landmarks_inside(np.hstack([inside, inside]), grid, grid)
    with pytest.raises(InputError, match="moving"):
        landmarks.require_landmarks_inside(np.hstack([inside, outside]), grid, grid)
