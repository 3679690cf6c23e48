"""RAT for low-dose CT with attention within regions, against the same network with one region."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from medapp.analysis.image_quality import compute_quality
from medapp.networks.rat import RAT
from medapp.pipelines.restore_ct_rat import HU_SCALE
from training.core.precision import autocast
from training.core.random_source import RandomSource
from training.core.restoration_training import Patch, draw_batch, focal_region_loss, orient_randomly
from training.methods.restore_ct_rat import SIDE, CtSlice
from training.studies import Batch, Candidate, Size, Study, scale_width

FIGURES = ("psnr", "ssim")
SCORED_SIDE = 224  # pixels a side of what is scored
BETA = 0.1  # of the focal region loss


class Source(Protocol):
    def patch(self, random: np.random.Generator, side: int) -> Patch: ...


class SliceData:
    """Patches of slices to learn from, and one large patch of each of other slices, by patient, to be scored on."""

    def __init__(
        self, fitted: Sequence[Source], held: Sequence[tuple[str, Patch]], batch: int, side: int = SIDE
    ) -> None:
        self.fitted, self.held, self.batch, self.side = fitted, held, batch, side
        people = len({name for name, _ in held})
        self.about = f"{batch} patches of {len(fitted)} slices; scored on {len(held)} slices of {people} other patients"

    def draw(self, rng: RandomSource) -> Batch:
        return draw_batch(self.patch, self.batch, np.random.default_rng(rng.randint(2**31)))

    def patch(self, random: np.random.Generator) -> Patch:
        while True:  # mostly inside the body
            patch = self.fitted[int(random.integers(len(self.fitted)))].patch(random, self.side)
            if patch.y.shape[1:] == (self.side, self.side) and (patch.y > -0.5).mean() > 0.2:
                return orient_randomly(patch, random)

    @torch.inference_mode()
    def score(self, net: nn.Module) -> Iterator[dict[str, Any]]:
        net = net.eval()
        place = next(net.parameters()).device
        for name, patch in self.held:
            x, labels, y = (torch.from_numpy(part)[None] for part in patch)
            with autocast(place):
                restored = net(x.to(place), labels.to(place)).float().cpu()
            answer, truth = (each[0].movedim(0, -1).numpy() * HU_SCALE for each in (restored, y))  # (H, W, 1) in HU
            scored = compute_quality(answer, truth, "HU")
            yield {"patient": name} | {figure: scored[figure] for figure in FIGURES}


def load_data(data: Path, size: Size) -> SliceData:
    """Return slices of the training part of what `restoration_data ct` makes, and of all other patients."""
    files: dict[bool, list[tuple[str, Path]]] = {True: [], False: []}
    for file in sorted(data.glob("*.npz")):
        with np.load(file) as kept:
            files[str(kept["part"]) == "train"].append((str(kept["patient"]), file))
    none, random = Path("none"), np.random.default_rng(0)
    fitted = [CtSlice(file, none) for _, file in thin_evenly(files[True], size.cases)]
    held = [
        (name, CtSlice(file, none).patch(random, SCORED_SIDE)) for name, file in thin_evenly(files[False], size.held)
    ]
    return SliceData(fitted, held, size.batch)


def thin_evenly(files: list, most: int) -> list:
    """Return at most so many of the files, evenly spaced."""
    return files[:: -(-len(files) // most)] if files else []


class DiscSource:
    """A bright disc in noise, in place of a slice."""

    def patch(self, random: np.random.Generator, side: int) -> Patch:
        across = np.arange(side) - side / 2
        labels = (np.hypot(*np.meshgrid(across, across)) < side / 4).astype(np.int16)
        clean = labels[None].astype(np.float32)
        return Patch(clean + random.normal(0, 0.3, clean.shape).astype(np.float32), labels, clean)


def make_phantom() -> SliceData:
    random = np.random.default_rng(0)
    return SliceData([DiscSource()], [(f"held {n}", DiscSource().patch(random, 32)) for n in range(2)], 2, 32)


class OneRegion(nn.Module):
    """A RAT that sees the whole image as one region."""

    def __init__(self, net: RAT) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.net(x, torch.zeros_like(labels))


def build_rat(share: float) -> RAT:
    """Return RAT as served, initialised to the identity."""
    net = RAT(width=2 * scale_width(12, share), middle_blk_num=3, limit=4096)
    nn.init.zeros_(net.ending.weight)
    nn.init.zeros_(net.ending.bias)
    return net.to(memory_format=torch.channels_last)


def loss(net: nn.Module, batch: Batch) -> Tensor:
    x, labels, y = batch
    return focal_region_loss(net(x, labels).float(), y, labels, BETA)


REGIONS = Study(
    "Regions for low-dose CT",
    "restore_ct_rat",
    {"RAT": Candidate(build_rat, loss), "one region": Candidate(lambda share: OneRegion(build_rat(share)), loss)},
    load_data,
    make_phantom,
    FIGURES,
    Size(cases=40, held=40, batch=8),
    rate=1e-3,
)
