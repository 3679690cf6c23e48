"""AR2-UNet for gliomas, with its gate on either side, against the U-Nets that it is made of."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medapp.analysis.mask_metrics import compute_dice
from medapp.networks.ar2unet import AR2UNet, RecurrentResidual
from training.core.random_source import RandomSource
from training.data.glioma_patients import SIDE, Patient, load_patient, split_patients
from training.data.glioma_slices import SliceBank
from training.methods.segment_glioma_ar2unet import predict_probability, segmentation_loss
from training.studies import Batch, Candidate, Size, Study, scale_width
from training.studies.networks.unet import UNet


class PatientData:
    """Slices of patients to learn from, and whole patients to be scored on."""

    def __init__(self, fitted: Sequence[Patient], held: Sequence[Patient], batch: int) -> None:
        self.fitted, self.held, self.batch = fitted, held, batch
        self.bank = SliceBank(fitted)
        self.about = f"{batch} slices of {len(fitted)} patients; scored on {len(held)} others"

    def draw(self, rng: RandomSource) -> Batch:
        index = torch.multinomial(self.bank.weight, self.batch, replacement=True, generator=rng.generator)
        return self.bank.draw(index, rng.generator)

    def score(self, net: nn.Module) -> Iterator[dict[str, Any]]:
        net = net.eval()
        place = next(net.parameters()).device
        for each in self.held:
            given = {"dice": each.whole, "dice_flair": each.whole[:, [1, 1, 1]]}
            masks = {figure: predict_probability(net, image, place) > 0.5 for figure, image in given.items()}
            yield {"patient": each.name} | {figure: compute_dice(mask, each.mask) for figure, mask in masks.items()}


def load_data(data: Path, size: Size) -> PatientData:
    """Return patients of the training part to learn from, and of the test part to be scored on."""
    parts = split_patients(sorted(p.name for p in (data / "lgg").iterdir() if p.is_dir()))
    names_of_parts = parts["train"][: size.cases], parts["test"][: size.held]
    fitted, held = ([load_patient(data / "lgg" / name) for name in names] for names in names_of_parts)
    return PatientData(fitted, held, size.batch)


def make_phantom() -> PatientData:
    """Return patients of two slices, with a box in one."""
    mask = np.zeros((2, SIDE, SIDE), bool)
    mask[0, 60:110, 70:120] = True
    noise = np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE))
    image = (noise * 0.3 + 2 * mask[:, None]).astype(np.float16)
    scale = np.array([[1, 0, -4]] * 3, np.float32)
    fitted, *held = (
        Patient(f"TCGA_{name}_0", image, np.ones_like(mask), mask, scale) for name in ("fitted", "held", "other")
    )
    return PatientData([fitted], held, 2)


def loss(net: nn.Module, batch: Batch) -> Tensor:
    x, y = batch
    return segmentation_loss(net(x.contiguous(memory_format=torch.channels_last)).float(), y)


GATES = Study(
    "AR2-UNet for gliomas against the U-Nets that it is made of",
    "segment_glioma_ar2unet",
    {
        "AR2-UNet": Candidate(lambda share: AR2UNet(3, 1, scale_width(16, share), "decoder"), loss),
        "AR2-UNet, gate on the skips": Candidate(lambda share: AR2UNet(3, 1, scale_width(16, share), "encoder"), loss),
        "R2 U-Net": Candidate(lambda share: UNet(3, scale_width(16, share), RecurrentResidual), loss),
        "attention U-Net": Candidate(lambda share: UNet(3, scale_width(16, share), gated=True), loss),
        "U-Net": Candidate(lambda share: UNet(3, scale_width(16, share)), loss),
    },
    load_data,
    make_phantom,
    ("dice", "dice_flair"),
    Size(cases=100, held=100, batch=8),
    freeze=0.7,
)
