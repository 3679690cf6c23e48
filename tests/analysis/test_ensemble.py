"""Fusion is what it says of three planes, voxel by voxel."""

import numpy as np
import pytest

from medapp.analysis import ensemble

THREE = np.array([[0.9, 0.6, 0.9, 0.0], [0.9, 0.6, 0.2, 0.0], [0.9, 0.1, 0.1, 0.0]], np.float32)[:, None, None]


def flat(array):
    return array.ravel().tolist()


def test_the_mean_and_the_vote_differ_where_two_are_lukewarm():
    assert flat(ensemble.average_probabilities(THREE) >= 0.5) == [True, False, False, False]
    assert flat(ensemble.compute_majority_probability(THREE) >= 0.5) == [True, True, False, False]
    assert flat(ensemble.count_agreeing_planes(THREE)) == [3, 2, 1, 0]


def test_weights_are_shares_and_a_plane_that_weighs_nothing_is_not_there():
    np.testing.assert_allclose(
        ensemble.average_probabilities(THREE, (2, 2, 0)), ensemble.average_probabilities(THREE[:2]), rtol=1e-6
    )
    np.testing.assert_allclose(ensemble.average_probabilities(THREE, (1, 1, 1)), THREE.mean(0), rtol=1e-6)
    for wrong in ((0, 0, 0), (1, 1), (1, -1, 1)):
        with pytest.raises(ValueError, match="one weight a plane"):
            ensemble.average_probabilities(THREE, wrong)


def test_of_two_planes_both_must_vote():
    assert flat(ensemble.compute_majority_probability(THREE[1:]) >= 0.5) == [True, False, False, False]
    assert flat(ensemble.compute_majority_probability(THREE[:1]) >= 0.5) == [True, True, True, False]


def test_disagreement_and_doubt():
    contrary = np.array([0.0, 1.0, 0.5, 1.0], np.float32).reshape(2, 2, 1, 1)  # 0 against 0.5, 1 against 1
    np.testing.assert_allclose(flat(ensemble.compute_variance(contrary)), [0.0625, 0], atol=1e-6)
    np.testing.assert_allclose(flat(ensemble.compute_entropy(contrary)), [0.8113, 0], atol=1e-4)
    assert ensemble.compute_entropy(np.full((3, 1, 1, 1), 0.5)).item() == pytest.approx(1)
