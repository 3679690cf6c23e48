"""What is seen of a patient with MS, made up or real, before a scanner."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from torch import Tensor

from medapp.algorithms.ms_input import SEQUENCES
from training.core.random_source import RandomSource
from training.data.brain_tissues import TISSUE_CLASS
from training.data.labelled_brains import STEP_MM
from training.data.ms_acquisition import simulate_extraction
from training.data.ms_lesions import (  # fmt: skip
    WHITE,
    draw_specks,
    paint_lesions,
    synthesize_ms_flair,
    thin_lesions,
)
from training.data.ms_patients import (
    RealPatient,
    TransplantBrain,
)
from training.data.random_contrast import map_contrast
from training.data.random_pose import Pose, depth_below_centre, draw_pose, sample_linear, sample_nearest
from training.data.thick_slices import make_slices, show_lesions

WHOLE_BRAIN = (144, 176, 144)  # voxels
SINGLE_LESION_SHARE = 0.5  # share of those about its own, where large and small ones are as likely
NEAR_LESION_SHARE = 0.66  # share of the patches that lie about a lesion, if there is one
THICK_MM = 2.0  # mm of slices that are thick


class PatientView(NamedTuple):
    """What is seen of a patient before a scanner, (X, Y, Z) each.

    `images` by sequence; `target`, the share of lesion; `known` bool, where that is so; `regions` by the sequence in
    which they were found; `template_mm`, RAS+ mm of the template.
    """

    images: dict[str, Tensor]
    target: Tensor
    known: Tensor
    regions: dict[str, Tensor]
    template_mm: list[Tensor] | None
    distance: Tensor  # from the brain, in mm
    below: Tensor  # the middle of the head, in mm
    is_scanned: bool = False  # by a clinical scanner


def points_to_mask(index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return (X, Y, Z) uint8, 255 at every index (N, 3) inside it."""
    out = torch.zeros(shape, dtype=torch.uint8)
    index = index.long()
    index = index[((index >= 0) & (index < torch.tensor(shape))).all(1)]
    out[tuple(index.T)] = 255
    return out


def perturb_regions(regions: Tensor, pose: Pose, lesion: Tensor, rng: RandomSource) -> Tensor:
    """Return classes of a brain as a network may find them: borders a little off, some lesions taken for cortex or
    fluid.
    """
    off = rng.smooth_field(tuple(lesion.shape), 12, 3) * rng.uniform(0, 1.2)
    perturbed = sample_nearest(regions, Pose([p + o for p, o in zip(pose.points, off, strict=True)], pose.mirrored))
    wrong = (lesion > 0.3) & (rng.smooth_field(tuple(lesion.shape), 9)[0] > rng.uniform(-1, 3))
    return torch.where(wrong, torch.tensor(3 if rng.bernoulli(0.3) else 2, dtype=torch.uint8), perturbed)


def template_coordinates(template_affine: Tensor | None, pose: Pose, rng: RandomSource) -> list[Tensor] | None:
    """RAS+ mm of the template at every voxel seen, (X, Y, Z) each, a little off."""
    if template_affine is None or rng.bernoulli(0.04):
        return None
    template_affine = template_affine[:3] + rng.normal(3, 4, scale=1.0) * torch.tensor([0.015, 0.015, 0.015, 2])
    return [
        row[0] * pose.points[0] + row[1] * pose.points[1] + row[2] * pose.points[2] + row[3] for row in template_affine
    ]


