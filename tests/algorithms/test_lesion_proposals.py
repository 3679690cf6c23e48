"""Proposals of a click: the lesion that was meant comes out, in mm on any grid, and nothing where nothing is."""

import numpy as np
import pytest
from ball_masks import AFFINES, ball

from medapp.algorithms import seeded_growth
from medapp.algorithms.click_crops import Clicked
from medapp.algorithms.lesion_proposals import (
    MAX_ML,
    Click,
    Proposals,
    propose_addition,
    propose_removal,
    refine_proposal,
)
from medapp.analysis.mask_metrics import compute_dice
from medapp.imaging.volume import Grid, Volume


def make_image(*lesions: np.ndarray, affine: np.ndarray, contrast: float = 40.0) -> Volume:
    noise = np.random.default_rng(0).normal(0, 4, lesions[0].shape)
    return Volume((100 + contrast * np.logical_or.reduce(lesions) + noise).astype(np.float32), affine)


def paint(proposals: Proposals, shape: tuple) -> list[np.ndarray]:
    masks = [np.zeros(shape, bool) for _ in proposals.regions]
    for mask, region in zip(masks, proposals.regions, strict=True):
        mask[region.box] = region.voxels
    return masks


def around(grid: Grid, centre: np.ndarray, radius: float) -> np.ndarray:
    points = grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.linalg.norm(points - centre, axis=-1) < radius


@pytest.mark.parametrize("contrast", [40.0, -40.0])
@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_a_click_finds_the_lesion_that_stands_out(affine, contrast):
    lesion, centre = ball(affine, 6.0)
    truth, nowhere = lesion.array > 0, np.zeros(lesion.shape, bool)
    clicked = Clicked(make_image(truth, affine=affine, contrast=contrast), nowhere, None, np.ones(truth.shape, bool))
    proposals = propose_addition(clicked, centre + 2.0)
    masks = paint(proposals, truth.shape)
    assert compute_dice(masks[proposals.first], truth) > 0.9
    sizes = [mask.sum() for mask in masks]
    assert sizes == sorted(sizes) and sizes[-1] * lesion.grid.voxel_ml <= MAX_ML
    beside = propose_addition(clicked, lesion.grid.to_mm(np.array([40, 8, 32])))
    assert not beside.regions and "stands out" in beside.message
    outside = propose_addition(clicked, lesion.grid.to_mm(np.array([-9, 8, 32])))
    assert not outside.regions and "outside" in outside.message


def test_what_the_network_saw_is_offered_where_the_image_shows_nothing():
    lesion, centre = ball(AFFINES["oblique"], 8.0)
    truth, nowhere = lesion.array > 0, np.zeros(lesion.shape, bool)
    image = lesion.new_like(np.full(lesion.shape, 100, np.float32))
    clicked = Clicked(image, nowhere, 0.3 * truth.astype(np.float32))
    masks = paint(propose_addition(clicked, centre), truth.shape)
    assert max(compute_dice(mask, truth) for mask in masks) > 0.99


@pytest.mark.parametrize(("most", "least"), [(200_000, 0.9), (700, 0.85)])
def test_further_clicks_take_away_and_add(most, least, monkeypatch):
    monkeypatch.setattr(seeded_growth, "MAX_CUT_VOXELS", most)  # a region of many voxels is cut on a coarser grid
    affine = AFFINES["mirrored"]
    lesion, centre = ball(affine, 7.0)
    grid, left = lesion.grid, lesion.array > 0
    right = around(grid, centre + [11.5, 0, 0], 7.0)  # joined to the other at a neck
    clicked = Clicked(make_image(left, right, affine=affine), np.zeros(left.shape, bool))
    first = propose_addition(clicked, centre)
    both = max(paint(first, left.shape), key=lambda mask: compute_dice(mask, left | right))
    assert compute_dice(both, left | right) > 0.9
    clicks = [Click(centre, True), Click(centre + [12.0, 0, 0], False)]
    cut = refine_proposal(clicked, clicks, both, removes=False)
    assert compute_dice(paint(cut, left.shape)[cut.first], left) > least
    far = around(grid, centre + [0, 16.0, 0], 4.0)
    apart = Clicked(make_image(left, far, affine=affine), np.zeros(left.shape, bool))
    clicks = [Click(centre, True), Click(centre + [0, 16.0, 0], True)]
    joined = refine_proposal(apart, clicks, left, removes=False)
    assert compute_dice(paint(joined, left.shape)[joined.first], left | far) > 0.9
    marked = Clicked(clicked.image, left | right)
    kept = refine_proposal(
        marked, [Click(centre, True), Click(centre + [12.0, 0, 0], False)], left | right, removes=True
    )
    assert compute_dice(paint(kept, left.shape)[kept.first], left) > least


def test_what_is_marked_already_is_not_proposed_and_what_is_wrong_is_taken_away_whole():
    affine = AFFINES["oblique, permuted, mirrored"]
    lesion, centre = ball(affine, 9.0)
    truth, grid = lesion.array > 0, lesion.grid
    known = truth & ~around(grid, centre + [0, 0, 6.0], 6.0)
    image = make_image(truth, affine=affine)
    added = propose_addition(Clicked(image, known), centre + [0, 0, 6.0])
    mask = paint(added, truth.shape)[added.first]
    assert not (mask & known).any() and compute_dice(mask | known, truth) > 0.9
    wrong = around(grid, centre - [0, 0, 20.0], 4.0)
    removed = propose_removal(Clicked(image, truth | wrong), centre - [0, 0, 19.0])
    np.testing.assert_array_equal(paint(removed, truth.shape)[removed.first], wrong)
    assert "no piece" in propose_removal(Clicked(image, truth), centre - [0, 0, 19.0]).message


def test_fine_voxels_are_answered_in_time_and_a_picture_of_one_slice_is_no_exception():
    affine = np.diag([0.4, 0.4, 0.4, 1])
    shape = (180, 170, 160)
    centre = np.array([36.0, 34.0, 32.0])
    truth = around(Grid(shape, affine), centre, 11.0)
    clicked = Clicked(make_image(truth, affine=affine), np.zeros(shape, bool), None, np.ones(shape, bool))
    proposals = propose_addition(clicked, centre)
    masks = paint(proposals, shape)
    assert max(compute_dice(mask, truth) for mask in masks) > 0.9
    flat = Clicked(make_image(truth[:, :, 80:81], affine=affine), np.zeros((180, 170, 1), bool))
    masks = paint(propose_addition(flat, np.array([36.0, 34.0, 0])), (180, 170, 1))
    assert max(compute_dice(mask, truth[:, :, 80:81]) for mask in masks) > 0.9
