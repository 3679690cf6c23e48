"""Refinement finds a deformation that is known, from nothing and from a start, follows regions, and does not fold."""

import pytest
import torch
import torch.nn.functional as F

from medapp.algorithms.deformable_refinement import Level, refine_field
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
    assert overlap(refine_field(image, image, levels=FAST, regions=(moving, fixed))) > 0.95
