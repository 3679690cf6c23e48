"""MS exams to score a network on: people in the conditions of research and clinic, prepared as the pipeline does.

DATA/ms holds patients at 1 mm without skull, DATA/ms_thick others as clinics scan them, see `ms_patients`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from medapp.algorithms.ms_input import find_anatomy, prepare_scans, stack_channels
from medapp.algorithms.parcellation import make_working_grid
from medapp.algorithms.slice_slabs import join_slices
from medapp.imaging.background import zero_background
from medapp.imaging.volume import Grid, Volume
from medapp.pipelines.segment_ms_rsanet import CARD
from medapp.serving import runtime
from training.core.random_source import RandomSource
from training.data.clinical_flair import redraw_clinically
from training.data.ms_acquisition import simulate_sequences
from training.data.ms_heads import WHOLE_BRAIN, draw_made_up
from training.data.ms_patients import TransplantBrain, person_of, read_clinical, read_patient
from training.data.scanner import resample_thick

CLINICAL_MM = (5.0, 6.5, 8.0)  # from slice to slice


class Exam(NamedTuple):
    """An exam: `x` (CHANNELS, X, Y, Z) float16 on `grid`, made as when served, and the truth on the scan's own grid.

    A `kind` of "free" has no lesions.
    """

    kind: str
    x: np.ndarray
    grid: Grid
    truth: Volume

    def predict(self, network: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the probability on the truth's grid; `network` maps `x` to (X, Y, Z)."""
        probability = network(self.x)[tuple(map(slice, self.grid.shape))]
        return join_slices(Volume(probability, self.grid.affine), self.truth.grid).array


def make_exam(kind: str, scans: dict[str, Volume], truth: Volume) -> Exam:
    """Return images of one patient by role, in one space, prepared and stacked as the pipeline does."""
    scans = {role: zero_background(scan) for role, scan in scans.items()}
    grid = make_working_grid(scans["flair"])
    get_network = partial(runtime.load_network, CARD, "cpu", {})
    anatomy = find_anatomy(get_network("anatomy"), scans, grid, lambda share, stage: None, get_network("brain"))
    view = prepare_scans(scans, anatomy, grid)
    return Exam(kind, stack_channels(view.images, view.maps).astype(np.float16), view.grid, truth)


def patient_exams(data: Path, name: str, clinical: bool = False) -> Iterator[Exam]:
    """Yield exams of a real patient: FLAIR alone, in thick slices, and with T1; `clinical`, also as clinics scan."""
    flair, t1, mask = read_patient(data, name)
    given = {"flair": {"flair": flair}, "thick": {"flair": resample_thick(flair)}, "t1": {"flair": flair, "t1": t1}}
    for kind, scans in given.items():
        truth = resample_thick(mask) if kind == "thick" else mask
        yield make_exam(f"{person_of(name)}_{kind}", scans, truth)
    for mm in CLINICAL_MM if clinical else ():
        yield make_exam(f"{person_of(name)}_{mm:g}mm", *_as_roles(redraw_clinically(flair, mask, mm, seed=round(mm))))


def _as_roles(scan: tuple[Volume, Volume]) -> tuple[dict[str, Volume], Volume]:
    return {"flair": scan[0]}, scan[1]


def clinical_exam(data: Path, name: str) -> Exam:
    """Return the exam of a person in DATA/ms_thick."""
    return make_exam(f"{person_of(name)}_clinical", *_as_roles(read_clinical(data, name)))


def make_up_patient(head: TransplantBrain, seed: int) -> dict[str, tuple[Volume, Volume]]:
    """Return FLAIR and mask of a made-up patient, and of the same brain without lesions."""
    free = head._replace(transplants={"none": torch.zeros(0, 3, dtype=torch.int16)})
    both = {}
    for kind, source in (("made", head), ("free", free)):
        rng = RandomSource(seed)
        view = draw_made_up(source, WHOLE_BRAIN, rng)
        flair = Volume(simulate_sequences(view.images, rng)[0]["flair"].numpy(), np.eye(4), name="FLAIR")
        both[kind] = flair, flair.new_like((view.target > 0.5).numpy().astype(np.uint8), labels={1: "lesion"})
    return both


def made_up_exams(head: TransplantBrain, seed: int) -> list[Exam]:
    """Return exams of a made-up patient, and of the same brain without lesions."""
    return [make_exam(kind, *_as_roles(scan)) for kind, scan in make_up_patient(head, seed).items()]
