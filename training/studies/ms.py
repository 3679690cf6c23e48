"""RSANet's slice attention for MS lesions, against none and against non-local attention."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from medapp.algorithms.ms_input import INPUT_CHANNELS
from medapp.analysis.mask_metrics import compute_dice, compute_lesion_f1
from medapp.imaging.volume import Volume
from medapp.networks.rsanet import RSANet
from medapp.pipelines.segment_ms_rsanet import build_network
from training.core.random_source import RandomSource
from training.data.labelled_brains import list_scans, split_scans
from training.data.ms_exams import Exam, made_up_exams, patient_exams
from training.data.ms_patches import Patch, PatchSource
from training.data.ms_patients import list_patients, load_brain, person_of
from training.methods.segment_ms_rsanet import HELD_OUT, as_served, segmentation_loss
from training.studies import Batch, Candidate, Size, Study, scale_width
from training.studies.networks.nonlocal_attention import NonLocalAttention

FIGURES = ("dice", "lesion_f1", "false_ml")
WIDTH_UNIT = 8  # channels of which every width is a multiple


class Source(Protocol):
    def sample(self, rng: RandomSource) -> Patch: ...


class ExamData:
    """Patches to learn from, `batch` at a time, and whole brains to be scored on."""

    def __init__(self, source: Source, batch: int, held: Sequence[tuple[str, Exam]], about: str) -> None:
        self.source, self.batch, self.held, self.about = source, batch, held, about

    def draw(self, rng: RandomSource) -> Batch:
        patches = [self.source.sample(rng) for _ in range(self.batch)]
        x, target, known = (torch.stack(parts) for parts in zip(*patches, strict=True))
        return x, target, known

    def score(self, net: nn.Module) -> Iterator[dict[str, Any]]:
        probability = as_served(net.cpu().eval())
        for name, exam in self.held:
            prediction, truth = exam.predict(probability) >= 0.5, exam.truth.array > 0
            row: dict[str, Any] = {"patient": name} | dict.fromkeys(FIGURES)
            if truth.any():
                row |= {"dice": compute_dice(prediction, truth), "lesion_f1": compute_lesion_f1(prediction, truth)}
            else:
                row["false_ml"] = float(prediction.sum()) * exam.truth.grid.voxel_ml
            yield row


def load_data(data: Path, size: Size) -> ExamData:
    """Return patients and brains as in the training; held out are HELD_OUT and brains with and without made-up lesions.

    A patient who was scanned several times counts once, with the mean.
    """
    parts = split_scans(list_scans(data / "brain_t1"))
    brains, others = parts["train"][: size.cases], parts["test"] + parts["validation"]
    held = [
        (person_of(name), exam)
        for name in list_patients(data)
        if person_of(name) in HELD_OUT
        for exam in patient_exams(data, name)
    ]
    for number in range(size.held):
        name = others[number % len(others)]
        held += [(f"{name} {number:03d}", exam) for exam in made_up_exams(load_brain(data, name), 100 + number)]
    sources = f"real patients, heads with a glioma and {len(brains)} brains with made-up lesions"
    fitted = f"{size.batch} patches a step, of {sources}"
    patients = {who for who, _ in held} & set(HELD_OUT)
    scored = f"{len(patients)} other patients and {size.held} times another brain, with made-up lesions and without any"
    return ExamData(PatchSource(data, brains, HELD_OUT), size.batch, held, f"{fitted}; scored on {scored}")


class BoxSource:
    """A brighter box in noise, in place of patients."""

    def sample(self, rng: RandomSource) -> Patch:
        target = torch.zeros(48, 48, 48)
        target[8:20, 8:20, 8:20] = 1
        return Patch(rng.normal(INPUT_CHANNELS, *target.shape) + 3 * target, target, target >= 0)


def make_phantom() -> ExamData:
    x, target, _ = BoxSource().sample(RandomSource(0))
    truth = Volume((target.numpy() > 0.5).astype(np.uint8), np.eye(4), labels={1: "lesion"})
    held = [(f"held {n}", Exam("made", x.numpy(), truth.grid, truth)) for n in range(2)]
    return ExamData(BoxSource(), 1, held, "a box in noise; scored on two")


def loss(net: nn.Module, batch: Batch) -> Tensor:
    """Return the overlap loss alone, with which the training begins; a comparison is too short for the rest."""
    x, y, known = batch
    return segmentation_loss(net(x)[:, 0].float(), y, known, weight=0.0)


def build_with_attention(form: str) -> Callable[[float], RSANet]:
    """Return a builder of RSANet with its attention ("010"), without ("000"), or with "non-local" attention."""

    def made(share: float) -> RSANet:
        widths = [WIDTH_UNIT * scale_width(4, share) * n for n in (1, 2, 4, 8)]
        net = build_network(widths=widths, form="010" if form == "010" else "000")
        if form == "non-local":
            net.form, net.rsa_block = "010", NonLocalAttention(widths[-1])
        return net.to(memory_format=torch.channels_last_3d)

    return made


ATTENTION = Study(
    "Attention at the bottleneck for MS lesions",
    "segment_ms_rsanet",
    {
        "RSANet": Candidate(build_with_attention("010"), loss),
        "no attention": Candidate(build_with_attention("000"), loss),
        "non-local": Candidate(build_with_attention("non-local"), loss),
    },
    load_data,
    make_phantom,
    FIGURES,
    Size(cases=20, held=14, batch=4),
    rate=2e-3,
)
