"""What weights of the regions do to a registration, beside the same refinement with equal weights.

`python -m training.evaluation.region_weights DATA --out DIR [--part PART] [--pairs N] [--ways NAMES]`. DATA holds T1
scans and their labels, as for the training of the method. Pairs of different people are prepared as in the app, the
network's field is refined once in each of WAYS, and the true labels are compared. The app uses the first way. Writes
`cases.csv`, a row for each pair and way, and `summary.md` with the differences from the first way and their bootstrap
intervals over pairs.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medapp.algorithms.brain_pair import Pair, prepare_pair
from medapp.algorithms.deformable_refinement import refine_field
from medapp.algorithms.field_prediction import predict_network_field, to_deformation
from medapp.algorithms.pair_preparation import find_label_map
from medapp.imaging.brain_labels import CLASS_NAMES, translate_labels
from medapp.imaging.deformation import folding_percent
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.serving import runtime
from training.core.case import PREDICTED_REGIONS, Case
from training.core.data_cache import cache_folder, write_atomically
from training.core.score_tables import collect_scores
from training.core.statistics import bootstrap_mean
from training.evaluation.registration_metrics import label_dice
from training.methods.register_brain_textscf import read_cases

METHOD = "register_brain_textscf"
BROAD_STRUCTURES = ("Cerebral-Cortex", "White-Matter")  # endings of names


def weigh_regions(broad: float, compact: float) -> Tensor:
    """Return the weights (36,) that give cortex and white matter one value and all other regions another."""
    return torch.tensor([broad if name.endswith(BROAD_STRUCTURES) else compact for name in CLASS_NAMES])


WAYS: Mapping[str, Tensor] = {
    "all 0.5": weigh_regions(0.5, 0.5),
    "all 0.2": weigh_regions(0.2, 0.2),
    "none": weigh_regions(0, 0),
    "all 2": weigh_regions(2, 2),
    "all 4": weigh_regions(4, 4),
    "broad 0.5, compact 2": weigh_regions(0.5, 2),
    "broad 0.5, compact 4": weigh_regions(0.5, 4),
    "broad 0.5, compact 8": weigh_regions(0.5, 8),
    "broad 1, compact 4": weigh_regions(1, 4),
    "broad 1, compact 8": weigh_regions(1, 8),
    "broad 2, compact 8": weigh_regions(2, 8),
}
PAIR_VOLUMES = ("fixed", "moving", "fixed_regions", "moving_regions")
FIGURES = ("dice", "dice_regions", "folding")


def load_network(name: str) -> torch.nn.Module:
    """Return one of the method's networks, on the CPU."""
    return runtime.load_network(runtime.find_card(METHOD), "cpu", {}, name)


def find_labels(data: Path, name: str, scan: Volume) -> Volume:
    """Return the predicted regions of a scan on its grid, as the app finds them, computed now or before."""
    kept = cache_folder("region_weights", data) / f"{name}.npy"
    if not kept.exists():
        found = find_label_map(scan, None, load_network, lambda *_: None).classes.array
        write_atomically(kept, lambda file: np.save(file, found))
    return scan.new_like(np.load(kept), labels={1: "region"})


def prepare_case(data: Path, case: Case) -> Pair:
    """Return the pair of a case as the app prepares it, computed now or before."""
    kept = cache_folder("region_weights", data) / f"{case.patient}.npz"
    if not kept.exists():
        fixed, moving, *_ = case.volumes
        assert fixed is not None and moving is not None
        names = case.patient.split("-")
        pair = prepare_pair(fixed, moving, find_labels(data, names[0], fixed), find_labels(data, names[1], moving))
        arrays = {name: getattr(pair, name).array for name in PAIR_VOLUMES}
        arrays |= {"affine": pair.affine, "grid": pair.grid.affine}
        write_atomically(kept, lambda file: np.savez_compressed(file, **arrays))
    arrays = dict(np.load(kept))
    fixed, moving, fixed_regions, moving_regions = (
        Volume(arrays[name], arrays["grid"], labels={1: "region"} if "regions" in name else {}) for name in PAIR_VOLUMES
    )
    return Pair(fixed, moving, fixed_regions, moving_regions, arrays["affine"])


def score_pairs(data: Path, part: str, count: int, ways: Sequence[str]) -> Iterator[dict]:
    """Yield a row for each pair and way."""
    net = load_network("textscf")
    assert isinstance(net, TextSCF)
    cases = (case for case in read_cases(data, part) if case.condition == PREDICTED_REGIONS)
    for _, case in zip(range(count), cases, strict=False):
        fixed, moving_truth = case.volumes[0], case.moving_truth
        assert fixed is not None and moving_truth is not None
        pair = prepare_case(data, case)
        source, target, source_regions, target_regions = (
            torch.tensor(np.array(part.array))
            for part in (pair.moving, pair.fixed, pair.moving_regions, pair.fixed_regions)
        )
        start = predict_network_field(net, source, target, target_regions)
        for way in ways:
            regions = source_regions, target_regions
            flow = refine_field(source, target, start, regions=regions, region_weights=WAYS[way])
            field = to_deformation(flow, pair.grid).resample(fixed.grid)
            dice = [
                float(np.mean(label_dice(field.warp(own, pair.affine).array, truth)))
                for own, truth in (
                    (moving_truth, case.truth.array),
                    (moving_truth.new_like(translate_labels(moving_truth.array)), translate_labels(case.truth.array)),
                )
            ]
            folding = folding_percent(field.jacobian_determinant(), np.asarray(fixed.array) > 0)
            yield {"pair": case.patient, "way": way} | dict(zip(FIGURES, (*dice, folding), strict=True))


def render_summary(rows: list[dict]) -> str:
    """The means, and the differences from the first way with their 95 % intervals, as a table in Markdown."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    lines = ["| weights | pairs | Dice, all labels | difference | Dice, 35 regions | difference | folding (%) |"]
    lines.append("|---|---|---|---|---|---|---|")
    values = {way: np.array([[row[name] for name in FIGURES] for row in rows if row["way"] == way]) for way in ways}
    for way, own in values.items():
        cells = [f"| {way} | {len(own)}"]
        for column in (0, 1):
            apart = own[:, column] - values[ways[0]][: len(own), column]
            low, high = bootstrap_mean(apart)
            cells += [f"{own[:, column].mean():.4f}", f"{apart.mean():+.4f} ({low:+.4f} to {high:+.4f})"]
        lines.append(" | ".join([*cells, f"{own[:, 2].mean():.4f} |"]))
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--ways", default=";".join(WAYS), help=f"of {'; '.join(WAYS)}")
    args = parser.parse_args()
    collect_scores(args.out, score_pairs(args.data, args.part, args.pairs, args.ways.split(";")), render_summary)


if __name__ == "__main__":
    main()
