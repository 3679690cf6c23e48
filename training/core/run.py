"""Run: a training that outlives its process, with its checkpoint, its log and its best score."""

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

CHECKPOINT = "checkpoint.pt"  # in the folder of a run


class Run:
    """One training of `net` for so many `steps`, kept in the folder `out`, where it goes on if it was there before.

    `average` is the network with the moving average of the weights, which is validated and served; with `buffers` those
    are averaged too. `random` is the generator, on the CPU, from which the training draws. The rate rises in `warm`
    steps, then falls along a cosine. `best` is the score that is to be beaten, `losses` what came since the last line
    of the log.
    """

    def __init__(
        self,
        out: Path,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        random: torch.Generator,
        steps: int,
        *,
        warm: int = 100,
        forget: float = 0.998,
        buffers: bool = False,
        best: float = 0.0,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.out, self.random, self.steps = out, random, steps
        self.net, self.optimizer = net, optimizer
        self.average = AveragedModel(net, avg_fn=partial(ema, forget=forget), use_buffers=buffers)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, steps=steps, warm=warm))
        self.step, self.best, self.spent, self.losses = 0, best, 0.0, list[Any]()
        self._parts = {"net": net, "average": self.average, "optimizer": optimizer, "scheduler": self.scheduler}
        if self._checkpoint.exists():
            kept = torch.load(self._checkpoint, next(net.parameters()).device, weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(kept[name])
            random.set_state(kept["random"].cpu())
            if "dropout" in kept:
                torch.set_rng_state(kept["dropout"].cpu())
            self.step, self.best, self.spent, self.losses = (kept[n] for n in ("step", "best", "minutes", "losses"))
        self.began = self.saved = time.time()

    @property
    def _checkpoint(self) -> Path:
        return self.out / CHECKPOINT

    @property
    def minutes(self) -> float:
        """Of all the processes together."""
        return self.spent + (time.time() - self.began) / 60

    @property
    def ended(self) -> bool:
        return self.step >= self.steps

    def late(self, minutes: float) -> bool:
        """Whether this process has worked for so long; 0 is never."""
        return bool(minutes) and time.time() - self.began > 60 * minutes

    def due(self, minutes: float) -> bool:
        """Whether the last checkpoint is so old."""
        return time.time() - self.saved > 60 * minutes

    def descend(self, loss: Tensor, *told: float) -> None:
        """One step down the gradient of the loss; `told` are further numbers for the log."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.advance([loss.item(), *told] if told else loss.item())

    def advance(self, loss: Any) -> None:
        """Count a step whose gradient has been followed."""
        self.scheduler.step()
        self.average.update_parameters(self.net)
        self.losses.append(loss)
        self.step += 1

    def note(self, scores: dict[str, float]) -> None:
        """Log the scores of a validation beside the mean loss since the one before."""
        loss = round(float(np.mean(self.losses)), 4)
        row = {"step": self.step, "loss": loss, "minutes": round(self.minutes, 1)}
        self.log(row | {name: round(value, 4) for name, value in scores.items()})

    def tell(self, every: int = 50) -> None:
        """Say now and then how the loss goes."""
        if self.step % every == 0:
            print(self.step, np.mean(self.losses[-every:], 0).round(4), f"{self.minutes:.1f} min", flush=True)

    def log(self, row: dict[str, Any]) -> None:
        """A line for the screen, `log.csv`, and TensorBoard where that is installed: `tensorboard --logdir OUT`."""
        self.losses.clear()
        print(row, flush=True)
        fresh = not (self.out / "log.csv").exists()
        with (self.out / "log.csv").open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        if self.board:
            for name, value in row.items():
                self.board.add_scalar(name, value, self.step)
            self.board.flush()

    @cached_property
    def board(self) -> Any:
        """What writes for TensorBoard, None without it."""
        if not find_spec("tensorboard"):
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(self.out), purge_step=self.step)

    def better(self, score: float) -> bool:
        """Whether this is the best score so far; it is from now on."""
        found = score > self.best
        self.best = max(score, self.best)
        return found

    def keep(self) -> None:
        """Write the checkpoint; a kill in the middle leaves the one before."""
        kept: dict[str, Any] = {name: part.state_dict() for name, part in self._parts.items()}
        kept |= {"random": self.random.get_state(), "dropout": torch.get_rng_state()}
        kept |= {"step": self.step, "best": self.best, "minutes": self.minutes, "losses": self.losses}
        torch.save(kept, self._checkpoint.with_suffix(".tmp"))
        self._checkpoint.with_suffix(".tmp").replace(self._checkpoint)
        self.saved = time.time()


def ema(average: Tensor, current: Tensor, count: Tensor | int, forget: float = 0.998) -> Tensor:
    """Exponential moving average that forgets the first steps fast; of counters, the last."""
    if not current.is_floating_point():
        return current
    return torch.lerp(average, current, 1 - min(forget, (1 + int(count)) / (10 + int(count))))


def rate(step: int, steps: int, warm: int) -> float:
    """The learning rate's share: up in `warm` steps, then down along a cosine."""
    return min(1, (step + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * min(step / steps, 1))) + 1e-3


def halved(net: nn.Module) -> dict[str, Tensor]:
    """The weights in 16 bits; variances beyond their range go into the convolutions before them.

    For networks whose layers call them `conv` and `norm`.
    """
    net = copy.deepcopy(net)
    for part in net.modules():
        if isinstance(norm := getattr(part, "norm", None), nn.BatchNorm3d):
            scale = torch.rsqrt(norm.running_var + norm.eps)
            part.conv.weight.data *= scale.view(-1, 1, 1, 1, 1)
            norm.running_mean *= scale
            norm.running_var.fill_(1 - norm.eps)
    return halves(net.state_dict())


def halves(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are served: in 16 bits, counters as they are. Raises ValueError for what 16 bits cannot hold."""
    served = {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in state.items()}
    if beyond := [k for k, v in served.items() if not v.isfinite().all()]:
        raise ValueError(f"beyond 16 bits, or not a number: {', '.join(beyond)}")
    return served
