"""What “match more” does: `python -m training.evaluation.matched_regions DATA --out DIR [--pairs N]`.

Pairs of the test people of DATA, laid out as for the training, are registered without words and with a wish for some
regions. Writes `cases.csv`, a row for each pair and wish with the Dice, by the true labels, of the regions that were
wished for and of all 35, and `summary.md`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from medapp.algorithms.wishes import Effect, read_wishes
from medapp.analysis.mask_metrics import compute_dice
from medapp.analysis.region_overlap import PREDICTED_SOURCE
from medapp.imaging.brain_labels import translate_labels
from medapp.imaging.deformation import folding_percent
from medapp.imaging.volume import Volume
from medapp.result import Result
from medapp.serving import runtime
from training.core.case import PREDICTED_REGIONS
from training.core.score_tables import collect_scores
from training.methods.register_brain_textscf import read_cases

METHOD = "register_brain_textscf"
WISHES = ("match the hippocampi exactly", "match the thalami exactly", "match the basal ganglia exactly")


def measure_dice(result: Result, truth: Volume, moving_truth: Volume) -> dict[int, float]:
    """The Dice coefficient of each class that the fixed image has."""
    assert result.deformation is not None
    fixed = translate_labels(truth.array)
    moving = moving_truth.new_like(translate_labels(moving_truth.array))
    warped = result.deformation.warp(moving, result.affine).array
    return {int(n): float(compute_dice(warped == n, fixed == n)) for n in np.unique(fixed[fixed > 0])}


def score_pairs(data: Path, count: int) -> Iterator[dict]:
    """Yield a row for each pair and wish."""
    cases = (case for case in read_cases(data, "test") if case.condition == PREDICTED_REGIONS)
    for case, _ in zip(cases, range(count), strict=False):
        assert case.moving_truth is not None
        images, maps = case.volumes[:2], (None, None)
        usual = runtime.run(METHOD, *images, *maps)
        predicted = [replace(usual.volumes[role], name=PREDICTED_SOURCE) for role in ("labels", "moving_labels")]
        before = measure_dice(usual, case.truth, case.moving_truth)
        for words in WISHES:
            result = runtime.run(METHOD, *images, *predicted, what_matters=words)
            after = measure_dice(result, case.truth, case.moving_truth)
            wished = [n for n in read_wishes(words, lambda name: None).select_regions(Effect.MATCH) if n in before]
            row: dict = {"pair": case.patient, "words": words}
            for name, regions in (("wished", wished), ("all", list(before))):
                for when, values in (("without", before), ("with", after)):
                    row[f"{name} {when}"] = round(float(np.mean([values[n] for n in regions])), 4)
            inside = images[0] is not None and images[0].array > 0
            assert result.deformation is not None
            yield row | {"folding": folding_percent(result.deformation.jacobian_determinant(), inside)}


def summarize(rows: list[dict]) -> str:
    """The means as a table in Markdown."""
    columns = ("wished without", "wished with", "all without", "all with", "folding")
    lines = [f"| words | pairs | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for words in WISHES:
        few = [row for row in rows if row["words"] == words]
        lines.append(
            f"| {words} | {len(few)} | " + " | ".join(f"{np.mean([r[c] for r in few]):.3f}" for c in columns) + " |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=4)
    args = parser.parse_args()
    collect_scores(args.out, score_pairs(args.data, args.pairs), summarize)


if __name__ == "__main__":
    main()
