"""Old heads with strokes of many looks: `python -m training.data.aged_stroke_heads --data DATA --sheet FILE.png`.

Brains of `brain_t1`, and real heads (`recipient_heads`), shrink with age: ventricles, sulci and Sylvian fissures widen,
on both sides or one, white-matter disease spreads. Lesions have the looks of `stroke_looks`; heads have a real skull,
the average one, a made-up one or none; scanners of 1.5 and 3 T differ in contrast, shading and noise, and heads move.

A head follows from its part of the split, its condition and its number. TRAINING is learned from; CONDITIONS are
scored, with other brains and masks, and with looks and ages drawn by laws of their own.
"""

import argparse
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.mni_template import load_template
from medapp.imaging.intensity import STANDARD_RANGE
from training.core.data_cache import cache_folder
from training.core.random_source import RandomSource
from training.data.brain_atrophy import FluidWays, load_ways, widen_fluid
from training.data.brain_tissues import RIM, TISSUE_GROUP
from training.data.labelled_brains import LabelledScan, load_average_head
from training.data.random_pose import Pose
from training.data.random_skull import add_average_head, add_skull
from training.data.recipient_heads import list_recipients
from training.data.scan_motion import move_head
from training.data.scanner import simulate_scan
from training.data.stroke_heads import (
    StrokeHead,
    align_to_template,
    draw_misalignment,
    draw_swellings,
    keep_head,
    list_brains,
    sample_scan,
    save_sheet,
    scan_points,
    to_levels,
)
from training.data.stroke_lesions import CORTEX, LesionShapes, paint_ageing, place_lesion, reference_levels
from training.data.stroke_looks import Look, draw_look, paint_look
from training.data.stroke_places import draw_lacune, keep_deep, keep_ribbon
from training.data.white_matter_disease import paint_disease

TRAINING = "training"
CONDITIONS = ("grey rims", "grey subcortical", "old brains", "old, no lesion")
SEEDS = {"train": 150_000, "validation": 160_000, "test": 170_000}  # and 1,000 more for each condition
SYLVIAN_MM = np.array([[-44.0, 0, 4], [44, 0, 4]])  # of the template, about which fissures widen
FISSURE_MM = 22.0
VENTRICLE_FADE, SULCUS_FADE = 14.0, 6.0  # voxels
DARKEST = 0.05  # share of the ventricles that is taken for fluid
NOISE = 0.06  # of the range of the scan, at most


def draw_age(condition: str, rng: RandomSource) -> float:
    """Draw from 0, young, to 1, very old."""
    if condition.startswith("old"):
        return rng.uniform(0.65, 1)
    return rng.uniform(0, 1) if condition == TRAINING else rng.uniform(0.1, 0.6)


@cache
def draw_fissures() -> list[Tensor]:
    """Return how near every voxel of the template (X, Y, Z) is to each Sylvian fissure, 0 to 1."""
    size = load_template().shape
    places = load_template().grid.to_mm(np.moveaxis(np.indices(size)[:, ::4, ::4, ::4], 0, -1))
    away = [((places - middle) ** 2).sum(-1) for middle in SYLVIAN_MM]
    near = torch.from_numpy(np.exp(-np.stack(away) / (2 * FISSURE_MM**2))).float()
    return list(F.interpolate(near[None], size, mode="trilinear")[0])


def shrink_brain(where: Tensor, ways: FluidWays, age: float, rng: RandomSource) -> tuple[Tensor, Tensor]:
    """Return the indices (3, X, Y, Z) in the scan where an older brain looks, and how much of it (X, Y, Z) is new
    fluid.
    """
    size = tuple(where.shape[1:])
    sides = torch.linspace(-1, 1, size[0])[:, None, None] * rng.gauss(0.35)
    mm = age * rng.uniform(2, 7) * (1 + sides + 0.3 * rng.smooth_field(size, 60)[0])
    where, inner = widen_fluid(where, ways.ventricles, mm.clamp(min=0), VENTRICLE_FADE)
    mm = age * rng.uniform(0.4, 1.8) * (1 + 0.5 * rng.smooth_field(size, 45)[0])
    for near in draw_fissures():
        mm = mm + near * age * rng.uniform(0, 2.5)
    where, outer = widen_fluid(where, ways.sulci, mm.clamp(min=0), SULCUS_FADE)
    return where, torch.maximum(inner, outer)


def change_contrast(image: Tensor, grey: float, levels: tuple[float, float], rng: RandomSource) -> Tensor:
    """Return (X, Y, Z) with the contrast of another field strength: grey matter and fluid nearer to white or further.

    `grey` is its brightness, `levels` are those of `reference_levels`; white matter and what is brighter stay.
    """
    fluid, white = levels
    if not fluid < grey < white:
        return image
    darker, wetter = white * rng.uniform(0.58, 0.86), fluid * rng.uniform(0.5, 1.4)
    wetter = min(wetter, 0.75 * darker)
    curve = np.interp(image.numpy(), (0, fluid, grey, white, 2 * white), (0, wetter, darker, white, 2 * white))
    return torch.from_numpy(curve).float()


def draw_scored_look(condition: str, rng: RandomSource) -> Look:
    """Draw a look by which weights are scored; its darkness falls off from within, unlike those learned from."""
    one = rng.uniform
    if condition == "grey rims":
        return Look(one(2, 7), one(0.33, 0.58), one(0.55, 0.8), one(3, 7), one(0.82, 0.97), one(0.5, 1), one(0, 5), 2.0)
    if condition == "grey subcortical":
        return Look(1, one(0.35, 0.6), one(0.6, 0.9), one(2, 4), cavity=0.0)
    return Look(one(0.5, 5), one(0.35, 0.65), one(0.6, 1), one(1, 4), one(0.85, 1), float(rng.bernoulli(0.75)), 0, 1.5)


