"""Focal region loss and training loop of the three RAT methods.

A training is a `draw` of random patches, a set of fixed held-out ones, and this loop; it writes `checkpoint.pt`, from
which a killed run goes on, `best.safetensors` and `log.csv`.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.core.options import TrainingParser
from training.core.precision import autocast
from training.core.run import Run, half_precision_state

SEED = 20261121


class Patch(NamedTuple):
    """`x`, `y` (C, H, W) float32, low and full quality in the network's units; `labels` (H, W) of integers from 0."""

    x: np.ndarray
    labels: np.ndarray
    y: np.ndarray


PatchSampler = Callable[[np.random.Generator], Patch]


def focal_region_loss(output: Tensor, target: Tensor, labels: Tensor, beta: float = 1e-3) -> Tensor:
    """Return the mean absolute error of (B, C, H, W), in which regions (B, H, W) with large errors weigh up to 1 +
    `beta`.

    Yang et al. 2024, arXiv:2407.09268: the weight of a region is its mean error over that of the worst region in the
    batch.
    """
    error = (output - target).abs()
    key = labels.long()
    key = key + (key.amax() + 1) * torch.arange(len(key), device=key.device)[:, None, None]
    flat = key.flatten()
    total = torch.zeros(int(flat.max()) + 1, device=flat.device)
    count = total.index_add(0, flat, torch.ones_like(flat, dtype=total.dtype))
    total = total.index_add(0, flat, error.detach().float().mean(1).flatten())
    mean = total / count.clamp(min=1)
    weight = (mean / mean.amax().clamp(min=1e-12))[key][:, None]
    return (error * (1 + beta * weight)).mean()


def psnr_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of minus the PSNR in decibels of (B, C, H, W) in 0..1, at most 48 dB a picture.

    Chen et al. 2022, arXiv:2204.04676; every patch counts alike, however small its error, as in a mean of PSNR.
    """
    error = (output - target).square().mean((1, 2, 3))
    return 10 * torch.log10(error + 255**-2).mean()


def equalize_errors(x: Tensor, y: Tensor) -> Tensor:
    """Return weights (B, 1, 1, 1) of mean 1 with which every patch of the batch starts from the same error."""
    weight = 1 / (x[:, : y.shape[1]] - y).abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-3)
    return weight / weight.mean()


def expand_weights(weights: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Return weights in float32 that fit `net`; those of a network with fewer channels are filled up with zeros."""
    full = {name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    for name, tensor in weights.items():
        full[name][tuple(slice(n) for n in tensor.shape)] = tensor.float()
    return full


def draw_batch(draw: PatchSampler, size: int, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw patches and stack them: x (B, C, H, W), labels (B, H, W), y (B, C, H, W)."""
    patches = [draw(random) for _ in range(size)]
    return tuple(torch.from_numpy(np.stack(part)) for part in zip(*patches, strict=True))


def orient_randomly(patch: Patch, random: np.random.Generator) -> Patch:
    """Return the patch in one of the eight orientations of a square."""
    quarter, mirror = int(random.integers(4)), bool(random.integers(2))

    def turn(array: np.ndarray) -> np.ndarray:
        array = np.rot90(array, quarter, (-2, -1))
        return np.ascontiguousarray(array[..., ::-1] if mirror else array)

    return Patch(*map(turn, patch))


@torch.inference_mode()
def psnr_gain(net: nn.Module, held: Sequence[Patch], device: torch.device) -> float:
    """Return the mean PSNR in decibels that the network adds to held-out patches; only the target's channels count."""
    gains = []
    for patch in held:
        x, labels, y = (torch.from_numpy(part)[None].to(device) for part in patch)
        with autocast(device):
            out = net(x, labels).float()[:, : y.shape[1]]
        before, after = (x[:, : y.shape[1]] - y).square().mean(), (out - y).square().mean()
        gains.append(10 * math.log10(float(before) / float(after)))
    return float(np.mean(gains))


def train_restoration(
    build: Callable[[], nn.Module] | None, draw: PatchSampler, held: Sequence[Patch], args: argparse.Namespace
) -> None:
    """Train what `build` makes on patches drawn anew at every step; what scores best on `held` is kept.

    Raises ValueError where `build`, that of a card, is None.
    """
    if build is None:
        raise ValueError("this method has no network to train")
    device, out = torch.device(args.device), Path(args.out)
    torch.manual_seed(SEED)
    net = build().to(device, memory_format=torch.channels_last)
    nn.init.zeros_(net.ending.weight)  # at first what goes in comes out
    nn.init.zeros_(net.ending.bias)
    if args.like:
        net.load_state_dict(expand_weights(load_file(args.like), net))
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    run = Run(out, net, optimizer, torch.Generator(), args.steps, best=-math.inf)
    while not run.is_finished:
        net.train()
        x, labels, y = draw_batch(draw, args.batch, np.random.default_rng((SEED, run.step)))
        with autocast(device):
            output = net(x.to(device, memory_format=torch.channels_last), labels.to(device))
        y = y.to(device)
        output = output.float()[:, : y.shape[1]]
        if args.loss == "psnr":
            loss = psnr_loss(output, y)
        else:
            weight = equalize_errors(x.to(device), y) if args.even else 1
            loss = focal_region_loss(output * weight, y * weight, labels.to(device), args.beta)
        run.optimize(loss)
        late = run.is_over_time(args.minutes)
        if run.step % args.every == 0 or run.is_finished or late:
            served = run.average.module.eval()
            score = psnr_gain(served, held, device)
            run.log_scores({"gain_db": score})
            if run.update_best(score):
                save_file(half_precision_state(served.state_dict()), out / "best.safetensors")
        else:
            run.print_progress()
        if run.is_checkpoint_due(args.keep) or run.is_finished or late:
            run.save_checkpoint()
        if late:
            break


def restoration_parser(about: str, steps: int) -> TrainingParser:
    """Return the parser of the options that all three restoration trainings share."""
    made = TrainingParser(about, steps=steps, rate=1e-3, every=250)
    made.add_argument("--batch", type=int, default=8)
    made.add_argument(
        "--loss", default="region", choices=("region", "psnr"), help="focal region loss, or minus the PSNR"
    )
    made.add_argument("--beta", type=float, default=0.1, help="weight of regions in the focal region loss")
    made.add_argument(
        "--even", action="store_true", help="weight patches with low noise as much as those with high noise"
    )
    return made
