"""RAT is the authors' network: same parameters, same outputs; its attention is the dense one without the memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from medapp.networks.rat import RAT, RegionAttention
from medapp.networks.region_tokens import plan_attention

PARITY = Path(__file__).parent.parent / "parity"
SMALL = dict(img_channel=1, width=16, middle_blk_num=6, enc_blk_nums=(1, 2), dec_blk_nums=(2, 1))
FINER = dict(scale=2, img_channel=3, width=16, middle_blk_num=3, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1))


@pytest.mark.parametrize(("name", "shape"), [("rat_small", SMALL), ("rat_sr", FINER)])
@torch.no_grad()
def test_reproduces_the_authors_output(name, shape):
    net, fixture = RAT(**shape).eval(), np.load(PARITY / f"{name}.npz")
    net.load_state_dict(load_file(PARITY / f"{name}.safetensors"), strict=True)
    y = net(torch.from_numpy(fixture["x"]), torch.from_numpy(fixture["mask"]))
    np.testing.assert_allclose(y.numpy(), fixture["y"], rtol=0, atol=1e-4)


@torch.no_grad()
def test_reproduces_the_authors_first_layer():
    net, fixture = RAT(**SMALL).eval(), np.load(PARITY / "rat_small.npz")
    net.load_state_dict(load_file(PARITY / "rat_small.safetensors"), strict=True)
    x = torch.from_numpy(fixture["layer0_in"]).permute(0, 2, 3, 1)
    y = net.middle_blks[0].layers[0](x, plan_attention(torch.from_numpy(fixture["mask_down"][:, 0])))
    np.testing.assert_allclose(y.permute(0, 3, 1, 2).numpy(), fixture["layer0_out"], rtol=0, atol=1e-4)


def test_the_papers_size_builds():
    net = RAT()
    assert sum(p.numel() for p in net.parameters()) == 15_945_025
    assert len(net.state_dict()) == 474


def dense(layer: RegionAttention, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The release's form: all tokens of an image, with -1000 between regions."""
    q, k, v = (x.flatten(1, 2) @ layer.qkv.weight.flatten(1).T + layer.qkv.bias).unflatten(-1, (3, 8, -1)).unbind(2)
    flat = labels.flatten(1)
    bias = (flat[:, :, None] != flat[:, None]) * -1000.0
    weight = (torch.einsum("bnhd,bmhd->bhnm", q, k) * 8**-0.5 + bias[:, None]).softmax(-1)
    y = torch.einsum("bhnm,bmhd->bnhd", weight, v).flatten(2)
    return (y @ layer.project_out.weight.flatten(1).T + layer.project_out.bias).view_as(x)


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3, 40])
def test_attention_by_region_is_the_dense_one(count):
    random = torch.Generator().manual_seed(count)
    layer, x = RegionAttention(16), torch.randn(2, 12, 10, 16, generator=random)
    labels = torch.randint(0, count, (2, 12, 10), generator=random)
    torch.testing.assert_close(layer(x, plan_attention(labels)), dense(layer, x, labels), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_region_beyond_the_limit_is_cut_into_squares():
    labels = torch.zeros(2, 16, 24, dtype=torch.int64)
    labels[1, :, :3] = 5
    pieces = labels.clone()  # what the cut must amount to: squares of 8 by 8 in the large regions, the small one whole
    square = torch.arange(16)[:, None] // 8 * 3 + torch.arange(24) // 8 + 10
    pieces[labels == 0] = square.expand(2, 16, 24)[labels == 0]
    layer, x = RegionAttention(16), torch.randn(2, 16, 24, 16)
    assert (labels[1] == 5).sum() < 64
    torch.testing.assert_close(
        layer(x, plan_attention(labels, limit=64)), dense(layer, x, pieces), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("size", [(33, 50), (5, 16), (1, 1), (40, 40)])
def test_any_size_comes_back(size):
    net = RAT(**SMALL).eval()
    assert net(torch.rand(1, 1, *size), torch.ones(1, *size)).shape == (1, 1, *size)
    assert RAT(**FINER).eval()(torch.rand(1, 3, *size), torch.ones(1, 2 * size[0], 2 * size[1])).shape[2] == 2 * size[0]


def test_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match="labels must be"):
        RAT(**SMALL)(torch.rand(1, 1, 32, 32), torch.ones(1, 16, 16))


def test_learns_through_the_regions():
    net, x = RAT(**SMALL), torch.rand(2, 1, 32, 32)
    for name, value in net.named_parameters():
        if "lambda" in name:
            value.data.fill_(0.1)
    net(x, torch.randint(0, 3, (2, 32, 32))).square().mean().backward()
    assert net.middle_blks[0].layers[0].ra.qkv.weight.grad.abs().max() > 0
