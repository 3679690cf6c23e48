"""A head that does not lie as its file says is turned, and the regions lie on the file's own voxels."""

import numpy as np
import pytest

from medapp.algorithms import head_orientation as orientation
from medapp.algorithms.brain_extraction import BrainDistance
from medapp.algorithms.brain_pair import find_centroids
from medapp.algorithms.head_orientation import (
    count_plausible_regions,
    describe_rotation,
    find_regions,
    find_rotation,
    rotate_affine,
)
from medapp.algorithms.mni_template import load_template
from medapp.algorithms.parcellation import Parcellation
from medapp.algorithms.template_regions import TEMPLATE_REGIONS
from medapp.imaging.volume import Volume
from medapp.serving import runtime
from medapp.serving.runtime import find_card


def quiet(share, stage):
    """No progress."""


@pytest.fixture(scope="module")
def net():
    return runtime.load_network(find_card("segment_stroke_raxnet"), "cpu", {}, "anatomy")


@pytest.fixture(scope="module")
def head() -> Volume:
    """The template without its rim of nothing, 1 mm, RAS."""
    return load_template()


def test_there_are_24_ways_to_lie_and_none_mirrors():
    turns = list(orientation.list_rotations())
    assert len({turn.tobytes() for turn in turns}) == 23
    assert all(np.isclose(np.linalg.det(turn), 1) for turn in turns)
    assert not any(np.allclose(turn, np.eye(3)) for turn in turns)


def test_a_turn_keeps_the_middle_of_the_box(head):
    turn = next(orientation.list_rotations())
    middle = (np.array(head.shape) - 1) / 2
    moved = head.new_like(head.array, affine=rotate_affine(head.grid, turn)).grid
    np.testing.assert_allclose(moved.to_mm(middle), head.grid.to_mm(middle), atol=1e-9)


@pytest.mark.parametrize("number", [0, 1, 7, 22])
def test_the_turn_is_found_by_where_the_regions_lie(number):
    turn = [np.eye(3), *orientation.list_rotations()][number]
    array = np.zeros((96, 112, 96), np.uint8)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -96, -128, -86
    for n, (mm, ml) in enumerate(zip(TEMPLATE_REGIONS.mm, TEMPLATE_REGIONS.ml.ravel(), strict=True), 1):
        if 0 < ml < 100:
            i, j, k = np.rint((mm - affine[:3, 3]) / 2).astype(int)
            array[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = n
    labels = Volume(array, affine, labels={1: "region"})
    wrong = labels.new_like(array, affine=rotate_affine(labels.grid, turn.T))
    np.testing.assert_allclose(find_rotation(wrong), turn)


def test_a_turn_is_told_in_words():
    assert describe_rotation(np.diag([1.0, -1, -1])) == "its top is the foot, its front is the back"


def test_volumes_beyond_measure_are_not_plausible():
    usual = TEMPLATE_REGIONS.ml.ravel()
    assert count_plausible_regions(usual) == count_plausible_regions(1.5 * usual) == 31
    assert count_plausible_regions(10 * usual) == count_plausible_regions(np.zeros(35)) == 0


class Marks:
    """Stands in for `parcellate`: regions as in the template where it looks, which is remembered."""

    def __init__(self, of_brain: int, of_head: int):
        self.counts, self.looked = {True: of_brain, False: of_head}, []

    def __call__(self, net, head, *, inwards=None, progress):
        self.looked.append(inwards is not None)
        labels = head.new_like(np.full(head.shape, self.counts[inwards is not None], np.uint8))
        return Parcellation(labels, labels)


@pytest.mark.parametrize(
    ("brain_ml", "of_brain", "of_head", "looked", "taken"),
    [
        (1000, 30, 31, [True], 30),
        (0, 0, 31, [False], 31),
        (1000, 5, 25, [True, False], 25),
        (1000, 8, 5, [True, False], 8),
    ],
)
def test_regions_are_those_of_the_extracted_brain_unless_it_is_missed(
    monkeypatch, brain_ml, of_brain, of_head, looked, taken
):
    marks = Marks(of_brain, of_head)
    scan = Volume(np.random.default_rng(0).random((20, 20, 20), np.float32), np.eye(4))
    inwards = scan.new_like(np.full(scan.shape, 1.0 if brain_ml else -1.0, np.float32))
    monkeypatch.setattr(orientation, "parcellate", marks)
    monkeypatch.setattr(orientation, "predict_distance", lambda net, head: BrainDistance(inwards, 0.0))
    monkeypatch.setattr(orientation, "measure_region_volumes", lambda labels: labels.array.max())
    monkeypatch.setattr(orientation, "count_plausible_regions", int)
    found = find_regions(None, scan, brain_net=object(), progress=quiet)
    assert marks.looked == looked and found.plausible == found.regions.labels.array.max() == taken


def test_a_head_upside_down_is_found_and_turned(net, head):
    flipped = head.new_like(head.array[:, ::-1, ::-1])
    found = find_regions(net, flipped, progress=quiet)
    assert "its top is the foot" in found.warnings("T1")[0]
    assert found.regions.labels.grid.is_same(flipped.grid)
    back = find_centroids(head.new_like(found.regions.labels.array[:, ::-1, ::-1], labels={1: "region"}))
    there = (TEMPLATE_REGIONS.ml > 0.5).ravel()
    assert np.linalg.norm(back.mm - TEMPLATE_REGIONS.mm, axis=1)[there].max() < 4
    np.testing.assert_allclose(find_rotation(found.regions.labels), np.diag([1, -1, -1]))
