"""RSANet is the authors' network: same parameters, same outputs, at even and at odd sizes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medapp.networks.rsanet import ATTENTION_AXES, RecurrentSliceAttention, RSANet, compute_slice_weights, mix_slices

PARITY = Path(__file__).parent.parent / "parity"
SMALL = dict(in_channels=1, groups=None, widths=(4, 8, 16, 32, 64))


@torch.no_grad()
def test_reproduces_the_authors_block():
    block, fixture = RecurrentSliceAttention(6), np.load(PARITY / "rsa_block.npz")
    block.load_state_dict(load_file(PARITY / "rsa_block.safetensors"), strict=True)
    y, weights = block.attend(torch.from_numpy(fixture["x"]))
    np.testing.assert_allclose(y.numpy(), fixture["y"], rtol=0, atol=1e-5)
    assert [tuple(w.shape) for w in weights] == [(2, 5, 5), (2, 7, 7), (2, 4, 4)]
    theta, phi, g = (torch.from_numpy(fixture[name]) for name in ("theta", "phi", "g"))
    for axis, name in zip(ATTENTION_AXES, ("coronal", "sagittal", "axial"), strict=True):
        mixed = mix_slices(compute_slice_weights(theta, phi, axis), g, axis)
        np.testing.assert_allclose(mixed.numpy(), fixture[f"sa_{name}"], rtol=0, atol=1e-5)


@torch.no_grad()
def test_reproduces_the_authors_output():
    net, fixture = RSANet(**SMALL).eval(), np.load(PARITY / "rsanet_small_bn.npz")
    net.load_state_dict(load_file(PARITY / "rsanet_small_bn.safetensors"), strict=True)
    y = net(torch.from_numpy(fixture["x"]))
    np.testing.assert_allclose(y.numpy(), fixture["y"], rtol=0, atol=1e-5)


def test_the_release_builds():
    net = RSANet()
    assert sum(p.numel() for p in net.parameters()) == 24_554_339
    assert len(net.state_dict()) == 74


@torch.no_grad()
def test_an_odd_side_loses_the_first_slice_on_the_way_up():
    net = RSANet(**SMALL, form="000").eval()
    up = net.up_concat1
    skip, coarse = torch.randn(1, 4, 5, 6, 7), torch.randn(1, 8, 3, 3, 4)
    fine = up.up.up(coarse)[:, :, 1:, :, 1:]
    torch.testing.assert_close(up(skip, coarse), up.conv(torch.cat([skip, fine], 1)))


@torch.no_grad()
@pytest.mark.parametrize("form", ["000", "010", "111"])
@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("size", [(1, 16, 17), (19, 33, 30)])
def test_any_size_comes_back(form, block, size):
    net = RSANet(3, 2, 4, (8, 16, 32), form, block).eval()
    assert net(torch.rand(2, 2, *size)).shape == (2, 3, *size)


@torch.no_grad()
def test_attention_starts_as_nothing_and_its_weights_are_shares():
    net = RSANet(1, 1, 4, (8, 16, 32), "010").eval()
    plain = RSANet(1, 1, 4, (8, 16, 32), "000").eval()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if not k.startswith("rsa_")})
    x = torch.rand(1, 1, 16, 24, 20)
    torch.testing.assert_close(net(x), plain(x))
    weights = net.forward_with_attention(x)[1]
    assert [w.shape[1] for w in weights] == [6, 5, 4]
    for w in weights:
        torch.testing.assert_close(w.sum(-1), torch.ones(w.shape[:2]))


def test_widths_that_do_not_double_are_refused():
    with pytest.raises(ValueError, match="double"):
        RSANet(widths=(8, 16, 24))


def test_learns_through_the_slices():
    net = RSANet(1, 1, 4, (8, 16, 32), "111", 2)
    net(torch.rand(1, 1, 16, 16, 16)).square().mean().backward()
    assert all(float(beta.grad.abs()) > 0 for beta in net.rsa_block.betas)