def draw_made_up(
    head: TransplantBrain, size: tuple[int, int, int], rng: RandomSource, without: Collection[str] = ()
) -> PatientView:
    """Draw a view of a made-up patient, none with the lesions of people in `without`."""
    scan, who = head.scan, [name for name in head.transplants if name not in without]
    index = head.transplants[who[rng.randint(len(who))]]
    about = (
        index[rng.randint(len(index))]
        if len(index) and rng.bernoulli(NEAR_LESION_SHARE) and size != WHOLE_BRAIN
        else None
    )
    pose = draw_pose(scan.image.shape, size, rng, about)
    image, near, shallow, soft = sample_linear(
        [scan.image, 255 - scan.distance, 255 - head.depth, points_to_mask(index, scan.image.shape)], pose
    )
    tissue, distance, depth = sample_nearest(scan.tissue, pose), (255 - near) * STEP_MM, (255 - shallow) * STEP_MM
    brain = WHITE[tissue.long()]
    t1 = image / image[brain].median() if brain.any() else image / 255
    soft = thin_lesions(soft / 255, rng) if rng.bernoulli(0.88) else torch.zeros(size)
    if soft.any() and rng.bernoulli(0.4):
        soft = torch.maximum(soft, draw_specks(brain & (depth > 2), rng))
    t2 = map_contrast(t1, tissue, (rng.uniform(0.9, 1.4), rng.uniform(0.6, 0.8), 0.5, 0.45), rng)
    images = paint_lesions({"flair": synthesize_ms_flair(t1, tissue, depth, rng), "t1": t1, "t2": t2}, soft, rng)
    images = simulate_extraction(images, t1, tissue, distance, depth_below_centre(scan.image.shape, pose), rng)
    regions = dict.fromkeys(SEQUENCES, perturb_regions(TISSUE_CLASS[scan.tissue.long()], pose, soft, rng))
    known, template_mm = torch.ones(size, dtype=torch.bool), template_coordinates(head.template_affine, pose, rng)
    return PatientView(images, soft, known, regions, template_mm, distance, depth_below_centre(scan.image.shape, pose))


def draw_real(
    real: RealPatient, size: tuple[int, int, int], rng: RandomSource, without: Collection[str] = ()
) -> PatientView:
    """Draw a view of a real head, most often with lesions of others painted between its own."""
    who = [name for name in real.transplants if name not in without]
    more = real.transplants[who[rng.randint(len(who))]] if who else torch.zeros(0, 3)
    about, own = None, real.lesions.nonzero()
    if size != WHOLE_BRAIN and rng.bernoulli(NEAR_LESION_SHARE):
        where = own if len(own) and (rng.bernoulli(0.5) or not len(more)) else more
        if where is own and rng.bernoulli(SINGLE_LESION_SHARE):
            where = real.lesion_points
        about = where[rng.randint(len(where))] if len(where) else None
    pose = draw_pose(real.flair.shape, size, rng, about)
    parts = [real.flair, real.t1, real.lesions, real.white, real.unknown, points_to_mask(more, real.flair.shape)]
    image, t1, own, white, unknown, others, near = sample_linear([*parts, 255 - real.distance], pose)
    own, others, white, known = own / 255, others / 255, white / 255, unknown < 1
    sound = (white > 0.6) & (own < 0.01) & known
    little = sound.sum() < 500
    level, level_t1 = (255, 255 * t1.any()) if little else (image[sound].median(), t1[sound].median())
    images, painting = {"flair": image / level * 0.5}, torch.zeros_like(own)
    if level_t1 > 0:
        images["t1"] = t1 / level_t1
    if rng.bernoulli(0.6) and not little:
        room = (white > 0.35) & (images["flair"] > 0.38) & known
        others = thin_lesions(others * room, rng)
        if rng.bernoulli(0.3):
            others = torch.maximum(others, draw_specks(room & (white > 0.6), rng))
        if real.slice_mm > THICK_MM:
            stack = make_slices(size[2], real.slice_mm, real.slice_mm, real.slice_mm / 2)
            others = stack.spread(stack.acquire(others))
        painting = others * (1 - own)
        images = paint_lesions(images, painting, rng)
        own = torch.maximum(own, show_lesions(others) if real.slice_mm > THICK_MM else others)
    regions = {role: perturb_regions(classes, pose, painting, rng) for role, classes in real.regions.items()}
    template_mm, below = (
        template_coordinates(real.template_affine, pose, rng),
        depth_below_centre(real.flair.shape, pose),
    )
    return PatientView(
        images, own, known, regions, template_mm, (255 - near) * STEP_MM, below, is_scanned=real.slice_mm > THICK_MM
    )
