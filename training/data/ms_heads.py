"""Training patches for MS, made up and real.

`python -m training.data.ms_heads --data DATA --out SHEET.png` draws a sheet of them to be looked at. DATA holds
`brain_t1` and `ms`; what takes long is kept in `runs/data`.
"""

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from medapp.algorithms.anatomical_priors import make_prior_maps
from medapp.algorithms.ms_input import SEQUENCES, stack_channels
from medapp.imaging.intensity import BLACK_TO_TISSUE, normalize_to_tissue
from training.core.random_source import RandomSource
from training.data import glioma_flair, labelled_brains
from training.data.brain_tissues import TISSUE_CLASS
from training.data.labelled_brains import STEP_MM
from training.data.ms_acquisition import THICK_SLICES, simulate_extraction, simulate_sequences
from training.data.ms_lesions import (  # fmt: skip
    MASK_BANK,
    WHITE,
    draw_specks,
    paint_lesions,
    read_mask_bank,
    synthesize_ms_flair,
    thin_lesions,
)
from training.data.ms_patients import (
    RealPatient,
    TransplantBrain,
    list_patients,
    load_brain,
    load_glioma,
    load_patient,
    person_of,
)
from training.data.random_contrast import map_contrast
from training.data.random_pose import Pose, depth_below_centre, draw_pose, sample_linear, sample_nearest

LEAST_WHITE = 500  # voxels of white matter, else a patch is measured by all that it shows
PATCH, WHOLE_BRAIN = (64, 64, 64), (144, 176, 144)  # voxels
SINGLE_LESION_SHARE = 0.5  # share of those about its own, where large and small ones are as likely
NEAR_LESION_SHARE = 0.66  # share of the patches that lie about a lesion, if there is one
SHEET_TILES = ((2, 0, False), (2, 0, True), (1, 0, False), (0, 0, False), (2, 1, False), (2, 4, False), (2, 3, False))
"""Of a row of the sheet: axis, channel, outlined."""
REAL_SHARE, GLIOMA_SHARE = 0.45, 0.2  # shares of the patches; the rest is made up


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


class Patch(NamedTuple):
    """A training patch: `x` (CHANNELS, X, Y, Z) as when served, `target` and `known` as of a `PatientView`."""

    x: Tensor
    target: Tensor
    known: Tensor


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
    images = simulate_extraction(images, t1, tissue, distance, depth_below_centre(scan, pose), rng)
    regions = dict.fromkeys(SEQUENCES, perturb_regions(TISSUE_CLASS[scan.tissue.long()], pose, soft, rng))
    return PatientView(
        images, soft, torch.ones(size, dtype=torch.bool), regions, template_coordinates(head.template_affine, pose, rng)
    )


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
    image, t1, own, white, unknown, others = sample_linear(parts, pose)
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
        painting = others * (1 - own)
        images = paint_lesions(images, painting, rng)
        own = torch.maximum(own, others)
    regions = {role: perturb_regions(classes, pose, painting, rng) for role, classes in real.regions.items()}
    return PatientView(images, own, known, regions, template_coordinates(real.template_affine, pose, rng))


def make_patch(view: PatientView, rng: RandomSource) -> Patch:
    """Return the network's input for a view, now and then without any regions, as where no brain is found."""
    images, coarse = simulate_sequences(view.images, rng, *THICK_SLICES)
    sequence = "t1" if "t1" in images else "thick" if coarse and "thick" in view.regions else "flair"
    regions = view.regions[sequence].numpy()
    template_mm = view.template_mm
    if rng.bernoulli(0.03):
        regions, template_mm = np.zeros_like(regions), None
    known = make_prior_maps(regions, None if template_mm is None else [mm.numpy() for mm in template_mm])
    white = known[0] > 0
    if white.sum() < LEAST_WHITE:
        white[:] = False
    normalized = {role: normalize_to_tissue(image.numpy(), white) for role, image in images.items()}
    return Patch(torch.from_numpy(stack_channels(normalized, known)), view.target, view.known)


class PatchSource:
    """Patches of the named brains, of patients but those left out (`P14`, `p07`, ...), and of heads with a glioma."""

    def __init__(self, data: Path, brains: list[str], leave: Collection[str] = (), gliomas: bool = True) -> None:
        self.heads = [load_brain(data, name) for name in brains]
        self.without = {name.replace("p", "patient") for name in leave}  # in the words of the masks
        bank, self.patients = read_mask_bank(data / "ms" / MASK_BANK), dict[str, list[RealPatient]]()
        for name in list_patients(data):
            if person_of(name) not in leave:
                self.patients.setdefault(person_of(name), []).append(load_patient(data, name, bank))
        rest = (load_glioma(data, name) for name in (glioma_flair.list_heads(data) if gliomas else ()))
        self.gliomas = [real for real in rest if real is not None]

    def sample(self, rng: RandomSource, size: tuple[int, int, int] = PATCH) -> Patch:
        """Draw a patch, always the same for the same seed."""
        way = rng.uniform(0, 1)
        if way < REAL_SHARE:
            scans = list(self.patients.values())[rng.randint(len(self.patients))]
            view = draw_real(scans[rng.randint(len(scans))], size, rng, self.without)
        elif way < REAL_SHARE + GLIOMA_SHARE and self.gliomas:
            view = draw_real(self.gliomas[rng.randint(len(self.gliomas))], size, rng, self.without)
        else:
            view = draw_made_up(self.heads[rng.randint(len(self.heads))], size, rng, self.without)
        return make_patch(view, rng)


def contact_sheet(patches: list[Patch]) -> Image.Image:
    """Return a picture with a row a patch: FLAIR in three planes, T1 beside it, lesions outlined once."""
    rows = []
    for x, target, _ in patches:
        volume, mask = x.numpy(), target.numpy() > 0.5
        at = [int(mask.sum(tuple(b for b in range(3) if b != a)).argmax()) or mask.shape[a] // 2 for a in range(3)]
        tiles = []
        for axis, channel, outlined in SHEET_TILES:
            piece = np.take(volume[channel], at[axis], axis).T[::-1]
            grey = np.repeat(
                ((piece / BLACK_TO_TISSUE + 1) / 2.5 * 255).clip(0, 255).astype(np.uint8)[..., None], 3, -1
            )
            if outlined:
                outline = np.take(mask, at[axis], axis).T[::-1]
                grey[outline & ~ndimage.binary_erosion(outline)] = (255, 60, 60)
            tiles.append(np.pad(grey, [(0, 180 - grey.shape[0]), (0, 180 - grey.shape[1]), (0, 0)]))
        rows.append(np.concatenate(tiles, 1))
    return Image.fromarray(np.concatenate(rows, 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    brains = labelled_brains.split_scans(labelled_brains.list_scans(args.data / "brain_t1"))["train"]
    clinic = PatchSource(args.data, brains[:3])
    reals = [scans[0] for scans in clinic.patients.values()]
    patches = []
    for row in range(args.rows):
        rng = RandomSource(args.seed + row)
        if row % 3 == 0:
            view = draw_made_up(clinic.heads[rng.randint(3)], WHOLE_BRAIN, rng)
        else:
            view = draw_real((reals, clinic.gliomas)[row % 3 - 1][rng.randint(len(reals))], WHOLE_BRAIN, rng)
        patches.append(make_patch(view, rng))
    contact_sheet(patches).save(args.out)


if __name__ == "__main__":
    main()
