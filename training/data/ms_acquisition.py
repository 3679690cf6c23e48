"""Simulated skull stripping and scanners for MS, of research and of clinics."""

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
from training.data.thick_slices import add_rician_noise, draw_noise, draw_slices, scan_slices, show_lesions

SIGNAL_LEVEL = {"flair": 2.2, "t1": 1.3, "t2": 1.8}  # brightness beside the noise that scanners add
THICK_FROM = 3.5  # voxels of a slice from which it is thick
CLINICAL_SLICES = 3.0, 9.0  # voxels from slice to slice
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


def simulate_clinic(
    images: Mapping[str, Tensor], target: Tensor, distance: Tensor, below: Tensor, rng: RandomSource, done: bool
) -> tuple[dict[str, Tensor], Tensor, bool]:
    """Simulate a clinical scanner, most often in thick slices, round a whole head, and cut out the brain as served.

    `distance` from the brain and depth `below` its middle are in mm; FLAIR alone is given when it is `done` already, as
    of a real head. Returns the images, 0 where black; the target in these slices; and whether they are thick.
    """
    one, way, shape = rng.uniform, rng.uniform(0, 1), tuple(target.shape)
    is_acquired = {"flair": True, "t1": way > 0.7 and not done, "t2": way > 0.92 and not done}
    stack, skull, noise = None, RandomSource(rng.randint(2**31)), draw_noise(rng)
    if not done and rng.bernoulli(0.85):
        axis = 2 if rng.bernoulli(0.9) else rng.randint(2)
        stack = draw_slices(shape[axis], one(*CLINICAL_SLICES), rng, axis)
        target = stack.spread(show_lesions(stack.acquire(target)))
    out, has_skull, reach = {}, rng.bernoulli(0.8), one(0.5, 3.5) + 0.7 * rng.smooth_field(shape, 20)[0]
    for name, acquired in is_acquired.items():
        if not acquired or name not in images:
            continue
        image = (images[name] * SIGNAL_LEVEL[name]).clamp(min=0) ** math.exp(rng.gauss(0.12))
        image = image * torch.exp(rng.smooth_field(shape, 64)[0] * one(0, SHADE))
        if not done:
            if has_skull:
                image = add_skull(image, distance, below, skull)
            if rng.bernoulli(0.3):
                image = box_blur(image)
        if stack is not None:
            image = stack.spread(scan_slices(image, stack, noise, rng))
        elif rng.bernoulli(0.5):
            image = add_rician_noise(image, noise / (4 if done else 1), rng)
        out[name] = image * (distance < reach)
    return out, target, stack is not None
