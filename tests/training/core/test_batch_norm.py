"""The scale of convolutions before batch norms may change, what the network computes may not."""

import pytest
import torch
from torch import nn

from training.core.batch_norm import restore_weight_scale
from training.core.run import half_precision_weights


@pytest.fixture
def net() -> nn.Module:
    """A network with a variance that float16 cannot hold, as unscaled images make it."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    made[1].running_var.copy_(torch.tensor([1e9, 1.0, 1e-2, 40.0]))
    made[1].running_mean.copy_(torch.tensor([1e4, 0.2, 0.0, -3.0]))
    return made


def test_weights_in_float16_compute_the_same(net):
    x = torch.randn(2, 1, 9, 9)
    served = half_precision_weights(net)
    assert all(value.isfinite().all() for value in served.values())
    assert served["1.running_var"].min() > 0.5
    wanted = net(x)
    net.load_state_dict(served)
    torch.testing.assert_close(net(x), wanted, rtol=0, atol=5e-3)


def test_learning_goes_on_from_served_weights_at_the_scale_of_fresh_ones(net):
    x = torch.randn(2, 1, 9, 9)
    net.load_state_dict(half_precision_weights(net))
    net[0].weight.data *= 1e-4
    net[0].bias.data *= 1e-4
    net[1].running_mean *= 1e-4
    net[1].running_var.fill_(1e-8 - net[1].eps)
    wanted = net(x)
    restore_weight_scale(net)
    assert float(net[0].weight.detach().std()) == pytest.approx((2 / 9) ** 0.5, rel=0.01)
    torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-4)
