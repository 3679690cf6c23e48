"""Brain extraction shows the networks what they were trained on, and puts the brain back where it was."""

import numpy as np
import pytest
import torch

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

GRIDS = {
    "RAS": ((90, 110, 96), np.diag([1, 1, 1])),
    "LPI": ((90, 110, 96), np.diag([-1, -1, -1])),
    "sagittal": ((80, 70, 66), np.array([[0, 0, 1.3], [1.2, 0, 0], [0, -1.25, 0]])),
    "oblique": ((84, 96, 88), np.array([[-1.0, 0.3, 0.1], [0.3, 1.0, -0.2], [-0.1, 0.2, 1.05]])),
    "flat": ((90, 110, 1), np.diag([1, 1, 1])),
    "thick": ((120, 140, 16), np.array([[-0.8, 0, 0.6], [0, -0.8, 0], [0.1, 0, 5.9]])),
}


class Bright:
    """Stands in for both networks: what is bright is brain. Remembers what it saw."""

    def __init__(self):
        self.seen = {}

    def get_submodule(self, part: str):
        def answer(x: torch.Tensor) -> torch.Tensor:
            assert not any(n % NETWORK_STRIDES[part] for n in x.shape[2:])
            self.seen[part] = x[0]
            level = -1.5 if part == "fine" else (x.min() + x.max()) / 2
            return 4 * (x[:, :1] - level)

        return answer


def phantom(name: str, hole: float = 0.0) -> tuple[Volume, np.ndarray]:
    """An ellipsoid of 56 × 72 × 60 mm, with a dark ball in it and a bright one apart from it if asked to; the brain."""
    shape, turn = GRIDS[name]
    affine = np.eye(4)
    affine[:3, :3] = turn
    affine[:3, 3] = np.array([3.0, -4, 5]) - turn @ (np.array(shape) - 1) / 2
    mm = np.moveaxis(np.indices(shape), 0, -1) @ turn.T + affine[:3, 3] - [3, -4, 5]
    brain = ((mm / (28, 36, 30)) ** 2).sum(-1) < 1
    bright = brain & (np.linalg.norm(mm, axis=-1) >= hole)
    if hole:
        bright |= np.linalg.norm(mm - (0, 0, 40), axis=-1) < hole / 2
    noise = np.random.default_rng(0).normal(0, 2, shape)
    return Volume((20 + 100 * bright + noise).astype(np.float32), affine), brain


@pytest.mark.parametrize("name", GRIDS)
def test_the_brain_lands_where_it_is(name):
    head, brain = phantom(name)
    found = extract_brain(Bright(), head)
    assert found.grid.is_same(head.grid) and found.array.dtype == np.uint8 and found.labels == {1: "brain"}
    assert compute_dice(found.array > 0, brain) > (0.98 if name != "thick" else 0.95)


def test_the_networks_see_3_mm_and_1_mm_in_the_patient_whatever_the_grid():
    seen = {}
    for name in ("RAS", "LPI"):
        net = Bright()
        extract_brain(net, phantom(name)[0])
        seen[name] = net.seen
    for part in ("coarse", "fine"):
        first, second = (seen[name][part][0] for name in ("RAS", "LPI"))
        assert first.shape == second.shape
        assert torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1] > 0.98
    assert seen["RAS"]["coarse"].shape[0] == 1 and seen["RAS"]["fine"].shape[0] == 2
    brain = seen["RAS"]["fine"][1] > 0
    assert abs(float(seen["RAS"]["fine"][0][brain].median())) < 0.1, "the brain is the measure of brightness"


def test_the_fine_network_sees_the_brain_with_a_margin_alone():
    head, brain = phantom("RAS")
    net = Bright()
    rough = predict_coarse_distance(net, head)
    assert np.allclose(rough.grid.spacing, COARSE_SPACING)
    close = predict_fine_distance(net, head, rough)
    assert np.allclose(close.grid.spacing, FINE_SPACING)
    index = np.argwhere(brain)
    sides = np.ptp(index, axis=0) + 1
    assert (np.abs(np.array(close.shape) - sides - 2 * FINE_MARGIN) <= 2 * COARSE_SPACING).all()
    assert compute_dice(resample(close, head.grid, outside=-10).array > 0, brain) > 0.98


def test_black_round_the_image_changes_nothing():
    head, _ = phantom("RAS")
    low = float(head.array.min())
    wide = np.pad(head.array, ((60, 42), (36, 75), (0, 90)), constant_values=low)
    affine = head.affine.copy()
    affine[:3, 3] -= [60, 36, 0]
    near, far = Bright(), Bright()
    found, other = extract_brain(near, head), extract_brain(far, Volume(wide, affine))
    more = np.subtract(far.seen["coarse"].shape, near.seen["coarse"].shape)
    assert more.max() <= NETWORK_STRIDES["coarse"], "a voxel at the most, and what fills it up"
    assert compute_dice(other.array[60:-42, 36:-75, :-90] > 0, found.array > 0) > 0.99
    assert find_foreground_box(np.zeros((3, 4, 5))) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_it_is_one_piece_without_holes():
    head, brain = phantom("RAS", hole=12)
    assert compute_dice(extract_brain(Bright(), head).array > 0, brain) > 0.98


def test_where_nothing_is_found_nothing_is_said():
    class Nothing(Bright):
        def get_submodule(self, part):
            return lambda x: torch.full_like(x[:, :1], -5.0)

    head, _ = phantom("thick")
    found = extract_brain(Nothing(), head)
    assert found.grid.is_same(head.grid) and not found.array.any()


def test_the_engine_answers_as_the_network_does():
    torch.manual_seed(0)
    net = CoarseToFine(4, 4).eval()
    head, _ = phantom("RAS")
    plain, served = predict_coarse_distance(net, head).array, predict_coarse_distance(Engine(net), head).array
    assert np.abs(plain - served).mean() < 0.1 * np.abs(plain).mean()
