"""Score clicks on lesions that a method has missed or cut short: Dice after one, two and three clicks.

`python -m training.evaluation.clicked_lesions METHOD DATA --out DIR [--part PART] [--condition NAME] [--people N]`.

DATA is that of the training. A lesion of the reference of which the mask holds less than FOUND, and at least LEAST_ML,
is clicked in the middle of its largest missed part, then twice in the middle of the largest error, as studies of
interactive segmentation do (Xu 2016, arXiv:1603.04042). What is shown first after a click is taken; "best" is the best
of the sizes that are offered after the first. The mask inside the lesion counts as found, other lesions of the
reference do not count. The peer is NiiVue's click-to-segment at its defaults: all that is joined to the voxel by faces
and at least as bright (in strokes on T1: as dark); scikit-image's flood stands in for its own. It has no click that
takes away, so these are left out. Writes `cases.csv`, means of each person, and `summary.md`.
"""

import argparse
import importlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from skimage.segmentation import flood

from medapp.algorithms.click_crops import Clicked
from medapp.algorithms.lesion_proposals import Click, Region, propose_addition, refine_proposal
from medapp.analysis.mask_metrics import compute_dice, find_bounding_box, label_components
from medapp.imaging.volume import Grid
from medapp.presenters import get_presenter
from medapp.presenters.base import Presenter
from medapp.serving import runtime
from training.core.case import Case
from training.core.score_tables import collect_scores, method_table

LEAST_ML = 0.05
FOUND = 0.8  # of a lesion from which on it is not clicked
CLICKS = ("one click", "two clicks", "three clicks")
DARK = "segment_stroke_raxnet"
METHODS = ("ours", "NiiVue's flood")


