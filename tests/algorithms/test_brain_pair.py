"""Brain pair: the mask around labelled voxels, moved headers, and the places of regions."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.algorithms.brain_pair import (
    MIN_AGREEMENT,
    Pair,
    brain_mask,
    find_centroids,
    measure_agreement,
    skull_strip,
    transform_header,
)
from medapp.imaging.volume import Volume

MOTION = from_matvec(Rotation.from_euler("xyz", (5, -8, 12), degrees=True).as_matrix() * 1.1, (4, -7, 9))


def regions() -> Volume:
    """Twelve small regions at known places on oblique voxels of 1 mm."""
    array = np.zeros((60, 60, 60), np.uint8)
    for number, corner in enumerate(np.random.default_rng(3).integers(5, 50, (12, 3)), 1):
        array[tuple(slice(c, c + 4) for c in corner)] = number
    matrix = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    return Volume(array, from_matvec(matrix, (-30, -20, 10)), labels={1: "region"})


def test_the_mask_closes_gaps_fills_holes_and_has_a_rim():
    labelled = np.zeros((40, 40, 40), bool)
    labelled[10:30, 10:30, 10:30] = True
    labelled[18:22, 18:22, 18:22] = False
    labelled[10:30, 10:30, 14:16] = False
    mask = brain_mask(labelled)
    assert mask[12:28, 12:28, 12:28].all() and mask[8, 20, 20] and not mask[6, 20, 20]


def test_a_moved_header_sends_the_same_voxels_to_the_fixed_space():
    moving = regions()
    moved = transform_header(moving, MOTION)
    assert np.shares_memory(moved.array, moving.array)
    np.testing.assert_allclose(MOTION @ moved.affine, moving.affine, atol=1e-9)


def test_outside_of_the_brain_is_nothing():
    labels = regions()
    head = labels.new_like(np.full(labels.shape, 100, np.float32), labels={})
    brain, regions_there = skull_strip(head, labels, labels.grid)
    assert brain.array.max() == 1 and (brain.array[~brain_mask(labels.array > 0)] == 0).all()
    np.testing.assert_array_equal(regions_there.array, labels.array)


@pytest.mark.parametrize("number", [1, 7])
def test_centroids_are_in_millimetres_and_volumes_in_millilitres(number):
    labels = regions()
    centroids = find_centroids(labels)
    inside = np.argwhere(labels.array == number)
    np.testing.assert_allclose(centroids.mm[number - 1], labels.grid.to_mm(inside.mean(0)), atol=1e-9)
    assert centroids.ml[number - 1, 0] == pytest.approx(len(inside) * 1e-3)


def test_agreement_is_of_regions_and_bears_a_mask_that_leaks():
    labels = regions()
    shifted = labels.new_like(np.roll(labels.array, 1, 0))
    leaking = labels.array.copy()
    leaking[:, :, -9:] = 13
    turned = labels.new_like(labels.array[:, ::-1, ::-1].copy())
    agreement = {
        name: measure_agreement(Pair(labels, labels, labels, other, np.eye(4)))
        for name, other in (("shifted", shifted), ("leaking", labels.new_like(leaking)), ("turned", turned))
    }
    assert agreement["turned"] < MIN_AGREEMENT < 0.7 < agreement["shifted"] < agreement["leaking"]
    empty = labels.new_like(np.zeros_like(labels.array))
    assert measure_agreement(Pair(labels, labels, labels, empty, np.eye(4))) == 0
