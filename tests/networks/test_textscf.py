"""TextSCF is the authors' network: same parameters, same fields; and what we add to it does what it says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medapp.networks.textscf import (
    TextSCF,
    integrate_velocity,
    make_background_embedding,
    warp,
)

PARITY = Path(__file__).parent.parent / "parity"
GRIDS = ("transformer.grid", "integrate.transformer.grid")  # the release's buffers that only hold voxel indices
SMALL = dict(width=4, dim=24, hidden=12)
close = dict(rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def fixture():
    return {name: torch.from_numpy(value) for name, value in np.load(PARITY / "textscf_small.npz").items()}


def released(fixture, **options) -> TextSCF:
    """The network with the authors' weights, without their grids and with the text features they were trained on."""
    state = load_file(PARITY / "textscf_small.safetensors")
    state = {name: value for name, value in state.items() if name not in GRIDS}
    net = TextSCF(**SMALL, **options).eval()
    net.load_state_dict(state | {"text": fixture["text_features"].float()}, strict=True)
    return net


@torch.no_grad()
@pytest.mark.parametrize("integrated", [False, True])
def test_reproduces_the_authors_fields(fixture, integrated):
    net, run = released(fixture, diffeomorphic=integrated), f"d{int(integrated)}"
    flow = net(fixture["x"], fixture["y"], fixture["y_seg"][:, 0])
    torch.testing.assert_close(flow.feature, fixture["d0_d2"], **close)
    torch.testing.assert_close(flow.raw, fixture["d0_halfflow"], **close)
    torch.testing.assert_close(flow.flow[..., ::3, ::3, ::3], fixture[f"{run}_flow_sampled"], **close)
    warped = warp(fixture["x"], flow.flow)[..., ::3, ::3, ::3]
    torch.testing.assert_close(warped, fixture[f"{run}_warped_sampled"], **close)
    if integrated:
        torch.testing.assert_close(flow.raw / 2, fixture["d1_preint"], **close)


@torch.no_grad()
def test_reproduces_the_authors_filters_and_integration(fixture):
    torch.testing.assert_close(released(fixture).make_filters(), fixture["filters_xyz"], **close)
    torch.testing.assert_close(integrate_velocity(fixture["vecint_in"]), fixture["vecint_out"], **close)


@torch.no_grad()
def test_filters_made_beforehand_serve_as_well(fixture):
    net = released(fixture)
    inputs = fixture["x"], fixture["y"], fixture["y_seg"][:, 0]
    filters = net.make_filters(fixture["text_features"])
    torch.testing.assert_close(net(*inputs, filters).flow, net(*inputs).flow)


@torch.no_grad()
def test_a_filter_moves_its_own_region_and_no_other(fixture):
    net = released(fixture)
    x, y, labels = fixture["x"], fixture["y"], fixture["y_seg"][:, 0]
    filters = net.make_filters()
    other = filters.clone()
    other[:, 17] += 1
    changed = (net(x, y, labels, other).half != net(x, y, labels, filters).half).any(1)
    torch.testing.assert_close(changed, labels[:, ::2, ::2, ::2] == 17)


def test_the_authors_sizes_build():
    with torch.device("meta"):
        large, small = TextSCF(), TextSCF(width=8)
    assert sum(p.numel() for p in large.parameters()) == 163_737_623
    assert sum(p.numel() for p in small.parameters()) == 32_168_535
    assert large.text.shape == (36, 768)


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 32, 48), (48, 16, 16)])
@pytest.mark.parametrize("integrated", [False, True])
def test_any_size_by_sixteens(size, integrated):
    net, x = TextSCF(**SMALL, diffeomorphic=integrated), torch.rand(2, 1, *size)
    flow = net(x, x, torch.randint(0, 36, (2, *size)))
    assert flow.flow.shape == (2, 3, *size)
    assert flow.half.shape == (2, 3, *(n // 2 for n in size))


def test_other_sizes_are_refused():
    x = torch.rand(1, 1, 24, 32, 32)
    with pytest.raises(ValueError, match="by sixteens"):
        TextSCF(**SMALL)(x, x, torch.zeros(1, 24, 32, 32))


def test_learns_through_the_text():
    net, x = TextSCF(**SMALL), torch.rand(1, 1, 16, 16, 16)
    text = torch.randn(36, 24, requires_grad=True)
    net(x, x.flip(2), torch.full((1, 16, 16, 16), 5), net.make_filters(text)).flow.square().mean().backward()
    assert text.grad[5].abs().max() > 0
    assert text.grad[6].abs().max() == 0


def test_the_background_is_at_right_angles_to_the_regions():
    text = torch.randn(35, 64, generator=torch.Generator().manual_seed(0))
    vector = make_background_embedding(text)
    assert (text @ vector).abs().max() < 1e-4 and vector.norm().item() == pytest.approx(1)
    assert (make_background_embedding(text + 1e-3 * text.flip(0)) - vector).norm() < 0.05


@torch.no_grad()
def test_warp_moves_along_the_named_axis():
    image = torch.zeros(1, 1, 6, 7, 8)
    image[0, 0, 3, 4, 5] = 1
    flow = torch.zeros(1, 3, 6, 7, 8)
    flow[:, 0], flow[:, 1], flow[:, 2] = 1, 2, -1
    for mode in ("bilinear", "nearest"):
        assert warp(image, flow, mode)[0, 0, 2, 2, 6] == pytest.approx(1, abs=1e-5)