def find_middle(region: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the index (3,) in (I, J, K) bool that lies deepest, in mm, in its largest connected part."""
    largest = label_components(region)[0] == 1
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in find_bounding_box(largest))
    depth = ndimage.distance_transform_edt(np.pad(largest[box], 1), sampling=grid.spacing)[1:-1, 1:-1, 1:-1]
    return np.unravel_index(int(depth.argmax()), depth.shape) + np.array([s.start for s in box])


def list_missed(mask: np.ndarray, truth: np.ndarray, grid: Grid) -> list[np.ndarray]:
    """Return the lesions, each (I, J, K) bool, of which the mask holds less than FOUND; the largest first."""
    labels, count = label_components(truth)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    held = np.bincount(labels[mask], minlength=count + 1)
    return [
        labels == number
        for number in range(1, count + 1)
        if sizes[number] * grid.voxel_ml >= LEAST_ML and held[number] < FOUND * sizes[number]
    ]


class Clicking:
    """What a way to answer clicks has shown for one lesion, after each of them.

    `masks` are what would be added, (I, J, K) bool; `best` is the Dice of the best size after the first click.
    """

    def __init__(self, clicked: Clicked, lesion: np.ndarray, others: np.ndarray, answer: "Answer") -> None:
        self.masks: list[np.ndarray] = []
        self.dice: list[float] = []
        self.best = 0.0
        self.seconds: list[float] = []
        grid, known = clicked.image.grid, clicked.mask & lesion
        clicks: list[Click] = []
        shown = np.zeros(lesion.shape, bool)
        for _ in CLICKS:
            found = known | (shown & ~others)
            missing, wrong = lesion & ~found, found & ~lesion
            if missing.any() or wrong.any():
                at = find_middle(missing if not clicks else _largest_part(missing, wrong), grid)
                clicks.append(Click(grid.to_mm(at), bool(lesion[tuple(at)])))
                began = time.perf_counter()
                offered, first = answer(clicked, clicks, shown if len(clicks) > 1 else None)
                self.seconds.append(time.perf_counter() - began)
                shown = offered[first] if offered else shown
                if len(clicks) == 1:
                    masks = [known | (each & ~others) for each in offered]
                    self.best = max((compute_dice(each, lesion) for each in masks), default=compute_dice(known, lesion))
            self.masks.append(shown)
            self.dice.append(compute_dice(known | (shown & ~others), lesion))


Answer = Callable[[Clicked, Sequence[Click], np.ndarray | None], tuple[list[np.ndarray], int]]


def _largest_part(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    parts = [label_components(each)[0] == 1 for each in (first, second)]
    return max(parts, key=np.count_nonzero)


def answer_as_served(
    clicked: Clicked, clicks: Sequence[Click], shown: np.ndarray | None
) -> tuple[list[np.ndarray], int]:
    """Return what the page offers, each (I, J, K) bool, and the number of the one that it shows first."""
    if shown is None or not shown.any():
        proposals = propose_addition(clicked, clicks[-1].mm)
    else:
        proposals = refine_proposal(clicked, clicks, shown, removes=False)
    return [paint(region, clicked.mask.shape) for region in proposals.regions], proposals.first


def paint(region: Region, shape: tuple[int, ...]) -> np.ndarray:
    """Return a region as (I, J, K) bool."""
    mask = np.zeros(shape, bool)
    mask[region.box] = region.voxels
    return mask


def flood_from(sign: int) -> Answer:
    """Return NiiVue's answer: from each wanted click what is joined by faces and, times `sign`, at least as bright."""

    def answer(clicked: Clicked, clicks: Sequence[Click], shown: np.ndarray | None) -> tuple[list[np.ndarray], int]:
        before = np.zeros(clicked.mask.shape, bool) if shown is None else shown
        if not clicks[-1].is_wanted:
            return [before], 0
        image = np.asarray(clicked.image.array, np.float32) * sign
        at = tuple(np.rint(clicked.image.grid.to_index(clicks[-1].mm)).astype(int))
        return [before | flood(image >= image[at], at, connectivity=1)], 0

    return answer


def score_case(case: Case, method: str, most: int) -> Iterator[dict]:
    """Yield a row for each way to answer clicks; none where nothing was missed."""
    options: dict[str, Any] = dict(case.options)
    result = runtime.run(method, *case.volumes, **options)
    presenter: Presenter = get_presenter(runtime.find_card(method))
    image, probability, brain = presenter.image(result), result.volumes["probability"], presenter.brain(result)
    mask, truth = result.volumes["mask"].array > 0, case.truth.array > 0
    clicked = Clicked(image, mask, probability.array, None if brain is None else brain.array)
    missed = list_missed(mask, truth, image.grid)[:most]
    for name in METHODS if missed else ():
        answer = answer_as_served if name == "ours" else flood_from(-1 if method == DARK else 1)
        lesions = [Clicking(clicked, lesion, truth & ~lesion, answer) for lesion in missed]
        row: dict[str, Any] = {"patient": case.patient, "image": case.image, "group": name, "condition": case.condition}
        row |= {"lesions": len(missed), "first, best size": float(np.mean([each.best for each in lesions]))}
        row["whole mask before"] = compute_dice(mask, truth)
        for number, clicks in enumerate(CLICKS):
            row[clicks] = float(np.mean([each.dice[number] for each in lesions]))
            whole = np.logical_or.reduce([mask, *(each.masks[number] for each in lesions)])
            row[f"whole mask after {clicks}"] = compute_dice(whole, truth)
        yield row | {"seconds": max(second for each in lesions for second in each.seconds)}


FIGURES = (
    *CLICKS, "first, best size", "whole mask before", "whole mask after one click", "whole mask after three clicks",
    "lesions", "seconds",
)  # fmt: skip


def score_cases(args: argparse.Namespace) -> Iterator[dict]:
    """Yield the rows of all people."""
    people: set[str] = set()
    training = importlib.import_module(f"training.methods.{args.method}")
    for case in training.read_cases(args.data, args.part):
        if args.condition and case.condition != args.condition:
            continue
        if len(people | {case.patient}) > args.people:
            break
        people.add(case.patient)
        yield from score_case(case, args.method, args.lesions) if case.truth.array.any() else ()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method")
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="test")
    parser.add_argument("--condition", help="score this condition alone")
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--lesions", type=int, default=10, help="of a person, the largest first")
    args = parser.parse_args(arguments)
    collect_scores(args.out, score_cases(args), lambda rows: method_table(rows, FIGURES) if rows else "nothing missed")


if __name__ == "__main__":
    main()
