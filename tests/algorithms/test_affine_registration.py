"""Affine alignment finds transforms that are known: far turns and shifts, unequal voxels, skull on and off."""

import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.brain_pair import find_centroids, match_centroids
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume


def ellipsoid(points: np.ndarray, middle, radii) -> np.ndarray:
    return np.square((points - middle) / radii).sum(-1) < 1


def head(spacing: float = 2.0, skull: bool = True) -> Volume:
    """A head of ellipsoids: scalp, skull, folded brain, ventricles, cerebellum, a nose."""
    shape = (100, 120, 110)
    affine = from_matvec(np.eye(3) * spacing, -spacing * (np.array(shape) - 1) / 2)
    points = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    brain = ellipsoid(points, (0, 0, 10), (66, 84, 62)) | ellipsoid(points, (0, -50, -40), (50, 36, 26))
    folds = 0.75 + 0.15 * np.sin(points[..., 0] / 7) * np.sin(points[..., 1] / 8 + 1) * np.sin(points[..., 2] / 6 + 2)
    array = np.where(brain, folds, 0)
    for side in (-1, 1):
        array[ellipsoid(points, (side * 12, 5, 15), (7, 35, 12))] = 0.25
    if skull:
        scalp = ellipsoid(points, (0, 0, 0), (80, 100, 92)) & ~ellipsoid(points, (0, 0, 0), (74, 94, 84))
        array[scalp & ~brain | ellipsoid(points, (0, 104, -30), (14, 14, 18))] = 0.9
    return Volume(ndimage.gaussian_filter(array, 0.7).astype(np.float32) * 800, affine)


def transform(degrees: float, mm: float, stretch: float = 0.0, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    axis, along = (v / np.linalg.norm(v) for v in random.normal(size=(2, 3)))
    turn = Rotation.from_rotvec(np.radians(degrees) * axis).as_matrix()
    return from_matvec(turn @ (np.eye(3) + stretch * random.uniform(-1, 1, (3, 3))), mm * along)


def moved(volume: Volume, matrix: np.ndarray, shape, spacing) -> Volume:
    """The head carried by `matrix`, scanned on another grid."""
    carried = volume.new_like(volume.array, affine=matrix @ volume.affine)
    middle = matrix[:3, 3] - np.array(spacing) * (np.array(shape) - 1) / 2
    return resample(carried, Grid(shape, from_matvec(np.diag(spacing), middle)))


def error(found: np.ndarray, true: np.ndarray) -> float:
    """Largest distance in millimetres, over points of a brain."""
    points = np.random.default_rng(5).uniform(-60, 60, (500, 3))
    return float(np.linalg.norm(apply_affine(found, points) - apply_affine(true, points), axis=1).max())


@pytest.mark.parametrize("skull", [True, False])
@pytest.mark.parametrize(
    ("degrees", "mm", "stretch", "shape", "spacing"),
    [
        (30, 30, 0.0, (110, 120, 110), (2.0, 2.0, 2.0)),
        (20, 80, 0.08, (200, 220, 42), (1.1, 1.1, 5.0)),
        (12, 10, 0.05, (60, 230, 200), (3.5, 1.0, 1.2)),
    ],
)
def test_finds_the_transform(skull, degrees, mm, stretch, shape, spacing):
    fixed, true = head(skull=skull), transform(degrees, mm, stretch, seed=degrees)
    said = []
    found = register_affine(moved(fixed, true, shape, spacing), fixed, progress=said.append)
    assert error(found, true) < 1.5 and said == sorted(said) and said[-1] == 1


def test_a_head_in_another_orientation_is_found_when_asked():
    fixed = head(skull=False)
    true = from_matvec(Rotation.from_euler("xyz", (180, 0, 12), degrees=True).as_matrix(), (6, -9, 4))
    moving = moved(fixed, true, (130, 130, 130), (2.0, 2.0, 2.0))
    assert error(register_affine(moving, fixed, in_any_orientation=True), true) < 1.5


def test_a_cut_field_of_view_and_uneven_light():
    fixed, true = head(), transform(15, 10)
    whole = moved(fixed, true, (110, 120, 80), (2.0, 2.0, 2.0))
    light = np.exp(np.linspace(-0.3, 0.3, 110))[:, None, None]
    found = register_affine(whole.new_like((whole.array * light).astype(np.float32)), fixed)
    assert error(found, true) < 2.5


def test_an_empty_image_is_refused():
    empty = Volume(np.zeros((20, 20, 20), np.float32), np.eye(4) * 3)
    with pytest.raises(InputError, match="empty"):
        register_affine(empty, head())


def test_a_start_is_taken_as_it_is_and_polished():
    true = transform(70, 20, 0.1, seed=4)  # further than the search would look
    fixed = head(skull=False)
    moving = moved(fixed, true, (130, 140, 130), (2.0, 2.0, 2.0))
    near = true @ transform(3, 4, 0.03, seed=5)
    assert error(register_affine(moving, fixed, start=near), true) < 1
    with pytest.raises(ValueError, match="mirrors"):
        register_affine(moving, fixed, start=np.diag([-1.0, 1, 1, 1]))


def regions(grid: Grid, middle, size: float, apart: float) -> Volume:
    """Twelve balls as the classes 1 to 12, strewn about `middle`."""
    points = apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
    array = np.zeros(grid.shape, np.uint8)
    for number, away in enumerate(np.random.default_rng(2).uniform(-apart, apart, (12, 3)), 1):
        array[ellipsoid(points, np.add(middle, away), (size,) * 3)] = number
    return Volume(array, grid.affine, labels={n: str(n) for n in range(1, 36)})


def test_middles_of_regions_give_an_affine_of_any_turn():
    true = transform(100, 40, 0.05, seed=6)
    fixed = regions(Grid((80, 80, 80), from_matvec(np.eye(3) * 2, [-80.0] * 3)), (0, 0, 0), 9, 55)
    moving = fixed.new_like(fixed.array, affine=true @ fixed.affine)
    assert error(match_centroids(find_centroids(moving), find_centroids(fixed)), true) < 1e-3


def test_too_few_or_odd_regions_give_none():
    fixed = regions(Grid((80, 80, 80), from_matvec(np.eye(3) * 2, [-80.0] * 3)), (0, 0, 0), 9, 55)
    few = fixed.new_like(np.where(fixed.array < 6, fixed.array, 0))
    assert match_centroids(find_centroids(few), find_centroids(fixed)) is None
    assert match_centroids(find_centroids(fixed.new_like(fixed.array[::-1].copy())), find_centroids(fixed)) is None, (
        "mirrored"
    )
    long = fixed.new_like(fixed.array, affine=np.diag([1, 1, 2.0, 1]) @ fixed.affine)
    assert match_centroids(find_centroids(long), find_centroids(fixed)) is None
