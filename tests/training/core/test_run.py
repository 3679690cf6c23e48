"""A run of a training survives a batch that cannot be learned from."""

import torch
from torch import nn

from training.core.random_source import RandomSource
from training.core.run import Run


def test_a_step_without_a_finite_gradient_is_left_out(tmp_path, capsys):
    net = nn.Linear(2, 1)
    run = Run(tmp_path, net, torch.optim.SGD(net.parameters(), lr=0.1), RandomSource(0).generator, 10)
    before = net.weight.clone()
    run.optimize(net(torch.tensor([[float("nan"), 1.0]])).sum())
    assert torch.equal(net.weight, before) and run.step == 1
    assert "step 0 is left out" in capsys.readouterr().out
    run.optimize(net(torch.ones(1, 2)).sum())
    assert not torch.equal(net.weight, before) and net.weight.isfinite().all()
