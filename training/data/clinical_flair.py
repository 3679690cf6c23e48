"""Research FLAIR, without skull at 1 mm, redrawn as clinics scan: a made-up head round it, thick slices, noise."""

from typing import NamedTuple

import numpy as np
import torch
from nibabel.affines import from_matvec
from scipy import ndimage
from torch import Tensor

from medapp.analysis.mask_metrics import find_bounding_box
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.volume import Volume
from training.core.random_source import RandomSource
from training.data.brain_heads import close_mask, signed_distance
from training.data.head_shells import HALF_BOX, draw_brightness, draw_tissues, render_tissues
from training.data.thick_slices import make_slices, scan_slices, show_lesions

ROOM = ((24, 24), (24, 40), (40, 30))  # voxels of 1 mm for the head round a brain
THICKNESS = 0.85  # of the distance between slices
NOISE = 0.03  # beside white matter
FULL_SCALE = 400.0  # of the scanner, for white matter


class ClinicalScan(NamedTuple):
    """A FLAIR in thick slices, and on its grid what would be drawn of the lesions."""

    flair: Volume
    truth: Volume


def surround_brain(image: Tensor, far: Tensor, rng: RandomSource) -> Tensor:
    """Return a FLAIR (X, Y, Z) of white matter near 1 with a made-up head; `far` is the distance in mm from the
    brain.
    """
    box = find_bounding_box((far < 0).numpy())
    low, high = (torch.tensor([getattr(side, end) for side in box]).float() for end in ("start", "stop"))
    middle, stretch = (low + high - 1) / 2, HALF_BOX / ((high - low) / 2)
    axes = [torch.arange(n, dtype=torch.float32) for n in far.shape]
    places = torch.meshgrid(*((a - m) * s for a, m, s in zip(axes, middle, stretch, strict=True)), indexing="ij")
    tissues, _ = draw_tissues(places, far, (0.0, -20.0, -66.0), rng)
    around = render_tissues(tissues, draw_brightness("flair", rng), rng)
    return torch.where(far < 0, image, around)


def redraw_clinically(flair: Volume, lesions: Volume, mm: float, seed: int, head: bool = True) -> ClinicalScan:
    """Redraw a FLAIR without skull (and its lesion mask) in axial slices every `mm` millimetres, always the same."""
    rng, grid = RandomSource(seed), with_isotropic_spacing(reorient(flair.grid), 1.0)
    image = np.pad(resample(flair, grid).array, ROOM)
    share = np.pad(resample(Volume((lesions.array > 0).astype(np.float32), lesions.affine), grid).array, ROOM)
    brain = close_mask(ndimage.binary_opening(image > 0, iterations=2))
    white = np.percentile(image[brain], 60)  # cortex is a little brighter, fluid dark
    bright = torch.from_numpy((image / white).clip(0)).float()
    if head:
        bright = surround_brain(bright, torch.from_numpy(signed_distance(brain)).float(), rng)
    stack = make_slices(bright.shape[2], mm, THICKNESS * mm, rng.uniform(0, mm))
    slices = scan_slices(bright, stack, NOISE, rng) * FULL_SCALE
    corner = [-before for before, _ in ROOM[:2]] + [float(stack.centres[0]) - ROOM[2][0]]
    affine = from_matvec(grid.affine[:3, :3] @ np.diag([1, 1, mm]), grid.to_mm(np.array(corner)))
    shown = show_lesions(stack.acquire(torch.from_numpy(share))) >= 0.5
    truth = Volume(shown.numpy().astype(np.uint8), affine, labels={1: "lesion"})
    return ClinicalScan(Volume(slices.numpy(), affine, name="FLAIR"), truth)
