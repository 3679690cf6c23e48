"""Studies: candidates that are trained alike, their data and their scores; one file a subject."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from training.core.random_source import RandomSource

Batch = tuple[Tensor, ...]
WEIGHTS = "weights.safetensors"  # of a trained candidate, fp16, in its folder


class Candidate(NamedTuple):
    """A network or loss to compare: `build` makes the network at a share of its full widths, `loss` scores a batch."""

    build: Callable[[float], nn.Module]
    loss: Callable[[nn.Module, Batch], Tensor]


class StudyData(Protocol):
    """The data that the candidates of a study learn from and are scored on; `about` describes it."""

    about: str

    def draw(self, rng: RandomSource) -> Batch:
        """Draw a batch on the CPU, always the same for the same seed."""
        ...

    def score(self, net: nn.Module) -> Iterator[dict[str, Any]]:
        """Yield for each held-out image `patient` and the study's metrics, None where one is not defined."""
        ...


class Size(NamedTuple):
    """How much data a study has: images to learn from, images to be scored on, and images in a batch."""

    cases: int
    held: int
    batch: int


@dataclass(frozen=True)
class Study:
    """`candidates` by name, ours first; `load_data` reads DATA, `make_phantom` makes up something tiny without any.

    They take the place of the network of `pipeline`, or of a `part` of it. After the share `freeze` of the steps batch
    norms stand still. `rate` is the optimiser's.
    """

    title: str
    pipeline: str
    candidates: Mapping[str, Candidate]
    load_data: Callable[[Path, Size], StudyData]
    make_phantom: Callable[[], StudyData]
    figures: tuple[str, ...]
    size: Size
    rate: float = 2e-3
    freeze: float = 1.0
    part: str = ""


def scale_width(width: int, share: float) -> int:
    """Return a share of so many channels, at least one."""
    return max(1, round(width * share))


def folder_name(candidate: str) -> str:
    """Return the name of a candidate's folder."""
    return candidate.lower().replace(" ", "-").replace(",", "")
