"""Brain extraction shows the networks what they were trained on, and puts the brain back where it was."""

import numpy as np
import pytest
import torch
from bright_brain import GRIDS, Bright, Nothing, draw_head

from medapp.algorithms.brain_extraction import (
    COARSE_SPACING,
    FINE_MARGIN,
    FINE_SPACING,
    NETWORK_STRIDES,
    extract_brain,
    find_foreground_box,
    predict_coarse_distance,
    predict_fine_distance,
)
from medapp.analysis.mask_metrics import compute_dice
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.networks.coarse_to_fine import CoarseToFine
from medapp.serving.inference_engine import Engine


@pytest.mark.parametrize("name", GRIDS)
def test_the_brain_lands_where_it_is(name):
    head, brain = draw_head(name)
    found = extract_brain(Bright(), head).mask
    assert found.grid.is_same(head.grid) and found.array.dtype == np.uint8 and found.labels == {1: "brain"}
    assert compute_dice(found.array > 0, brain) > (0.98 if name != "thick" else 0.95)


def test_the_networks_see_3_mm_and_1_mm_in_the_patient_whatever_the_grid():
    seen = {}
    for name in ("RAS", "LPI"):
        net = Bright()
        extract_brain(net, draw_head(name)[0])
        seen[name] = net.seen
    for part in ("coarse", "fine"):
        first, second = (seen[name][part][0] for name in ("RAS", "LPI"))
        assert first.shape == second.shape
        assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1] > 0.98
    assert seen["RAS"]["coarse"].shape[0] == 1 and seen["RAS"]["fine"].shape[0] == 2
    brain = seen["RAS"]["fine"][1] > 0
    assert abs(float(seen["RAS"]["fine"][0][brain].median())) < 0.1, "the brain is the measure of brightness"


def test_the_fine_network_sees_the_brain_with_a_margin_alone():
    head, brain = draw_head("RAS")
    net = Bright()
    rough = predict_coarse_distance(net, head).inwards
    assert np.allclose(rough.grid.spacing, COARSE_SPACING)
    close = predict_fine_distance(net, head, rough).inwards
    assert np.allclose(close.grid.spacing, FINE_SPACING)
    index = np.argwhere(brain)
    sides = np.ptp(index, axis=0) + 1
    assert (np.abs(np.array(close.shape) - sides - 2 * FINE_MARGIN) <= 2 * COARSE_SPACING).all()
    assert compute_dice(resample(close, head.grid, outside=-10).array > 0, brain) > 0.98


def test_black_round_the_image_changes_nothing():
    head, _ = draw_head("RAS")
    low = float(head.array.min())
    wide = np.pad(head.array, ((60, 42), (36, 75), (0, 90)), constant_values=low)
    affine = head.affine.copy()
    affine[:3, 3] -= [60, 36, 0]
    near, far = Bright(), Bright()
    found, other = (extract_brain(*each).mask for each in ((near, head), (far, Volume(wide, affine))))
    more = np.subtract(far.seen["coarse"].shape, near.seen["coarse"].shape)
    assert more.max() <= NETWORK_STRIDES["coarse"], "a voxel at the most, and what fills it up"
    assert compute_dice(other.array[60:-42, 36:-75, :-90] > 0, found.array > 0) > 0.99
    assert find_foreground_box(np.zeros((3, 4, 5))) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_it_is_one_piece_without_holes():
    head, brain = draw_head("RAS", hole=12)
    found, left_out_ml = extract_brain(Bright(), head)
    assert compute_dice(found.array > 0, brain) > 0.98
    assert left_out_ml == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.3), "the bright ball, in ml"


def test_where_nothing_is_found_nothing_is_said():
    head, _ = draw_head("thick")
    found = extract_brain(Nothing(), head).mask
    assert found.grid.is_same(head.grid) and not found.array.any()


def test_the_engine_answers_as_the_network_does():
    torch.manual_seed(0)
    net = CoarseToFine(4, 4).eval()
    head, _ = draw_head("RAS")
    plain, served = (predict_coarse_distance(each, head).inwards.array for each in (net, Engine(net)))
    assert np.abs(plain - served).mean() < 0.1 * np.abs(plain).mean()
