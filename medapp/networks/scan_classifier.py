"""Scan classifier: a few small multilayer perceptrons that tell from measures of a head what kind of scan shows it."""

import math

import torch
from torch import Tensor, nn


class ScanClassifier(nn.Module):
    """Perceptrons of two hidden layers on standardized measures; together they are less sure of what they do not know.

    They begin differently and are trained on the same; their probabilities are averaged (deep ensembles,
    Lakshminarayanan et al. 2017, arXiv:1612.01474).
    """

    def __init__(self, measures: int, classes: int, width: int = 64, members: int = 5) -> None:
        super().__init__()
        self.standardize = nn.BatchNorm1d(measures, affine=False)
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(measures, width),
                nn.ReLU(),
                nn.Dropout(0.3),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Dropout(0.3),
                nn.Linear(width, classes),
            )
            for _ in range(members)
        )

    def measure_oddness(self, x: Tensor) -> Tensor:
        """Return how far measures (B, measures) lie from those trained on, (B,): about 1 for the usual."""
        return self.standardize(x).clamp(-8, 8).square().mean(-1).sqrt()

    def forward_members(self, x: Tensor) -> Tensor:
        """Return the logits of every perceptron, (members, B, classes), of measures (B, measures)."""
        x = self.standardize(x).clamp(-5, 5)
        return torch.stack([member(x) for member in self.members])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities, (B, classes), of measures (B, measures)."""
        return self.forward_members(x).log_softmax(-1).logsumexp(0) - math.log(len(self.members))
