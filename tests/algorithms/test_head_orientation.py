"""A head that does not lie as its file says is turned, and the regions lie on the file's own voxels."""

import numpy as np
import pytest

from medapp.algorithms import head_orientation as orientation
from medapp.algorithms.brain_pair import middles
from medapp.algorithms.head_orientation import count_plausible, describe_turn, find_regions, find_turn, turned
from medapp.algorithms.mni_template import template
from medapp.algorithms.template_regions import REGIONS
from medapp.imaging.volume import Volume
from medapp.serving import runtime
from medapp.serving.runtime import card


def quiet(share, stage):
    """No progress."""


@pytest.fixture(scope="module")
def net():
    return runtime._aid(card("segment_stroke_raxnet"), "cpu", {}, "anatomy")


@pytest.fixture(scope="module")
def head() -> Volume:
    """The template without its rim of nothing, 1 mm, RAS."""
    return template()


def test_there_are_24_ways_to_lie_and_none_mirrors():
    turns = list(orientation._turns())
    assert len({turn.tobytes() for turn in turns}) == 23
    assert all(np.isclose(np.linalg.det(turn), 1) for turn in turns)
    assert not any(np.allclose(turn, np.eye(3)) for turn in turns)


def test_a_turn_keeps_the_middle_of_the_box(head):
    turn = next(orientation._turns())
    middle = (np.array(head.shape) - 1) / 2
    moved = head.new_like(head.array, affine=turned(head.grid, turn)).grid
    np.testing.assert_allclose(moved.to_mm(middle), head.grid.to_mm(middle), atol=1e-9)


@pytest.mark.parametrize("number", [0, 1, 7, 22])
def test_the_turn_is_found_by_where_the_regions_lie(number):
    turn = [np.eye(3), *orientation._turns()][number]
    array = np.zeros((96, 112, 96), np.uint8)
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = -96, -128, -86
    for n, (mm, ml) in enumerate(zip(REGIONS.mm, REGIONS.ml.ravel(), strict=True), 1):
        if 0 < ml < 100:
            i, j, k = np.rint((mm - affine[:3, 3]) / 2).astype(int)
            array[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = n
    labels = Volume(array, affine, labels={1: "region"})
    wrong = labels.new_like(array, affine=turned(labels.grid, turn.T))
    np.testing.assert_allclose(find_turn(wrong), turn)


def test_a_turn_is_told_in_words():
    assert (
        describe_turn(np.diag([1.0, -1, -1]))
        == "what it calls the top is the foot, what it calls the front is the back"
    )


def test_volumes_beyond_measure_are_not_plausible():
    usual = REGIONS.ml.ravel()
    assert count_plausible(usual) == count_plausible(1.5 * usual) == 31
    assert count_plausible(10 * usual) == count_plausible(np.zeros(35)) == 0


def test_a_head_upside_down_is_found_and_turned(net, head):
    flipped = head.new_like(head.array[:, ::-1, ::-1])
    found = find_regions(net, flipped, progress=quiet)
    assert "what it calls the top is the foot" in found.warnings("T1")[0]
    assert found.regions.labels.grid.is_same(flipped.grid)
    back = middles(head.new_like(found.regions.labels.array[:, ::-1, ::-1], labels={1: "region"}))
    there = (REGIONS.ml > 0.5).ravel()
    assert np.linalg.norm(back.mm - REGIONS.mm, axis=1)[there].max() < 4
    np.testing.assert_allclose(find_turn(found.regions.labels), np.diag([1, -1, -1]))
