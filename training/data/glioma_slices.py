"""Batches of slices of many patients with gliomas, drawn by chance and augmented."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.data.glioma_augmentation import CROP, augment_slices
from training.data.glioma_patients import Patient

SMALL_LESION = 4000  # pixels in all slices of a patient, about 30 ml
EMPTY_WEIGHT = 1.2  # how often a slice without lesion is drawn, where others have 1


class SliceBank:
    """All slices of `patients`, on a device.

    A slice weighs 1 with a lesion and `empty` without; patients with few slices, and lesions that are small and faint,
    weigh more.
    """

    def __init__(
        self, patients: Sequence[Patient], device: torch.device | str = "cpu", empty: float = EMPTY_WEIGHT
    ) -> None:
        self.whole, self.brain, self.mask = (
            torch.from_numpy(np.concatenate([getattr(p, name) for p in patients])).to(device)
            for name in ("whole", "brain", "mask")
        )
        self.bare_scale = torch.from_numpy(np.concatenate([[p.bare_scale] * len(p.mask) for p in patients])).to(device)
        self.weight = torch.from_numpy(np.concatenate([weigh_slices(p, empty) for p in patients]))

    def draw(self, index: Tensor, random: torch.Generator, crop: int = CROP) -> tuple[Tensor, Tensor]:
        """Return views of the slices `index` (B,), (B, 3, crop, crop), and of their masks, (B, 1, crop, crop)."""
        image, brain, mask = (bank[index].float() for bank in (self.whole, self.brain[:, None], self.mask[:, None]))
        return augment_slices(image, brain, mask, self.bare_scale[index], random, crop)


def weigh_slices(patient: Patient, empty: float) -> np.ndarray:
    """Return the weight (N,) of each slice in the drawing."""
    area = patient.mask.sum((1, 2))
    bright = (patient.whole[:, 1] * patient.mask).sum((1, 2), dtype=np.float32) / np.maximum(area, 1)
    hard = (1 / (0.5 + bright)).clip(0.7, 1.6) * np.where(area.sum() < SMALL_LESION, 1.3, 1.0)
    return np.where(area > 0, hard, empty) / len(area) ** 0.5
