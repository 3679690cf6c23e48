"""Folds and batches of slices as RAX-Net's authors describe: `python -m training.data.stroke_folds --data DATA`.

Slices with lesion are divided by its size into bins, people into folds that are alike in them, and every slice of
every bin comes into one batch an epoch, with as many without lesion. In the authors' own lists people cross from fold
to fold, the largest lesions are never used, and slices without lesion were looked for in another plane.
"""

import argparse
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu
from sklearn.model_selection import StratifiedGroupKFold

from training.data.labelled_brains import RESCANS, SEED
from training.data.stroke_heads import StrokeHead, load_head
from training.data.stroke_lesions import LesionShapes
from training.data.stroke_slices import FAINT_CONTRAST, PLANES

BIN_BORDERS = {  # pixels of lesion in a slice up to which a bin goes; the last has no end
    "axial": (200, 500, 1000, 2000, 3000),
    "coronal": (200, 500, 1000, 2000, 3000),
    "sagittal": (500, 1000, 2000, 3000, 5000),
}
FOLDS, BATCH = 5, 32  # half of a batch has lesion


class PlaneSlices(NamedTuple):
    """Slices of one plane: subject, slice index and pixels of lesion, (N,) each."""

    subject: np.ndarray
    at: np.ndarray
    pixels: np.ndarray

    def bins(self, plane: str) -> np.ndarray:
        """(N,) the bin of each by the size of its lesion, from 0; -1 without."""
        return np.where(self.pixels > 0, np.digitize(self.pixels, BIN_BORDERS[plane], right=True), -1)


class Fold(NamedTuple):
    """Which slices train and which are held out, (M,) indices; in either, at most half are without lesion."""

    train: np.ndarray
    held: np.ndarray


def list_slices(heads: Iterable[StrokeHead], plane: str) -> PlaneSlices:
    """Return the slices of a plane in which there is more than noise."""
    rows = []
    across = PLANES[plane]
    rest = tuple(axis for axis in range(3) if axis != across)
    for each in heads:
        pixels, contrast = each.mask.sum(rest), np.ptp(each.image, rest)
        person = RESCANS.get(each.brain, each.brain)
        rows += [(person, at, n) for at, n in enumerate(pixels.tolist()) if n or contrast[at] > FAINT_CONTRAST]
    subject, at, count = zip(*rows, strict=True)
    return PlaneSlices(np.array(subject), np.array(at), np.array(count))


def split_folds(slices: PlaneSlices, plane: str, count: int = FOLDS, seed: int = SEED) -> list[Fold]:
    """Split slices into folds of whole people, alike in the sizes of lesion, with as many slices without lesion as
    with.

    Raises ValueError for fewer people with lesions than folds.
    """
    random = np.random.default_rng(seed)
    lesion, empty = np.flatnonzero(slices.pixels > 0), np.flatnonzero(slices.pixels == 0)
    people = len(np.unique(slices.subject[lesion]))
    if people < count:
        raise ValueError(f"{count} folds need as many people with lesions, not {people}")
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a bin of fewer slices than folds
        split = list(splitter.split(lesion, slices.bins(plane)[lesion], slices.subject[lesion]))
    parts = []
    for _, held in split:
        mine = lesion[held]
        normal = empty[np.isin(slices.subject[empty], slices.subject[mine])]
        parts.append(np.concatenate([mine, random.permutation(normal)[: len(mine)]]))
    return [Fold(np.concatenate(parts[:k] + parts[k + 1 :]), parts[k]) for k in range(count)]


def deal_batches(
    slices: PlaneSlices, indices: np.ndarray, plane: str, random: np.random.Generator, size: int = BATCH
) -> list:
    """The slices `chosen` (M,) dealt out for one epoch: of every bin each batch gets its share, to one slice.

    Each slice comes once. Slices with lesion come `size` / 2 a batch at most, those without are spread alike.
    """
    bins = slices.bins(plane)[indices]
    count = max(1, -(-int((bins >= 0).sum()) // (size // 2)))
    dealt: list[list[int]] = [[] for _ in range(count)]
    for part in (bins >= 0, bins < 0):
        mixed = random.permutation(np.flatnonzero(part))
        ordered = indices[mixed[np.argsort(bins[mixed], kind="stable")]]
        for number, batch in enumerate(random.permutation(count)):
            dealt[batch] += ordered[number::count].tolist()
    return [random.permutation(batch) for batch in dealt]


def lesion_size_p(slices: PlaneSlices, fold: Fold) -> float:
    """Return the p-value of the Mann–Whitney test that lesions held out are as large as those that train."""
    train, held = (slices.pixels[part][slices.pixels[part] > 0] for part in fold)
    return float(mannwhitneyu(train, held).pvalue)


def describe_folds(slices: PlaneSlices, folds: list[Fold], plane: str) -> str:
    """Return a line a fold: people, slices held out in every bin and without lesion, and the test."""
    lines = []
    for number, fold in enumerate(folds, 1):
        bins = slices.bins(plane)[fold.held]
        sizes = np.bincount(bins[bins >= 0], minlength=len(BIN_BORDERS[plane]) + 1)
        who = len(np.unique(slices.subject[fold.held]))
        lines.append(
            f"{plane} fold {number}: {who} people; lesion slices by bin {' '.join(map(str, sizes))}; "
            f"{int((bins < 0).sum())} without; Mann–Whitney p = {lesion_size_p(slices, fold):.3f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--heads", type=int, default=60)
    parser.add_argument("--folds", type=int, default=FOLDS)
    args = parser.parse_args()
    shapes = LesionShapes(args.data / "stroke_masks", "train")
    heads = [load_head(args.data, "train", number, shapes) for number in range(args.heads)]
    for plane in PLANES:
        slices = list_slices(heads, plane)
        print(describe_folds(slices, split_folds(slices, plane, args.folds), plane))


if __name__ == "__main__":
    main()
