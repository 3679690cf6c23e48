"""How well brains of different contrasts are registered, beside T1 to T1.

`python -m training.evaluation.contrast_pairs DATA --out DIR [--pairs N]`. DATA holds T1 scans and their labels, as for
the training of the method. The moving scan of each pair of the test people is redrawn like T2 and like FLAIR, tissue by
tissue, and registered by the app to the other's T1. Writes `cases.csv`, a row for each pair and contrast, and
`summary.md`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from medapp.imaging.brain_labels import translate_labels
from medapp.imaging.scan_kinds import FLAIR, T1, T2
from medapp.imaging.volume import Volume
from medapp.serving import runtime
from training.core.case import PREDICTED_REGIONS
from training.core.random_source import RandomSource
from training.core.score_tables import collect_scores
from training.core.statistics import summarize
from training.data.brain_tissues import FLUID_TISSUES, RIM
from training.data.random_contrast import map_contrast
from training.evaluation.registration_metrics import score_field
from training.methods.register_brain_textscf import read_cases

METHOD = "register_brain_textscf"
LEVELS = {T2: (1.9, 1.15, 0.75, 0.7), FLAIR: (0.25, 1.2, 0.95, 0.9)}
"""How bright fluid, grey matter, white matter and what is brighter in T1 are, in units of white matter in T1."""
T1_LEVELS = (0.3, 0.68, 1.0)  # of fluid, grey and white matter, to which `map_contrast` gives the levels above
NOISE = 0.02  # standard deviation in the same units


def redraw_scan(t1: Volume, labels: Volume, contrast: str, rng: RandomSource) -> Volume:
    """Return a skull-stripped scan in another contrast, 0 where it was 0."""
    image = torch.from_numpy(np.asarray(t1.array, np.float32))
    tissue = torch.from_numpy(translate_labels(labels.array))
    tissue[(image > 0) & (tissue == 0)] = RIM
    tissues = (FLUID_TISSUES[FLUID_TISSUES != RIM], torch.tensor([2, 21]), torch.tensor([1, 20]))
    medians = [float(image[torch.isin(tissue, each)].median()) for each in tissues]
    levels = torch.from_numpy(np.interp(image.numpy(), medians, T1_LEVELS)).float()
    drawn = map_contrast(levels, tissue, LEVELS[contrast], rng) + rng.normal(*image.shape, scale=NOISE)
    return t1.new_like((1000 * drawn.clamp(min=1e-3) * (image > 0)).numpy(), headers=())


def score_pairs(data: Path, count: int) -> Iterator[dict]:
    """Yield a row for each pair of the test people and contrast of the moving scan."""
    cases = (case for case in read_cases(data, "test") if case.condition == PREDICTED_REGIONS)
    for number, case in zip(range(count), cases, strict=False):
        fixed, moving, *others = case.volumes
        assert fixed is not None and moving is not None and case.moving_truth is not None
        for contrast in (T1, *LEVELS):
            scan = moving
            if contrast != T1:
                scan = redraw_scan(moving, case.moving_truth, contrast, RandomSource(number))
            result = runtime.run(METHOD, fixed, scan, *others)
            assert result.deformation is not None and result.affine is not None
            figures = score_field(result.deformation, result.affine, fixed, case.truth, case.moving_truth)
            yield {"patient": case.patient, "contrast": contrast} | figures


def render_summary(rows: list[dict]) -> str:
    """The means as a table in Markdown."""
    lines = ["| moving scan | pairs | Dice, all labels | Dice, 35 regions | folding (%) |", "|---|---|---|---|---|"]
    for contrast in (T1, *LEVELS):
        few = [row for row in rows if row["contrast"] == contrast]
        means = [summarize(row[name] for row in few)["mean"] for name in ("dice", "dice_regions", "folding")]
        name = contrast if contrast == T1 else f"like {contrast}"
        lines.append(f"| {name} | {len(few)} | {means[0]:.3f} | {means[1]:.3f} | {means[2]:.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=12)
    args = parser.parse_args()
    collect_scores(args.out, score_pairs(args.data, args.pairs), render_summary)


if __name__ == "__main__":
    main()
