"""A resumable training run, with its checkpoint, log and best score."""

import copy
import csv
import math
import time
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training.core.batch_norm import list_normalized_convolutions, scale_convolution

CHECKPOINT = "checkpoint.pt"  # in the folder of a run


class Run:
    """One training of `net` for so many `steps`, kept in the folder `out`, where it goes on if it was there before.

    `average` is the network with the exponential moving average of the weights, which is validated and served;
    `use_buffers` averages the buffers too. `generator`, on the CPU, is what the training draws from. The learning rate
    rises in `warmup` steps, then falls along a cosine. `best` is the score to beat, `losses` are those since the last
    line of the log.
    """

    def __init__(
        self,
        out: Path,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        steps: int,
        *,
        warmup: int = 100,
        decay: float = 0.998,
        use_buffers: bool = False,
        best: float = 0.0,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.generator, self.steps = out, generator, steps
        self.net, self.optimizer = net, optimizer
        self.average = AveragedModel(net, avg_fn=partial(update_average, decay=decay), use_buffers=use_buffers)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, partial(learning_rate_factor, steps=steps, warmup=warmup)
        )
        self.step, self.best, self.minutes_before, self.losses = 0, best, 0.0, list[Any]()
        self._parts = {"net": net, "average": self.average, "optimizer": optimizer, "scheduler": self.scheduler}
        if self._checkpoint.exists():
            kept = torch.load(self._checkpoint, next(net.parameters()).device, weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(kept[name])
            generator.set_state(kept["random"].cpu())
            if "dropout" in kept:
                torch.set_rng_state(kept["dropout"].cpu())
            self.step, self.best, self.minutes_before, self.losses = (
                kept[n] for n in ("step", "best", "minutes", "losses")
            )
        self.started = self.saved = time.time()

    @property
    def _checkpoint(self) -> Path:
        return self.out / CHECKPOINT

    @property
    def minutes(self) -> float:
        """The minutes that the run has taken, in all of its processes together."""
        return self.minutes_before + (time.time() - self.started) / 60

    @property
    def is_finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.steps

    def is_over_time(self, minutes: float) -> bool:
        """Return whether this process has run for so many minutes; 0 means no limit."""
        return bool(minutes) and time.time() - self.started > 60 * minutes

    def is_checkpoint_due(self, minutes: float) -> bool:
        """Return whether the last checkpoint is so many minutes old."""
        return time.time() - self.saved > 60 * minutes

    def optimize(self, loss: Tensor, *extra: float) -> None:
        """Take one step down the gradient of the loss; `extra` are further numbers for the log.

        A gradient that is not finite would end the training for good: that step is left out, and said.
        """
        self.optimizer.zero_grad()
        loss.backward()
        if nn.utils.clip_grad_norm_(self.net.parameters(), 1.0).isfinite():
            self.optimizer.step()
        else:
            print(f"step {self.step} is left out: its loss is {loss.item()}, or its gradient is not finite", flush=True)
        self.count_step([loss.item(), *extra] if extra else loss.item())

    def count_step(self, loss: Any) -> None:
        """Count a step of the optimiser: update schedule, average and log."""
        self.scheduler.step()
        self.average.update_parameters(self.net)
        self.losses.append(loss)
        self.step += 1

    def log_scores(self, scores: dict[str, float]) -> None:
        """Log the scores of a validation beside the mean loss since the last one."""
        loss = round(float(np.mean(self.losses)), 4)
        row = {"step": self.step, "loss": loss, "minutes": round(self.minutes, 1)}
        self.log_row(row | {name: round(value, 4) for name, value in scores.items()})

    def print_progress(self, every: int = 50) -> None:
        """Print the mean loss now and then."""
        if self.step % every == 0:
            print(self.step, np.mean(self.losses[-every:], 0).round(4), f"{self.minutes:.1f} min", flush=True)

    def log_row(self, row: dict[str, Any]) -> None:
        """Write a row to the screen, `log.csv` and, if it is installed, TensorBoard (`tensorboard --logdir OUT`)."""
        self.losses.clear()
        print(row, flush=True)
        fresh = not (self.out / "log.csv").exists()
        with (self.out / "log.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        if self.tensorboard:
            for name, value in row.items():
                self.tensorboard.add_scalar(name, value, self.step)
            self.tensorboard.flush()

    @cached_property
    def tensorboard(self) -> Any:
        """The TensorBoard writer, None if it is not installed."""
        if not find_spec("tensorboard"):
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.out), purge_step=self.step)

    def update_best(self, score: float) -> bool:
        """Keep the score if it is the best so far; return whether it is."""
        is_better = score > self.best
        self.best = max(score, self.best)
        return is_better

    def checkpoint(self, every: float, limit: float) -> bool:
        """Save a checkpoint if the last is `every` minutes old, the run is finished or the process has had its `limit`.

        Returns whether it has had its limit of minutes (0 for none), so that the loop ends.
        """
        is_over = self.is_over_time(limit)
        if is_over or self.is_finished or self.is_checkpoint_due(every):
            self.save_checkpoint()
        return is_over

    def averaged_network(self) -> nn.Module:
        """Return the averaged network with the buffers, such as norm statistics, of the trained one; in evaluation."""
        network = self.average.module
        network.load_state_dict(dict(self.net.named_buffers()), strict=False)
        return network.eval()

    def save_checkpoint(self) -> None:
        """Write the checkpoint atomically: a kill in the middle leaves the last one."""
        kept: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        kept |= {"random": self.generator.get_state(), "dropout": torch.get_rng_state()}
        kept |= {"step": self.step, "best": self.best, "minutes": self.minutes, "losses": self.losses}
        torch.save(kept, self._checkpoint.with_suffix(".tmp"))
        self._checkpoint.with_suffix(".tmp").replace(self._checkpoint)
        self.saved = time.time()


def update_average(average: Tensor, current: Tensor, count: Tensor | int, decay: float = 0.998) -> Tensor:
    """Return the exponential moving average, with less weight on the past in the first steps; integers are copied."""
    if not current.is_floating_point():
        return current
    return torch.lerp(average, current, 1 - min(decay, (1 + int(count)) / (10 + int(count))))


def learning_rate_factor(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then a cosine to nearly zero."""
    return min(1, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * min(step / steps, 1))) + 1e-3


def half_precision_weights(net: nn.Module) -> dict[str, Tensor]:
    """Return the weights in float16; variances of batch norms are moved into the convolutions before them.

    In float16 they might be infinite, or 0.
    """
    net = copy.deepcopy(net)
    for conv, norm in list_normalized_convolutions(net):
        scale_convolution(conv, norm, torch.rsqrt(norm.running_var + norm.eps))
    return half_precision_state(net.state_dict())


def half_precision_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict as it is served: float16, integers as they are.

    Raises ValueError for values that float16 cannot hold.
    """
    served = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    if beyond := [k for k, v in served.items() if not v.isfinite().all()]:
        raise ValueError(f"beyond 16 bits, or not a number: {', '.join(beyond)}")
    return served