def paint_strokes(image: Tensor, tissue: Tensor, shapes: list, condition: str, rng: RandomSource, levels) -> np.ndarray:
    """Paint strokes into (X, Y, Z) in place, of `shapes` (box, bool in it) and lacunes; return their mask bool."""
    mask = np.zeros(image.shape, bool)
    is_trained = condition == TRAINING
    spots = []
    for box, shape in shapes:
        kind = rng.uniform(0, 1)
        if condition == "grey subcortical" or (is_trained and kind < 0.25):
            shape = keep_deep(shape, tissue[box], rng.uniform(2, 6))
        elif is_trained and kind < 0.45:
            shape = keep_ribbon(shape, tissue[box], rng.uniform(0, 3))
        spots.append((box, shape))
    if (is_trained and rng.bernoulli(0.3)) or condition == "grey subcortical":
        radii = (1.8, 7.0) if is_trained else (3.0, 8.0)
        spots += [spot for _ in range(1 + rng.randint(2)) if (spot := draw_lacune(tissue, radii, rng))]
    for box, shape in spots:
        look = draw_look(rng) if is_trained else draw_scored_look(condition, rng)
        mask[box] |= paint_look(image[box], tissue[box], shape & ~mask[box], look, rng, levels)
    return mask


def make_aged_head(data: Path, part: str, condition: str, number: int, shapes: LesionShapes) -> StrokeHead:
    """Make head `number` of a condition (TRAINING or one of CONDITIONS) of a part of the split."""
    order = (TRAINING, *CONDITIONS).index(condition)
    rng, grid = RandomSource(SEEDS[part] + 1000 * order + number), load_template().grid
    real = list_recipients(data, part)
    every, brains = 4 if condition == TRAINING else 3, list_brains(data, part)
    is_real = bool(real) and number % every == every - 1
    name = real[number // every % len(real)] if is_real else brains[number % len(brains)]
    scan, matrix = align_to_template(data, name)
    matrix = matrix @ draw_misalignment(rng, grid.shape)

    is_bare = condition == "old, no lesion" or (condition == TRAINING and number % 5 == 2)
    placed: list[tuple] = []
    while not is_bare and not placed:
        drawn = [shapes.draw(rng) for _ in range(1 + rng.bernoulli(0.25))]
        placed = [(shape.name, *spot) for shape in drawn if (spot := place_lesion(shape, grid, rng))]
    where = scan_points(matrix, grid.shape, draw_swellings(scan, matrix, [p[1:] for p in placed], grid, rng))
    where += rng.smooth_field(grid.shape, 40, 3) * rng.uniform(0, 2.2)
    age = draw_age(condition, rng)
    where, opened = shrink_brain(where, load_ways(data, name, scan), age, rng)
    image, tissue, distance = sample_scan(scan, where)

    levels = reference_levels(image, tissue, DARKEST)
    wet = opened * (tissue > 0)
    image = image * (1 - wet) + wet * torch.minimum(image, torch.tensor(levels[0] * rng.uniform(0.7, 1.2)))
    tissue[(wet > 0.5) & (TISSUE_GROUP[tissue.long()] == CORTEX)] = RIM
    grey = float(image[::2, ::2, ::2][TISSUE_GROUP[tissue[::2, ::2, ::2].long()] == CORTEX].median())
    image = change_contrast(image, grey, levels, rng)
    levels = reference_levels(image, tissue, DARKEST)
    if rng.bernoulli(0.5):
        paint_ageing(image, tissue, rng, levels)
    if rng.bernoulli(0.25 + 0.6 * age):
        paint_disease(image, tissue, rng.uniform(0, age), rng.uniform(0.12, 0.45), rng, levels)
    mask = paint_strokes(image, tissue, [p[1:] for p in placed], condition, rng, levels)
    if not is_real:
        image = surround(image, scan, distance, where, data, name, rng)
    if rng.bernoulli(0.25):
        image = move_head(image, rng.uniform(0.2, 1.2), rng)
    image = simulate_scan(image, rng, noise=NOISE, shade=0.35).clamp(*STANDARD_RANGE)
    return StrokeHead(to_levels(image), mask, name, tuple(p[0] for p in placed))


def surround(image: Tensor, scan: LabelledScan, distance: Tensor, where: Tensor, data: Path, name: str, rng) -> Tensor:
    """Return a brain within the average head, within a made-up one, or bare."""
    kind = rng.uniform(0, 1)
    if kind < 0.35:
        headed = load_average_head(scan, data / "brain_t1", name)
        return add_average_head(image, headed, distance, Pose(list(where), False), rng)
    if kind < 0.7:
        below = ((image.shape[2] - 1) / 2 - torch.arange(image.shape[2])).expand(image.shape)
        return add_skull(image, distance, below, rng)
    return image


def load_aged_head(data: Path, part: str, condition: str, number: int, shapes: LesionShapes) -> StrokeHead:
    """Return head `number` of a condition, made anew or from the cache."""
    kept = cache_folder("stroke", data) / part / condition / f"{number:04d}.npz"
    return keep_head(kept, lambda: make_aged_head(data, part, condition, number, shapes))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--condition", default=TRAINING, choices=(TRAINING, *CONDITIONS))
    save_sheet(parser, lambda args, n, shapes: make_aged_head(args.data, args.part, args.condition, n, shapes))
