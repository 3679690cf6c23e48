"""The way back: there and back again ends where it began."""

import torch
import torch.nn.functional as F

from medapp.algorithms.field_inversion import invert_field
from medapp.networks.textscf import warp


def wavy(*size: int, height: float) -> torch.Tensor:
    knots = torch.randn(1, 3, 5, 5, 5, generator=torch.Generator().manual_seed(3)) * height
    return F.interpolate(knots, size, mode="trilinear", align_corners=True)[0]


def test_there_and_back_ends_where_it_began():
    flow = wavy(40, 70, 66, height=2.0)
    back, miss = invert_field(flow)
    round_trip = back + warp(flow[None], back[None])[0]
    inner = (slice(6, -6),) * 3
    assert float(round_trip[(slice(None), *inner)].norm(dim=0).max()) < 0.02
    torch.testing.assert_close(miss[inner], round_trip.norm(dim=0)[inner], atol=2e-3, rtol=0)
    assert float(back.norm(dim=0).max()) > 2, "it is no small field"


def test_what_folds_is_told_and_what_is_not_asked_for_is_left():
    flow = torch.zeros(3, 32, 32, 32)
    flow[0, 10:16] = -9.0
    where = torch.zeros(32, 32, 32, dtype=torch.bool)
    where[4:20] = True
    back, miss = invert_field(flow, where)
    round_trip = (back + warp(flow[None], back[None])[0]).norm(dim=0)
    torch.testing.assert_close(miss[where], round_trip[where], atol=2e-3, rtol=0)
    assert float(miss.max()) > 0.1 and not miss[~where].any()
