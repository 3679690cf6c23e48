"""Tissue codes of a labelled brain: the 36 classes, and finer ones that random contrasts need."""

import torch

from medapp.imaging.brain_labels import MIRROR_CLASSES

# Tissues, finer than the classes, for made-up contrasts: beyond the 36 classes these, with their class.
EXTRA_TISSUES = {
    "vermis left": 6,
    "vermis right": 25,
    "basal left": 2,
    "basal right": 21,
    "fluid": 0,
    "chiasm": 0,
    "rim": 0,
}
VERMIS, BASAL, FLUID, CHIASM, RIM = 36, 38, 40, 41, 42
TISSUE_CLASS = torch.tensor([*range(36), *EXTRA_TISSUES.values()], dtype=torch.uint8)
TISSUE_GROUP = torch.tensor(
    [*(min(n, MIRROR_CLASSES[n]) for n in range(36)), *(36, 36, 38, 38), FLUID, CHIASM, RIM]
)  # no sides
MIRRORED_TISSUE = torch.tensor(
    [*MIRROR_CLASSES, 37, 36, 39, 38, FLUID, CHIASM, RIM], dtype=torch.uint8
)  # the other side
FLUID_TISSUES = torch.tensor([3, 4, 11, 12, FLUID, RIM])
