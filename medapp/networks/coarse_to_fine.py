"""Brain extraction by two 3-D U-Nets: one finds the brain in the whole image, the other refines its border.

Both give logits that stand for the distance from the border, as in SynthStrip (Hoopes et al. 2022,
doi:10.1016/j.neuroimage.2022.119474): near it, the distance inwards in mm is the logit times COARSE_MM or FINE_MM.
"""

import torch
from torch import Tensor, nn

from medapp.networks.unet3d import UNet3D

COARSE_MM, FINE_MM = 3.0, 1.0  # millimetres to a logit of 1
MAX_DISTANCE_MM = 10.0  # from the border, at which the distance that the fine network sees is clipped


class CoarseToFine(nn.Module):
    """The two networks, both with logits (B, 1, X, Y, Z), positive inside the brain.

    `coarse` takes (B, 1, X, Y, Z), sides multiples of 16; `fine` (B, 2, X, Y, Z), sides multiples of 8, as made by
    `make_fine_input`.
    """

    traceable = False  # called part by part

    def __init__(self, coarse: int = 20, fine: int = 16) -> None:
        super().__init__()
        self.coarse = UNet3D(1, coarse, 1, (1, 2, 4, 6))
        self.fine = UNet3D(1, fine, 2, (1, 2, 4))

    def forward(self, image: Tensor, inwards: Tensor) -> Tensor:
        """Logits of `fine` for an image and the coarse distance inwards in mm, all (B, 1, X, Y, Z)."""
        return self.fine(make_fine_input(image, inwards))


def make_fine_input(image: Tensor, inwards: Tensor) -> Tensor:
    """Return the fine network's input (B, 2, X, Y, Z): the image, and the distance in mm clipped and scaled to ±1."""
    return torch.cat([image, inwards.clamp(-MAX_DISTANCE_MM, MAX_DISTANCE_MM) / MAX_DISTANCE_MM], 1)
