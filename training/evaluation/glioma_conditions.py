"""Score weights for gliomas by site and condition, beside each other: the table of sites that a training left out.

`python -m training.evaluation.glioma_conditions DATA --out FILE [--conditions NAME ...] WHO=FILE ...`

DATA is that of the training; WHO are sites, such as `DU` or `CS,EZ`, for weights trained with `--leave` of these, or
`test`, `validation`, `train` or `all`, a part of the split. The pipeline runs as served, with its default settings, but
does not check whether it is given FLAIR. FILE is a CSV with a row per patient, condition and weights; rows that it
holds are not computed again.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from medapp.analysis.lesions import measure_lesions
from medapp.errors import UserError
from medapp.pipelines.segment_glioma_ar2unet import CARD, build_network, segment
from training.core.case import Case
from training.core.precision import autocast
from training.core.score_tables import group_table, read_rows, row_key, write_rows
from training.data.glioma_patients import split_patients, study_site
from training.methods.segment_glioma_ar2unet import read_conditions

CONDITIONS = (
    "three sequences",
    "FLAIR alone",
    "FLAIR alone, skull removed",
    "FLAIR alone, contrast changed",
)  # by default


def find_people(data: Path, who: str) -> list[Path]:
    """Return the folders of the patients of a part of the split or of sites. Raises UserError if there are none."""
    folders = sorted(p for p in data.iterdir() if p.is_dir())
    parts = split_patients([f.name for f in folders]) | {"all": [f.name for f in folders]}
    sites = who.split(",")
    found = [f for f in folders if (f.name in parts[who] if who in parts else study_site(f.name) in sites)]
    if not found:
        raise UserError(f"{data} has nobody of {who}.")
    return found


def load_network(weights: Path) -> nn.Module:
    """Return the network with these weights."""
    net = build_network()
    net.load_state_dict(load_file(weights))
    return net.eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def predict(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return logits in the precision of a training."""
    with autocast("cpu", flat=True):
        return net(x.contiguous(memory_format=torch.channels_last)).float()


def score_case(case: Case, net: nn.Module) -> dict[str, Any]:
    """Return the row of a case."""
    settings = CARD.parse_settings({})
    t1, flair, t1ce = case.volumes
    assert flair is not None
    result = segment(partial(predict, net), t1, flair, t1ce, progress=lambda *_: None, **settings)
    compared = measure_lesions(result, settings["threshold"], settings["min_lesion_ml"], case.truth)
    figures = {name: compared.metrics[name].value for name in ("dice", "volume", "reference_volume")}
    return {"patient": case.patient, "group": case.group, "condition": case.condition, **figures}


def score_weights(
    data: Path, given: dict[str, Path], conditions: tuple[str, ...], known: list[dict]
) -> Iterator[dict[str, Any]]:
    """Yield the rows that are not among those known."""
    keys = {row_key(row) for row in known}
    for who, weights in given.items():
        net = load_network(weights)
        for folder in find_people(data, who):
            missing = [c for c in conditions if (folder.name, "", study_site(folder.name), c, str(weights)) not in keys]
            for case in read_conditions(folder) if missing else ():
                if case.condition in missing:
                    yield score_case(case, net) | {"weights": str(weights)}


def tabulate_scores(rows: list[dict[str, Any]]) -> str:
    """Return Markdown: Dice by condition and site, and the mean and the lowest site of each condition."""
    lines = [group_table(rows, "dice"), "", "| condition | people | mean Dice | lowest site |", "|---|---|---|---|"]
    for condition in dict.fromkeys(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == condition]
        sites = {site: mean_dice([r for r in own if r["group"] == site]) for site in {row["group"] for row in own}}
        lowest = min(sites, key=lambda site: sites[site])
        lines.append(f"| {condition} | {len(own)} | {mean_dice(own):.3f} | {lowest} {sites[lowest]:.3f} |")
    return "\n".join(lines)


def mean_dice(rows: list[dict[str, Any]]) -> float:
    return sum(float(row["dice"]) for row in rows) / len(rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", nargs="+", metavar="WHO=FILE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--conditions", nargs="+", default=CONDITIONS)
    args = parser.parse_args(arguments)
    rows = read_rows(args.out)
    given = {who: Path(file) for who, file in (pair.split("=", 1) for pair in args.weights)}
    try:
        for row in score_weights(args.data, given, tuple(args.conditions), rows):
            print(*row.values(), flush=True)
            rows.append(row)
            write_rows(args.out, rows)
    except UserError as error:
        parser.exit(1, f"{error}\n")
    print(tabulate_scores([row for row in rows if row["weights"] in map(str, given.values())]))


if __name__ == "__main__":
    main()
