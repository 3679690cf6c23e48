"""Score the change between two MS scans against masks of both time points.

`python -m training.evaluation.ms_change_detection DATA --out FILE`.

DATA/ms holds patients scanned more than once, `SET_PATIENT_TIME_flair.nii.gz` and `_mask`, on one grid. Every scan is
laid beside the one before by the served method, and the masks are compared by the same rules. Those of PATIENT
(`--patient`, by default who was left out of the training) are scored; FILE is a CSV.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from medapp.analysis.mask_metrics import label_components
from medapp.analysis.ms_lesions import CHANGE_CLASSES, compare_time_points
from medapp.serving import runtime
from training.core.score_tables import write_rows
from training.data.ms_patients import list_patients, person_of, read_patient
from training.methods.segment_ms_rsanet import HELD_OUT

METHOD = "segment_ms_rsanet"
NEW = 1


def count_touched(lesions: np.ndarray, by: np.ndarray) -> int:
    """Return how many lesions of (X, Y, Z) bool are touched by another mask."""
    return len(np.unique(label_components(lesions)[0][by & lesions]))


def score_interval(data: Path, before: str, after: str) -> dict[str, str | float | None]:
    """Return counts of lesions by change class, found and true, and how many new ones were found and are right."""
    (flair, _, mask), (earlier, _, mask_before) = read_patient(data, after), read_patient(data, before)
    min_lesion_ml = runtime.find_card(METHOD).parse_settings({})["min_lesion_ml"]
    result = runtime.run(METHOD, flair, None, None, earlier)
    now, then = mask.array > 0, mask_before.array > 0
    truth, fates = compare_time_points(now, then, min_lesion_ml, np.zeros(now.shape, np.uint8), mask.grid)
    found_fates, true_fates = ([row[1] for row in table] for table in (result.tables["change"].rows, fates))
    row: dict[str, str | float | None] = {"patient": person_of(after), "image": f"{before} to {after}"}
    for fate in CHANGE_CLASSES.values():
        row |= {f"{fate}": found_fates.count(fate), f"{fate}_true": true_fates.count(fate)}
    ours = result.volumes["change"].array == NEW
    row["new_hit"], row["found_hit"] = count_touched(truth == NEW, ours), count_touched(ours, truth == NEW)
    row["ml_before"], row["ml_before_true"] = result.metrics["volume_before"].value, then.sum() * mask.grid.voxel_ml
    row["ml"], row["ml_true"] = result.metrics["volume"].value, now.sum() * mask.grid.voxel_ml
    return {key: round(float(value), 3) if isinstance(value, float) else value for key, value in row.items()}


def score_people(data: Path, people: list[str]) -> Iterator[dict[str, str | float | None]]:
    """Score every interval between two scans of these people."""
    for who in people:
        for before, after in pairwise(
            name for name in list_patients(data) if person_of(name) == who
        ):  # in the order of time
            yield score_interval(data, before, after)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patient", nargs="+", default=list(HELD_OUT))
    args = parser.parse_args(arguments)
    rows = list(score_people(args.data, args.patient))
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    write_rows(args.out, rows)


if __name__ == "__main__":
    main()
