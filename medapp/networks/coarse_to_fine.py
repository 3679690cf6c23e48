"""Two 3-D U-Nets, one after the other: where the brain lies, from the whole image; then its border, voxel by voxel.

Both answer with logits that stand for the distance from the border, as in SynthStrip (Hoopes et al. 2022,
doi:10.1016/j.neuroimage.2022.119474): near it, millimetres inwards are the logit times `COARSE_MM` or `FINE_MM`.
"""

import torch
from torch import Tensor, nn

from medapp.networks.unet3d import UNet3D

COARSE_MM, FINE_MM = 3.0, 1.0  # millimetres to a logit of 1
MAX_DISTANCE_MM = 10.0  # millimetres from the border beyond which the fine network is not told how far


class CoarseToFine(nn.Module):
    """`coarse` takes (B, 1, X, Y, Z), sides multiples of 16; `fine` (B, 2, X, Y, Z), multiples of 8, see `told`.

    Both give logits (B, 1, X, Y, Z), positive within.
    """

    traceable = False  # called part by part

    def __init__(self, coarse: int = 20, fine: int = 16) -> None:
        super().__init__()
        self.coarse = UNet3D(1, coarse, 1, (1, 2, 4, 6))
        self.fine = UNet3D(1, fine, 2, (1, 2, 4))

    def forward(self, image: Tensor, inwards: Tensor) -> Tensor:
        """What `fine` says of an image and of how far inwards each voxel lies, roughly, in mm: (B, 1, X, Y, Z) each."""
        return self.fine(make_fine_input(image, inwards))


def make_fine_input(image: Tensor, inwards: Tensor) -> Tensor:
    """What the fine network sees: (B, 1, X, Y, Z) twice -> (B, 2, X, Y, Z)."""
    return torch.cat([image, inwards.clamp(-MAX_DISTANCE_MM, MAX_DISTANCE_MM) / MAX_DISTANCE_MM], 1)
