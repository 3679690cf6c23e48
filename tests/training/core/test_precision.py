"""Trainings on a CPU compute in float32, since gradients in bfloat16 are wrong there."""

import pytest
import torch
from torch.nn import functional

from medapp.networks.ar2unet import AR2UNet
from training.core.precision import autocast
from training.studies.networks.dunet import DUNet

FLAT = (16, 16, 2, 16, 20)  # two slices deep


def gradients(context: torch.autocast) -> tuple[torch.Tensor, ...]:
    """Of the sum of a convolution of noise, for the image and for the weights."""
    torch.manual_seed(0)
    x, weight = torch.randn(FLAT).requires_grad_(), torch.randn(FLAT[1], FLAT[1], 3, 3, 3).requires_grad_()
    unset = [torch.full((n,), 3e38) for n in (1000, 50_000, 400_000, 3_000_000)]  # what memory may hold
    del unset
    with context:
        out = functional.conv3d(x, weight, padding=1)
    return torch.autograd.grad(out.float().sum(), (x, weight))


def assert_near(found: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=0, atol=0.05 * float(other.abs().max()))


def test_gradients_on_a_cpu_are_those_of_float32():
    assert_near(gradients(autocast("cpu")), gradients(torch.autocast("cpu", enabled=False)))


@pytest.mark.xfail(strict=False, reason="oneDNN 3.12 of torch 2.13; once it passes, trainings on CPUs may use bfloat16")
def test_gradients_in_bfloat16_are_near():
    assert_near(gradients(torch.autocast("cpu", torch.bfloat16)), gradients(torch.autocast("cpu", enabled=False)))


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_graphics_card_computes_in_bfloat16():
    context = autocast("cuda:1")
    assert context.device == "cuda" and context.fast_dtype == torch.bfloat16
    assert not autocast(torch.device("cpu"))._enabled


def test_a_network_with_a_level_two_slices_deep_has_the_gradients_of_float32():
    net, found = DUNet(5, 8), []
    x = torch.randn(4, 5, 64, 80)
    for context in (torch.autocast("cpu", enabled=False), autocast("cpu"), autocast("cpu")):
        net.zero_grad()
        with context:
            net.eval()(x).float().square().mean().backward()
        found.append((net.deeps[2][0].weight.grad.clone(),))
    for each in found[1:]:
        assert_near(each, found[0])


@pytest.mark.parametrize("side", [64, 112])
def test_the_gradients_of_a_flat_network_are_near_those_of_float32(side):
    """Whatever a CPU computes it in."""
    torch.manual_seed(0)
    net, found = AR2UNet(3, 1, 8, "decoder").eval(), []
    x = torch.randn(4, 3, side, side).contiguous(memory_format=torch.channels_last)
    for context in (torch.autocast("cpu", enabled=False), autocast("cpu", flat=True)):
        net.zero_grad()
        with context:
            functional.binary_cross_entropy_with_logits(net(x).float(), (x[:, 1:2] > 0.5).float()).backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert functional.cosine_similarity(*found, dim=0) > 0.99
    assert float(found[1].norm() / found[0].norm()) == pytest.approx(1, abs=0.05)
