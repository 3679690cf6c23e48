"""Training patches for MS, made up and real, scanned for research or in a clinic.

`python -m training.data.ms_patches --data DATA --out SHEET.png` draws a sheet of them to be looked at. DATA holds
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
from medapp.algorithms.ms_input import stack_channels
from medapp.imaging.intensity import BLACK_TO_TISSUE, STANDARD_RANGE, normalize_to_tissue
from training.core.random_source import RandomSource
from training.data import glioma_flair, labelled_brains
from training.data.contact_sheet import colour_border, join_tiles
from training.data.ms_acquisition import simulate_clinic, simulate_sequences
from training.data.ms_heads import WHOLE_BRAIN, PatientView, draw_made_up, draw_real
from training.data.ms_lesions import (  # fmt: skip
    MASK_BANK,
    read_mask_bank,
)
from training.data.ms_patients import (
    RealPatient,
    list_clinical,
    list_patients,
    load_brain,
    load_clinical,
    load_glioma,
    load_patient,
    person_of,
)

LEAST_WHITE = 500  # voxels of white matter, else a patch is measured by all that it shows
PATCH = (64, 64, 64)  # voxels
SHEET_TILES = ((2, 0, False), (2, 0, True), (1, 0, False), (0, 0, False), (2, 1, False), (2, 4, False), (2, 3, False))
"""Of a row of the sheet: axis, channel, outlined."""
CLINICAL_SHARE = 0.5  # of the patches of heads scanned for research that are scanned as in a clinic
THICK_PEOPLE_SHARE = 0.2  # of the patches, of people whom a clinic has scanned, if there are any
REAL_SHARE, GLIOMA_SHARE = 0.45, 0.2  # shares of the patches; the rest is made up


class Patch(NamedTuple):
    """A training patch: `x` (CHANNELS, X, Y, Z) as when served, `target` and `known` as of a `PatientView`."""

    x: Tensor
    target: Tensor
    known: Tensor


def make_patch(view: PatientView, rng: RandomSource) -> Patch:
    """Return the network's input for a view, now and then without any regions, as where no brain is found."""
    target, is_clinical = view.target, view.is_scanned or rng.bernoulli(CLINICAL_SHARE)
    if is_clinical:
        images, target, coarse = simulate_clinic(
            view.images, target, view.distance, view.below, rng, done=view.is_scanned
        )
    else:
        images, coarse = simulate_sequences(view.images, rng, share=0)
    sequence = "t1" if "t1" in images else "thick" if coarse and "thick" in view.regions else "flair"
    regions = view.regions[sequence].numpy()
    template_mm = view.template_mm
    if rng.bernoulli(0.03):
        regions, template_mm = np.zeros_like(regions), None
    known = make_prior_maps(regions, None if template_mm is None else [mm.numpy() for mm in template_mm])
    white = known[0] > 0
    if white.sum() < LEAST_WHITE:
        white[:] = False
    normalize = normalize_from_black if is_clinical else normalize_to_tissue
    normalized = {role: normalize(image.numpy(), white) for role, image in images.items()}
    return Patch(torch.from_numpy(stack_channels(normalized, known)), target, view.known)


def normalize_from_black(image: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Return what `normalize_to_tissue` gives of the whole head of which `image` is a patch, where black is 0."""
    level = np.median(image[white] if white.any() else image[image >= image.mean()])
    return np.minimum(BLACK_TO_TISSUE * (image / max(level, 1e-3) - 1), STANDARD_RANGE[1]).astype(np.float32)


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
        clinical = (name for name in list_clinical(data) if person_of(name) not in leave)
        self.thick = [load_clinical(data, name) for name in clinical]

    def sample(self, rng: RandomSource, size: tuple[int, int, int] = PATCH) -> Patch:
        """Draw a patch, always the same for the same seed."""
        way = rng.uniform(0, 1)
        if self.thick and rng.bernoulli(THICK_PEOPLE_SHARE):
            view = draw_real(self.thick[rng.randint(len(self.thick))], size, rng, self.without)
        elif way < REAL_SHARE:
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
            grey = ((piece / BLACK_TO_TISSUE + 1) / 2.5 * 255).clip(0, 255).astype(np.uint8)
            lesions = np.take(mask, at[axis], axis).T[::-1] & outlined
            tiles.append(colour_border(grey, lesions & ~ndimage.binary_erosion(lesions)))
        rows.append(tiles)
    return join_tiles(rows, 180)


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
