"""What is known of a voxel: its kind of tissue, and its place, wherever the head lies."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.algorithms.anatomical_priors import (
    COORDINATE_SCALE,
    IS_DEEP,
    PRIOR_CHANNELS,
    TISSUES,
    make_prior_maps,
    template_transform,
    to_template,
)
from medapp.algorithms.mni_template import TEMPLATE_REGIONS
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.intensity import BLACK_TO_TISSUE, STANDARD_RANGE, normalize_to_tissue
from medapp.imaging.volume import Volume


def head(move: np.ndarray, without: int = 0) -> Volume:
    """A dot for every structure deep in the template, where `move` (4, 4) brings it, in 2 mm voxels."""
    affine = from_matvec(np.diag([2.0, 2, 2]), (-120, -120, -120))
    regions = np.zeros((120, 120, 120), np.uint8)
    for number in (np.flatnonzero(IS_DEEP) + 1)[without:]:
        mm = move @ (*TEMPLATE_REGIONS.mm[number - 1], 1)
        i, j, k = np.rint(np.linalg.solve(affine, mm))[:3].astype(int)
        regions[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = number
    return Volume(regions, affine)


def test_the_template_is_found_from_any_pose():
    turn = Rotation.from_euler("xyz", (25, -10, 40), degrees=True).as_matrix()
    move = from_matvec(0.9 * turn, (12, -7, 20))
    points = np.c_[np.random.default_rng(0).uniform(-60, 60, (50, 3)), np.ones(50)] @ move.T
    away = np.linalg.norm((points @ template_transform(head(move)).T - points @ np.linalg.inv(move).T)[:, :3], axis=1)
    assert away.max() < 4


@pytest.mark.parametrize(
    "regions",
    [
        head(np.eye(4), without=10),
        head(np.diag([1.0, 1.0, -1.0, 1.0])),
        head(np.diag([2.0, 2.0, 2.0, 1.0])),
        Volume(np.zeros((9, 9, 9), np.uint8), np.eye(4)),
    ],
    ids=["too few", "upside down", "too large", "none"],
)
def test_what_lies_as_in_no_brain_tells_nothing(regions):
    assert template_transform(regions) is None


def test_maps_tell_tissue_and_place():
    regions = np.zeros((4, 3, 2), np.uint8)
    regions[0, 0, 0] = CLASS_NAMES.index("Right-Cerebral-White-Matter")
    regions[1, 0, 0] = CLASS_NAMES.index("4th-Ventricle")
    found = make_prior_maps(regions, to_template(from_matvec(np.eye(3), (-1, 10, 20)), regions.shape))
    assert found.shape == (PRIOR_CHANNELS, 4, 3, 2) and found.dtype == np.float32
    assert found[: len(TISSUES), 0, 0, 0].tolist() == [1, 0, 0, 0]
    assert found[: len(TISSUES), 1, 0, 0].tolist() == [0, 0, 0, 1]
    assert found[: len(TISSUES)].sum() == 2
    np.testing.assert_allclose(found[4:, 0, 2, 1] * COORDINATE_SCALE, (1, 12, 21), rtol=1e-6)
    np.testing.assert_allclose(found[4:, 3, 0, 0] * COORDINATE_SCALE, (2, 10, 20), rtol=1e-6)
    assert not make_prior_maps(regions, None)[4:].any()


def test_brightness_is_measured_by_white_matter():
    image = np.full((10, 10, 10), 30.0)
    image[2:8, 2:8, 2:8], image[5, 5, 5], image[6, 6, 6] = 130, 230, 9000
    white = image == 130
    found = normalize_to_tissue(image, white)
    assert found.dtype == np.float32
    assert (found[0, 0, 0], found[3, 3, 3], found[5, 5, 5], found[6, 6, 6]) == (
        -BLACK_TO_TISSUE,
        0,
        BLACK_TO_TISSUE,
        STANDARD_RANGE[1],
    )
    np.testing.assert_allclose(normalize_to_tissue(7 * image + 400, white), found, atol=1e-4)
    np.testing.assert_allclose(normalize_to_tissue(image, np.zeros_like(white)), found, atol=1e-4)
    assert not normalize_to_tissue(np.ones((3, 3, 3)), np.ones((3, 3, 3), bool)).any()
