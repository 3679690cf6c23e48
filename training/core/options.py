"""Command-line options that every training has."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from medapp.errors import UserError
from training.core.run import CHECKPOINT

STEPS_PER_EPOCH = 250  # steps of a training that draws its patches by chance, as nnU-Net counts


class TrainingParser(argparse.ArgumentParser):
    """The command-line options of a training of `steps`, or of `epochs` if these are passes over the data.

    It is validated `every` so many of them. A training may add its own options.
    """

    def __init__(self, about: str, *, steps: int = 0, epochs: int = 0, rate: float, every: int) -> None:
        super().__init__(description=about)
        self.add_argument("--data", required=True, help="folder to learn from")
        self.add_argument("--out", required=True, help="folder for checkpoint, weights and log")
        self.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        if steps:
            self.add_argument("--steps", type=int, default=steps)
            self.add_argument("--epochs", type=int, help=f"epochs of {STEPS_PER_EPOCH} steps, instead of --steps")
        else:
            self.add_argument("--epochs", type=int, default=epochs)
        self.add_argument("--rate", type=float, default=rate, help="highest learning rate")
        self.add_argument("--like", type=Path, help="initial weights, such as a file in weights/")
        self.add_argument("--every", type=int, default=every, help="steps (or epochs) between validations")
        self.add_argument("--keep", type=float, default=5, help="minutes between checkpoints")
        self.add_argument(
            "--minutes", type=float, default=0, help="minutes after which to stop; the same command resumes"
        )
        self.add_argument("--resume", action="store_true", help="fail if OUT holds no checkpoint to resume from")

    def parse_arguments(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse the command line; exit with a message if the arguments contradict each other."""
        args = self.parse_args(arguments)
        if "steps" in args and args.epochs:
            args.steps = STEPS_PER_EPOCH * args.epochs
        if args.resume and not (Path(args.out) / CHECKPOINT).exists():
            self.error(f"{args.out} holds no {CHECKPOINT} to resume from")
        return args

    def run_training(self, train: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None = None) -> None:
        """Parse the command line and call `train`; exit with a message on a UserError."""
        args = self.parse_arguments(arguments)
        try:
            train(args)
        except UserError as error:
            self.exit(1, f"{error}\n")
