"""Score weights for MS lesions in the conditions of research and clinic, beside each other.

`python -m training.evaluation.ms_conditions DATA --out FILE [--weights FILE ...] [--people P14 p07]`.

DATA is that of the training. Scored are PEOPLE of DATA/ms at 1 mm, in 5 mm slices, with T1, and redrawn with a made-up
head in slices of 5 to 8 mm; everyone of DATA/ms_thick; and brains without lesions. FILE is a CSV of Dice, lesion-wise
F1 and ml at every threshold; the table that is printed has the mean Dice of each exam.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

from medapp.analysis.mask_metrics import compute_dice, compute_lesion_f1
from medapp.pipelines.segment_ms_rsanet import CARD, build_network
from medapp.serving.weight_files import locate_weights
from training.core.score_tables import write_rows
from training.data.labelled_brains import list_scans, split_scans
from training.data.ms_exams import Exam, clinical_exam, made_up_exams, patient_exams
from training.data.ms_patients import list_clinical, list_patients, load_brain, person_of
from training.methods.segment_ms_rsanet import HELD_OUT, as_served

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def make_exams(data: Path, people: list[str]) -> Iterator[Exam]:
    """Yield the exams of everyone, one after the other."""
    for name in list_clinical(data):
        yield clinical_exam(data, name)
    for name in list_patients(data):
        if person_of(name) in people:
            yield from patient_exams(data, name, clinical=True)
    for seed, name in enumerate(split_scans(list_scans(data / "brain_t1"))["test"], 100):
        yield from made_up_exams(load_brain(data, name), seed)


def score_exam(exam: Exam, weights: Path) -> Iterator[dict]:
    """Yield a row for each threshold."""
    net = build_network()
    net.load_state_dict(load_file(weights))
    probability, truth = exam.predict(as_served(net.eval())), exam.truth.array > 0
    ml = exam.truth.grid.voxel_ml
    for threshold in THRESHOLDS:
        mask = probability >= threshold
        scores = {"dice": compute_dice(mask, truth), "lesion_f1": compute_lesion_f1(mask, truth)} if truth.any() else {}
        volumes = {"ml": mask.sum() * ml, "ml_true": truth.sum() * ml}
        rounded = {name: round(float(value), 4) for name, value in (scores | volumes).items()}
        yield {"weights": str(weights), "exam": exam.kind, "threshold": threshold, **rounded}


def tabulate_scores(rows: list[dict]) -> str:
    """Return Markdown: a row per weights and exam, mean Dice (of brains without lesions ml) at each threshold."""
    lines = ["| weights | exam | n | " + " | ".join(map(str, THRESHOLDS)) + " |", "|---" * (3 + len(THRESHOLDS)) + "|"]
    for weights, kind in dict.fromkeys((row["weights"], row["exam"]) for row in rows):
        own = [row for row in rows if (row["weights"], row["exam"]) == (weights, kind)]
        values = [[row.get("dice", row["ml"]) for row in own if row["threshold"] == t] for t in THRESHOLDS]
        means = " | ".join(f"{sum(each) / len(each):.3f}" for each in values)
        lines.append(f"| {Path(weights).stem} | {kind} | {len(values[0])} | {means} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, nargs="+", help="by default those that are served")
    parser.add_argument("--people", nargs="*", default=HELD_OUT, help="of DATA/ms")
    args = parser.parse_args(arguments)
    files = args.weights or [locate_weights(CARD.weights).path]
    rows: list[dict] = []
    for exam in make_exams(args.data, args.people):
        for file in files:
            rows += score_exam(exam, file)
            print(*rows[-1].values(), flush=True)
        write_rows(args.out, rows)
    print(tabulate_scores(rows))


if __name__ == "__main__":
    main()
