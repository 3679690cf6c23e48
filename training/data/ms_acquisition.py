"""Simulated skull stripping and scanner for MS."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from medapp.algorithms.ms_input import SEQUENCES
from training.core.random_source import RandomSource
from training.data.brain_tissues import RIM
from training.data.random_contrast import box_blur
from training.data.random_skull import add_skull
from training.data.scanner import simulate_scan, simulate_thick_slices

SIGNAL_LEVEL = {"flair": 2.2, "t1": 1.3, "t2": 1.8}  # brightness beside the noise that scanners add
THICK_SLICES, THICK_FROM = (0.3, 6.0), 3.5  # as in `simulate_sequences`; voxels of a slice from which it is thick
NOISE, SHADE = 0.05, 0.12  # at most, as in `simulate_scan`: what is shared by researchers has been corrected


def simulate_extraction(
    images: dict[str, Tensor], t1: Tensor, tissue: Tensor, distance: Tensor, below: Tensor, rng: RandomSource
) -> dict[str, Tensor]:
    """Simulate brain extraction: mostly nothing is left round the brain, tight or wide; sometimes a whole head."""
    way = rng.uniform(0, 1)
    if way < 0.08:
        return {k: add_skull(image, distance, below, RandomSource(rng.randint(2**31))) for k, image in images.items()}
    if way < 0.4:
        return {k: image * (tissue != RIM) for k, image in images.items()}
    if way < 0.6:
        tight = box_blur((t1 > rng.uniform(0.4, 0.6)).float(), 2) > 0.5
        return {k: image * tight for k, image in images.items()}
    if way < 0.8:
        reach = rng.uniform(0.5, 3) + rng.smooth_field(tuple(t1.shape), 25)[0]
        band = (distance < reach) & (t1 < 0.1)
        fluid = {"flair": rng.uniform(0.02, 0.25), "t1": rng.uniform(0.1, 0.35), "t2": rng.uniform(0.7, 1.3)}
        return {k: torch.where(band, fluid[k], image) for k, image in images.items()}
    return images


def simulate_sequences(
    images: Mapping[str, Tensor], rng: RandomSource, share: float = 0.2, most: float = 5.0
) -> tuple[dict[str, Tensor], bool]:
    """Simulate a scanner, sequence by sequence, and which sequences there are; FLAIR is always one of them.

    A `share` is in slices of up to `most` voxels. Returns the images, and whether the slices of FLAIR are thick.
    """
    way = rng.uniform(0, 1)
    is_acquired = {"flair": True, "t1": way > 0.45, "t2": way < 0.04 or way > 0.88}
    out, coarse = {}, False
    for name in SEQUENCES:
        if name not in images or not is_acquired[name]:
            continue
        image = (images[name] * SIGNAL_LEVEL[name]).clamp(min=0) ** math.exp(rng.gauss(0.08))
        if rng.bernoulli(share):
            across = rng.uniform(2, most)
            image = simulate_thick_slices(image, across, 2 if rng.bernoulli(0.75) else rng.randint(2))
            coarse |= name == "flair" and across > THICK_FROM
        out[name] = simulate_scan(image, rng, noise=NOISE, shade=SHADE)
    return out, coarse
