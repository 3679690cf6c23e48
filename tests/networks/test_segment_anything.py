"""Segment Anything's decoder in another order gives the same masks; what stands in for torchvision's part is right."""

from types import SimpleNamespace

import pytest
import torch

from medapp.networks import torchvision_compat
from medapp.networks.sam_decoder import decode_masks

WIDTH, GRID = 32, (6, 8)


@pytest.fixture(scope="module")
def net():
    """Prompt encoder and mask decoder of segment-anything, small and untrained, with nothing left at 0 or 1."""
    torchvision_compat.import_torchvision()
    from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

    torch.manual_seed(0)
    prompts = PromptEncoder(WIDTH, GRID, (96, 128), mask_in_chans=4)
    transformer = TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=64, num_heads=8)
    net = SimpleNamespace(
        prompt_encoder=prompts, mask_decoder=MaskDecoder(transformer_dim=WIDTH, transformer=transformer)
    )
    for part in (prompts, net.mask_decoder):
        for parameter in part.eval().requires_grad_(False).parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return net


def theirs(net, features, points):
    sparse, dense = net.prompt_encoder((points[:, None], torch.ones(len(points), 1, dtype=torch.int)), None, None)
    place = net.prompt_encoder.get_dense_pe()
    return net.mask_decoder(features, place, sparse, dense, multimask_output=True)


@pytest.mark.parametrize("count", [1, 5])
def test_the_same_masks_in_another_order(net, count):
    torch.manual_seed(count)
    features, points = torch.randn(1, WIDTH, *GRID), torch.rand(count, 2) * 90
    masks, scores = theirs(net, features, points)
    least = float(scores.flatten().sort().values[1:3].mean())  # between two of them
    drawn = decode_masks(net, features, points, least)
    torch.testing.assert_close(drawn.scores, scores, atol=1e-5, rtol=1e-5)
    assert torch.equal(drawn.kept, scores > least) and 0 < drawn.kept.sum() < drawn.kept.numel()
    torch.testing.assert_close(drawn.masks, masks[scores > least], atol=1e-4, rtol=1e-4)


def test_nothing_is_drawn_where_nothing_suffices(net):
    drawn = decode_masks(net, torch.randn(1, WIDTH, *GRID), torch.rand(3, 2) * 90, 1e9)
    assert drawn.masks.shape == (0, 4 * GRID[0], 4 * GRID[1]) and not drawn.kept.any()


def test_sixteen_bits_stay_near(net):
    features, points = torch.randn(1, WIDTH, *GRID), torch.rand(4, 2) * 90
    plain, half = (decode_masks(net, features, points, -1e9, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert half.masks.dtype == torch.float32
    assert (half.masks - plain.masks).norm() < 0.05 * plain.masks.norm()


def test_boxes_that_a_better_one_covers_go():
    torch.manual_seed(0)
    corner, scores = torch.rand(60, 2) * 50, torch.rand(60)
    boxes = torch.cat([corner, corner + 5 + torch.rand(60, 2) * 40], 1)

    def overlap(a, b):
        sides = (torch.min(a[2:], b[2:]) - torch.max(a[:2], b[:2])).clamp(min=0)
        areas = [(box[2:] - box[:2]).prod() for box in (a, b)]
        return sides.prod() / (sum(areas) - sides.prod())

    kept: list[int] = []
    for number in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[number], boxes[other]) <= 0.4 for other in kept):
            kept.append(number)
    assert torchvision_compat.suppress_non_maxima(boxes, scores, 0.4).tolist() == kept and 1 < len(kept) < 60
    assert torchvision_compat.suppress_non_maxima(boxes[:0], scores[:0], 0.4).tolist() == []
