"""Sliding window: tiles cover the picture, overlap, and leave no seam."""

from itertools import pairwise

import pytest
import torch

from medapp.algorithms.sliding_window import find_tile_starts, make_blend_weights, run_tiled


def blurred(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    assert labels.shape[1:] == x.shape[2:]
    return torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False) + labels[:, None] * 0.01


@pytest.mark.parametrize("size", [(200, 90), (90, 131), (150, 150), (64, 60)])
def test_tiles_leave_no_seam(size):
    torch.manual_seed(0)
    x, labels = torch.rand(1, 3, *size), torch.randint(1, 9, (1, *size))
    called = []
    out = run_tiled(blurred, x, labels, called.append, whole=80, side=64, overlap=16)
    whole = blurred(x, labels)
    assert float((out - whole).abs().mean()) < 2e-3, "but for the two outermost pixels of a tile they agree"
    assert float((out - whole).abs().max()) < 0.05
    assert called == sorted(called) and called[0] == 0


def test_tiles_cover_everything_and_overlap():
    for length in (64, 65, 100, 1000):
        found = find_tile_starts(length, 64, 16)
        assert found[0] == 0 and found[-1] == max(0, length - 64)
        assert all(b - a <= 48 for a, b in pairwise(found))
    assert float(make_blend_weights(64, 16).min()) > 0 and float(make_blend_weights(64, 16).max()) == 1
