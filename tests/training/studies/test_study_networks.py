"""Networks from papers: as many parameters as published, any size, and able to learn."""

from functools import partial

import pytest
import torch
from torch import nn

from medapp.algorithms.ms_input import INPUT_CHANNELS
from medapp.networks.ar2unet import AR2UNet, RecurrentResidual
from medapp.networks.rsanet import RSANet
from training.core.lesion_losses import dice_cross_entropy
from training.core.random_source import RandomSource
from training.studies import ms
from training.studies.networks.clcinet import CLCINet, ConvLSTM
from training.studies.networks.dunet import DUNet
from training.studies.networks.nonlocal_attention import NonLocalAttention
from training.studies.networks.unet import UNet
from training.studies.networks.xnet import FeatureSimilarity, XNet

NETWORKS = {
    "xnet": XNet,
    "clcinet": partial(CLCINet, dropout=0.0),
    "dunet": partial(DUNet, dropout=0.0),
    "unet": UNet,
    "gated": partial(UNet, gated=True),
    "recurrent": partial(UNet, block=RecurrentResidual),
}


@pytest.mark.parametrize(("build", "count"), [(XNet, 15_117_646), (CLCINet, 36_838_305), (DUNet, 8_640_163)])
def test_parameters_are_as_many_as_published(build, count):
    with torch.device("meta"):
        net = build()
    statistics = [each for each in net.buffers() if each.is_floating_point()]  # which Keras counts too
    assert sum(each.numel() for each in [*net.parameters(), *statistics]) == count


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_one_batch_is_learned(build):
    torch.manual_seed(0)
    net, y = build(in_channels=5, width=4), torch.zeros(2, 1, 32, 48)
    y[:, :, 8:20, 10:30] = 1
    x = torch.randn(2, 5, 32, 48) + 2 * y
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        losses.append(loss := dice_cross_entropy(logits := net(x), y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert logits.shape == y.shape
    assert losses[-1] < losses[0] / 2
    assert all(p.grad is not None for p in net.parameters())


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_the_third_dimension_may_be_short_or_odd(channels):
    assert DUNet(channels, 2).eval()(torch.randn(1, channels, 16, 32)).shape == (1, 1, 16, 32)


@torch.no_grad()
def test_similarity_is_the_matrix_of_all_places_without_the_matrix():
    block, x = FeatureSimilarity(32).eval(), torch.randn(2, 32, 6, 5)
    y = block.enter(x)
    theta, phi, g = (layer(y).flatten(2) for layer in (block.theta, block.phi, block.g))
    similar = theta.mT @ phi / 30  # (B, N, N): how like every other place each is
    mixed = (similar @ g.mT).mT.unflatten(2, (6, 5))
    torch.testing.assert_close(block(x), x + block.leave(y + block.out(mixed)))


@torch.no_grad()
def test_the_sequence_is_read_in_order():
    lstm = ConvLSTM(3)
    a, b = torch.randn(2, 1, 3, 8, 8)
    assert lstm(a, b).shape == a.shape
    assert not torch.allclose(lstm(a, b), lstm(b, a))
    torch.testing.assert_close(lstm(a, b)[..., :3, :3], lstm(a[..., :6, :6], b[..., :6, :6])[..., :3, :3])


def test_both_parts_of_ar2unet_make_ar2unet():
    ours, parts = AR2UNet(3, 1, 8), UNet(3, 8, RecurrentResidual, gated=True)
    unused = sum(p.numel() for p in ours.Decoder1.parameters())
    assert sum(p.numel() for p in parts.parameters()) == sum(p.numel() for p in ours.parameters()) - unused


@torch.no_grad()
def test_non_local_attention_is_softmax_over_all_voxels():
    block, x = NonLocalAttention(8), torch.randn(2, 8, 3, 4, 2)
    torch.testing.assert_close(block(x), x)  # at first
    nn.init.ones_(block.beta)
    q, k, v = (layer(x).flatten(2) for layer in (block.theta, block.phi, block.g))
    y = v @ (q.mT @ k / 8**0.5).softmax(-1).mT
    torch.testing.assert_close(block(x), x + y.reshape(x.shape), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_rsanet_takes_non_local_attention():
    net, x = ms.build_with_attention("non-local")(1 / 16).eval(), RandomSource(0).normal(1, INPUT_CHANNELS, 34, 32, 32)
    assert isinstance(net, RSANet)
    plain = ms.build_with_attention("000")(1 / 16).eval()
    plain.load_state_dict(net.state_dict(), strict=False)
    torch.testing.assert_close(net(x), plain(x))  # it learns from zero
    nn.init.ones_(net.rsa_block.beta)
    assert not torch.allclose(net(x), plain(x))
