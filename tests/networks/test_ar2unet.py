"""AR2-UNet is the authors' network: same parameters, same outputs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medapp.networks.ar2unet import AR2UNet

PARITY = Path(__file__).parent.parent / "parity"


@pytest.fixture(scope="module")
def fixture():
    return np.load(PARITY / "ar2unet_small.npz")


@pytest.fixture
def net():
    net = AR2UNet(3, 1, width=4)
    net.load_state_dict(load_file(PARITY / "ar2unet_small.safetensors"), strict=True)
    return net


def test_reproduces_the_authors_output(net, fixture):
    with torch.no_grad():
        y = net.eval()(torch.from_numpy(fixture["x"]))
    np.testing.assert_allclose(y.numpy(), fixture["y"], rtol=0, atol=1e-5)


def test_reproduces_the_authors_encoder_and_gate(net, fixture):
    net.eval()
    with torch.no_grad():
        encoded = net.Encoder1(torch.from_numpy(fixture["x"]))
        gated = net.Attention4(torch.from_numpy(fixture["att_x"]), torch.from_numpy(fixture["att_g"]))
    np.testing.assert_allclose(encoded.numpy(), fixture["enc1"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(gated.numpy(), fixture["att4"], rtol=0, atol=1e-5)


def test_shared_norm_is_updated_three_times_in_training(net, fixture):
    net.train()
    y = net(torch.from_numpy(fixture["x"])).detach()
    norm = net.Encoder1.RCNN[0].conv[1]
    assert norm.num_batches_tracked == fixture["train_nbt"] == 3
    # batch statistics enlarge what the order of a sum changes, so single values are off by more than in eval mode
    np.testing.assert_allclose(y.numpy(), fixture["y_train"], rtol=0, atol=5e-3)
    assert np.abs(y.numpy() - fixture["y_train"]).mean() < 2e-4
    np.testing.assert_allclose(norm.running_mean.numpy(), fixture["train_rm"], rtol=0, atol=1e-5)


def test_the_two_gates_share_parameters_and_differ_in_result(fixture):
    nets = {}
    for gate in ("decoder", "encoder"):
        nets[gate] = AR2UNet(3, 1, width=4, gate=gate).eval()
        nets[gate].load_state_dict(load_file(PARITY / "ar2unet_small.safetensors"), strict=True)
    with torch.no_grad():
        a, b = (net(torch.from_numpy(fixture["x"])) for net in nets.values())
    assert (a - b).abs().max() > 1e-3


def test_paper_width_has_the_published_number_of_parameters():
    net = AR2UNet(3, 1)
    assert sum(p.numel() for p in net.parameters()) == 39_796_182
    assert len(net.state_dict()) == 265
    with torch.no_grad():
        assert net.eval()(torch.zeros(1, 3, 32, 16)).shape == (1, 1, 32, 16)
