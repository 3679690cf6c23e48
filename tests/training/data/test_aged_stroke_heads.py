"""Old brains: fluid grows into tissue without tearing it; strokes of every look are darker than what they replace."""

import numpy as np
import pytest
import torch

from training.core.random_source import RandomSource
from training.data.brain_atrophy import find_ways, widen_fluid
from training.data.brain_tissues import RIM
from training.data.scan_motion import move_head
from training.data.stroke_looks import Look, draw_look, paint_look
from training.data.stroke_places import draw_lacune, keep_deep, keep_ribbon

SIDE = 48
AWAY = np.linalg.norm(np.indices((SIDE,) * 3) - (SIDE - 1) / 2, axis=0)
HERE = torch.from_numpy(np.indices((SIDE,) * 3)).float()
LEVELS = (0.2, 0.9)


@pytest.fixture
def brain():
    """A ball of white matter within cortex, a ventricle in its middle: image and tissue."""
    tissue = np.select([AWAY < 5, AWAY < 17, AWAY < 21, AWAY < 23], [3, 1, 2, RIM], 0).astype(np.uint8)
    image = np.select([tissue == 1, tissue == 2, tissue > 0], [0.9, 0.6, 0.2], 0.0).astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(tissue)


def test_a_ventricle_grows_by_so_many_millimetres():
    ways = torch.from_numpy(find_ways(AWAY < 5))
    moved, opened = widen_fluid(HERE, ways, torch.tensor(4.0), 10.0)
    radius = np.linalg.norm(moved.numpy() - (SIDE - 1) / 2, axis=0)
    assert (radius <= AWAY + 1e-3).all()
    grown = opened.numpy() > 0.5
    assert grown[AWAY < 7].all() and not grown[AWAY > 9.5].any()
    assert np.abs(radius - AWAY)[AWAY > 20].max() < 2


def test_nothing_opens_between_two_sulci():
    walls = np.zeros((SIDE,) * 3, bool)
    walls[10], walls[31] = True, True  # an even gap: ways cancel out in its middle
    between = HERE + torch.tensor([0.5, 0, 0])[:, None, None, None]
    _, opened = widen_fluid(between, torch.from_numpy(find_ways(walls)), torch.tensor(1.5), 6.0)
    assert opened[9:11].min() > 0.5 and not opened[14:27].any()


@pytest.mark.parametrize("seed", range(6))
def test_a_stroke_of_any_look_is_darker_and_keeps_to_tissue(brain, seed):
    image, tissue = brain
    before, rng = image.clone(), RandomSource(seed)
    wanted = np.linalg.norm(np.indices((SIDE,) * 3) - [[[[24]]], [[[24]]], [[[36]]]], axis=0) < 8
    mask = paint_look(image, tissue, wanted, draw_look(rng), rng, LEVELS)
    assert mask.sum() > 500 and not mask[np.isin(tissue, (0, 3))].any()
    white = mask & (tissue.numpy() == 1)
    assert image[white].mean() < 0.9 - 0.15 * 0.7 and image[mask].mean() < before[mask].mean() - 0.1
    assert image.min() >= 0 and torch.equal(image[tissue == 0], before[tissue == 0])


def test_a_grey_lesion_is_grey_and_a_rim_lies_round_its_cavity(brain):
    image, tissue = brain
    depth = np.linalg.norm(np.indices((SIDE,) * 3) - [[[[24]]], [[[24]]], [[[35]]]], axis=0)
    pictures = []
    for look in (Look(1, 0.45, cavity=0.0), Look(3, 0.45)):
        pictures.append(image.clone())
        paint_look(pictures[-1], tissue, depth < 7, look, RandomSource(1), LEVELS)
    core, rim = depth < 2, (depth > 5) & (depth < 6) & (tissue.numpy() == 1)
    grey, hollow = pictures
    assert abs(grey[core].mean() - 0.58) < 0.12 and hollow[core].mean() < 0.35 and hollow[rim].mean() > 0.45


def test_ribbons_lie_in_the_cortex_and_lacunes_deep(brain):
    tissue, everything = brain[1], np.ones((SIDE,) * 3, bool)
    ribbon, deep = keep_ribbon(everything, tissue, 1), keep_deep(everything, tissue, 4)
    assert set(np.unique(tissue[ribbon])) <= {1, 2, RIM} and not (ribbon & deep).any() and deep.any()
    tissue[(AWAY > 6) & (AWAY < 9)] = 9  # putamen
    for seed in range(4):
        box, mask = draw_lacune(tissue, (2, 4), RandomSource(seed))
        assert 15 < mask.sum() < 1000 and torch.isin(tissue[box][mask], torch.tensor([1, 9])).float().mean() > 0.4


def test_a_head_that_moves_is_doubled_but_not_brighter(brain):
    image = brain[0]
    still, moved = (move_head(image, mm, RandomSource(3)) for mm in (0.0, 2.0))
    torch.testing.assert_close(still, image, rtol=0, atol=1e-4)
    assert (moved - image).abs().max() > 0.1 and abs(float(moved.mean() - image.mean())) < 0.03
