"""A second scan is found wherever it lies, on any grid and in any contrast."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.algorithms import rigid_registration
from medapp.algorithms.mni_template import load_template
from medapp.algorithms.rigid_registration import find_head_centre, find_misplacement, measure_motion, register_rigid
from medapp.imaging.geometry import crop_grid, reorient, resample, with_spacing
from medapp.imaging.volume import Volume


def flair() -> Volume:
    """The template in another contrast: what is bright in T1 is not the brightest."""
    t1 = load_template().array / load_template().array.max()
    return load_template().new_like((t1 * (1.6 - t1)).astype(np.float32), name="FLAIR")


def test_a_turned_and_shifted_scan_is_laid_on_the_other():
    turn, shift = (-8, 12, 9), (140, -90, 200)
    truth = from_matvec(Rotation.from_euler("xyz", turn, degrees=True).as_matrix(), shift)
    away = load_template().new_like(load_template().array, affine=truth @ load_template().affine)
    scan = resample(away, with_spacing(reorient(away.grid, "PSR"), (1.3, 1.3, 3)))
    fixed = resample(flair(), with_spacing(reorient(load_template().grid, "LPI"), (1, 1, 3)))
    found = register_rigid(scan, fixed)
    points = load_template().grid.to_mm(np.argwhere(load_template().array > 0)[::9973])
    apart = (points @ found[:3, :3].T + found[:3, 3]) - (points @ truth[:3, :3].T + truth[:3, 3])
    assert np.linalg.norm(apart, axis=1).max() < 1
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-6)


def test_where_nothing_can_be_compared_the_files_are_believed():
    flat = Volume(np.ones((12, 12, 12), np.float32), np.eye(4))
    np.testing.assert_array_equal(register_rigid(flat, flat), np.eye(4))


def test_a_motion_in_words():
    affine = from_matvec(Rotation.from_euler("z", 30, degrees=True).as_matrix(), (0, 0, 4))
    turn, way = measure_motion(affine, np.zeros(3))
    assert turn == pytest.approx(30) and way == pytest.approx(4)
    spot = np.zeros((9, 9, 9))
    spot[6, 2, 3] = 1
    np.testing.assert_allclose(find_head_centre(Volume(spot, np.diag([2, 3, 4, 1]))), (12, 6, 12))


@pytest.mark.parametrize(("shift", "turn"), [((0, 0, 45), 0), ((35, 20, 0), 12)])
def test_a_sequence_that_lies_apart_is_found(shift, turn):
    truth = from_matvec(Rotation.from_euler("x", turn, degrees=True).as_matrix(), shift)
    away = load_template().new_like(load_template().array, affine=truth @ load_template().affine)
    found = find_misplacement(away, resample(flair(), with_spacing(load_template().grid, (1, 1, 4))))
    points = load_template().grid.to_mm(np.argwhere(load_template().array > 0)[::9973])
    apart = (points @ found[:3, :3].T + found[:3, 3]) - (points @ truth[:3, :3].T + truth[:3, 3])
    assert np.linalg.norm(apart, axis=1).max() < 2


def test_sequences_that_lie_as_they_say_are_left_there():
    fixed = resample(flair(), with_spacing(load_template().grid, (1, 1, 4)))
    slab = resample(load_template(), crop_grid(load_template().grid, np.array([0, 0, 20]), np.array([197, 233, 150])))
    nudged = load_template().new_like(
        load_template().array, affine=from_matvec(np.eye(3), (3, -2, 2)) @ load_template().affine
    )
    assert all(find_misplacement(scan, fixed) is None for scan in (load_template(), slab, nudged))


def test_a_registration_that_leads_astray_is_not_followed(monkeypatch):
    """Heads of another contrast whose outlines look unlike, and an answer that moves one out of the other's view."""
    head, other = np.zeros((40, 40, 30), np.float32), np.zeros((40, 40, 30), np.float32)
    head[8:32, 6:34, 4:26], other[10:30, 10:30, 6:24] = 100, 100
    fixed, moving = (Volume(array, np.diag([5.0, 5.0, 5.0, 1.0])) for array in (head, other))
    assert find_misplacement(moving, fixed) is None
    for shift in (110.0, 40.0):
        astray = np.eye(4)
        astray[2, 3] = shift
        monkeypatch.setattr(rigid_registration, "register_rigid", lambda *_, found=astray: found)
        assert find_misplacement(moving, fixed) is None
        back = moving.new_like(moving.array, affine=astray @ moving.affine)
        assert find_misplacement(back, fixed) is not None, "there it leads back"
