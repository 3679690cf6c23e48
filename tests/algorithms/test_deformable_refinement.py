"""Refinement finds a deformation that is known, from nothing and from a start, follows regions, and does not fold."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from medapp.algorithms.deformable_refinement import REGION_WEIGHT, Level, refine_field
from medapp.algorithms.steering import Steering
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.networks.textscf import warp

SIZE = (50, 54, 46)  # not by fours
FAST = (Level(2, 2, 20), Level(1, 2, 15))


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, *size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Moving and fixed image, the displacement between them, and where there is anything to see."""
    moving = F.interpolate(noise(1, *(n // 3 for n in SIZE)), SIZE, mode="trilinear").sigmoid()[0, 0]
    ball = sum(
        (torch.linspace(-1, 1, n) ** 2).view([-1 if a == axis else 1 for a in range(3)]) for axis, n in enumerate(SIZE)
    )
    moving = moving * (ball < 0.8)
    flow = 2.0 * F.interpolate(noise(3, 4, 4, 4, seed=1), SIZE, mode="trilinear", align_corners=True)[0]
    fixed = warp(moving[None, None], flow[None])[0, 0]
    return moving, fixed, flow, F.avg_pool3d((fixed > 0).float()[None], 9, 1, 4)[0] > 0.99


def error(found: torch.Tensor, flow: torch.Tensor, mask: torch.Tensor) -> float:
    return (found - flow).square().sum(0).sqrt()[mask].mean().item()


def test_finds_the_deformation_from_nothing(pair):
    moving, fixed, flow, mask = pair
    said = []
    found = refine_field(moving, fixed, levels=FAST, progress=said.append)
    assert found.shape == (3, *SIZE) and said[-1] == pytest.approx(1)
    assert error(found, flow, mask) < 0.3 * error(torch.zeros_like(flow), flow, mask)


def test_goes_on_from_a_start(pair):
    moving, fixed, flow, mask = pair
    start = flow + 0.5
    found = refine_field(moving, fixed, start, levels=FAST)
    assert error(found, flow, mask) < 0.5 * error(start, flow, mask)


def test_a_pair_that_fits_stays(pair):
    moving = pair[0]
    assert refine_field(moving, moving, levels=FAST).abs().mean() < 0.2


def test_empty_images_and_a_small_box():
    empty = torch.zeros(30, 30, 30)
    assert torch.isfinite(refine_field(empty, empty, levels=FAST)).all()
    spot = empty.clone()
    spot[3:9, 20:28, 12:17] = 0.8
    found = refine_field(spot.roll(1, 0), spot, levels=FAST)
    assert found.shape == (3, 30, 30, 30) and found[0, 5, 24, 14] > 0.3


def test_does_not_fold(pair):
    moving, fixed, *_ = pair
    found = refine_field(moving, fixed, levels=FAST)
    jacobian = torch.stack([torch.stack(torch.gradient(part)) for part in found]).permute(2, 3, 4, 0, 1) + torch.eye(3)
    assert (torch.linalg.det(jacobian) <= 0).float().mean() < 1e-3


def test_regions_pull_where_the_images_show_nothing():
    distance = torch.stack(torch.meshgrid(*(torch.arange(n) - n / 2 for n in SIZE), indexing="ij")).norm(dim=0)
    image = 0.5 * (distance < 20)
    inner, outer = CLASS_NAMES.index("Left-Thalamus"), CLASS_NAMES.index("Left-Cerebral-White-Matter")
    moving, fixed = (torch.where(distance < radius, inner, outer) for radius in (8, 11))

    def overlap(flow: torch.Tensor) -> float:
        moved, truth = warp(moving[None, None].float(), flow[None], "nearest")[0, 0] == inner, fixed == inner
        return (2 * (moved & truth).sum() / (moved.sum() + truth.sum())).item()

    assert overlap(refine_field(image, image, levels=FAST)) < 0.75
    found = refine_field(image, image, levels=FAST, regions=(moving, fixed))
    assert overlap(found) > 0.95
    weights = torch.full((len(CLASS_NAMES),), REGION_WEIGHT)
    weighted = partial(refine_field, image, image, levels=FAST, regions=(moving, fixed))
    torch.testing.assert_close(weighted(region_weights=weights), found)
    weights[[inner, outer]] = 0
    assert overlap(weighted(region_weights=weights)) < 0.75


@pytest.mark.parametrize("lesioned", [0, 1], ids=["moving", "fixed"])
def test_an_ignored_lesion_does_not_pull(pair, lesioned):
    moving, fixed, _, mask = pair
    images = [moving, fixed]
    lesion = torch.zeros(SIZE, dtype=torch.bool)
    lesion[18:30, 18:32, 16:28] = True
    images[lesioned] = torch.where(lesion, 0.05, images[lesioned])
    ignored = [torch.zeros_like(lesion), torch.zeros_like(lesion)]
    ignored[lesioned] = F.max_pool3d(lesion[None].float(), 3, 1, 1)[0] > 0
    truth = refine_field(moving, fixed, levels=FAST)
    pulled = refine_field(*images, levels=FAST)
    masked = refine_field(*images, levels=FAST, steering=Steering(ignored=(ignored[0], ignored[1])))
    around = mask & (F.max_pool3d(lesion[None].float(), 13, 1, 6)[0] > 0)
    assert error(masked, truth, around & ~lesion) < 0.6 * error(pulled, truth, around & ~lesion)
    assert error(masked, truth, lesion) < 0.8 * error(pulled, truth, lesion), "the field is filled from around"


def test_a_region_is_matched_more_where_it_is_asked_for():
    distance = torch.stack(torch.meshgrid(*(torch.arange(n) - n / 2 for n in SIZE), indexing="ij")).norm(dim=0)
    image = 0.5 * (distance < 20)
    inner, outer = CLASS_NAMES.index("Left-Thalamus"), CLASS_NAMES.index("Left-Cerebral-White-Matter")
    maps = [torch.where(distance < radius, inner, outer) for radius in (8, 11)]
    short = (Level(2, 2, 6),)
    usual, asked = (
        refine_field(image, image, levels=short, regions=(maps[0], maps[1]), steering=Steering(matched=matched))
        for matched in ((), (inner,))
    )
    moved = [warp((maps[0] == inner)[None, None].float(), flow[None])[0, 0].sum() for flow in (usual, asked)]
    assert moved[0] < moved[1] < 1.1 * (maps[1] == inner).sum()


def test_the_field_is_held_at_the_end(pair):
    moving, fixed, *_ = pair
    found = refine_field(moving, fixed, levels=FAST, steering=Steering(hold=lambda flow: flow.clamp(-0.5, 0.5)))
    assert found.shape == (3, *SIZE) and found.abs().max() == 0.5
