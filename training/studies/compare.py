"""Train networks or losses alike and compare them: `python -m training.studies.compare STUDY --data DATA --out OUT`.

All of a study see the same batches in the same order for as many steps, by the same optimiser, and are scored on the
same images, which none has seen; nothing is chosen by them. DATA is the folder of all data, for `restoration-regions`
the one that `training.data.restoration_data ct` makes. OUT gets a folder for each network and seed, with its weights,
from which a killed comparison goes on, `cases.csv` and `comparison.md`. `--smoke` needs no data: two steps of tiny
networks.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from training.core.batch_norm import recalibrate_batch_norms
from training.core.precision import autocast
from training.core.random_source import RandomSource
from training.core.run import Run, half_precision_weights
from training.core.score_tables import method_table, read_rows, write_rows
from training.studies import WEIGHTS, Candidate, Size, Study, StudyData, folder_name
from training.studies.catalogue import STUDIES

RECALIBRATION_BATCHES = 80  # batches over which batch norms that are about to stand still take their statistics
CHECKPOINT_MINUTES = 5  # minutes between checkpoints
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

Row = dict[str, Any]


def train_candidate(
    study: Study, candidate: Candidate, study_data: StudyData, out: Path, seed: int, args: argparse.Namespace
) -> Run:
    """Train one network, resuming from the checkpoint in `out`."""
    torch.manual_seed(seed)
    net, rng = candidate.build(args.share).to(args.device), RandomSource(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-3)
    freezes = study.freeze < 1  # then the average takes the statistics as they are
    run = Run(out, net, optimizer, rng.generator, args.steps, decay=0.997, use_buffers=not freezes)
    norms = [layer for layer in net.modules() if isinstance(layer, NORMS)]
    frozen = int(study.freeze * args.steps)

    def batch() -> tuple[torch.Tensor, ...]:
        return tuple(part.to(args.device) for part in study_data.draw(rng))

    while not run.is_finished:
        net.train()
        if run.step == frozen:
            recalibrate_batch_norms(net, norms, (batch()[0] for _ in range(min(RECALIBRATION_BATCHES, args.steps))))
        if run.step >= frozen:
            for layer in norms:
                layer.eval()
        with autocast(args.device):
            loss = candidate.loss(net, batch())
        run.optimize(loss)
        run.print_progress()
        if run.is_finished or run.is_checkpoint_due(CHECKPOINT_MINUTES):
            run.save_checkpoint()
    return run


def compare_candidates(
    study: Study, study_data: StudyData, args: argparse.Namespace
) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """Return a row for each network, seed and image, and each network's costs, averaged over seeds."""
    rows: list[Row] = []
    costs: dict[str, dict[str, float]] = {}
    for name, candidate in study.candidates.items():
        costs_of_seeds = []
        for seed in args.seeds:
            out = args.out / folder_name(name) / f"seed{seed}"
            cost_file, scores_file = out / "cost.json", out / "cases.csv"
            if not cost_file.exists():
                print(f"{name}, seed {seed}", flush=True)
                run = train_candidate(study, candidate, study_data, out, seed, args)
                began = time.perf_counter()
                mine = [
                    {"group": name, "condition": f"seed {seed}"} | row for row in study_data.score(run.average.module)
                ]
                seconds = (time.perf_counter() - began) / len(mine)
                write_rows(scores_file, mine)
                save_file(half_precision_weights(run.average.module), out / WEIGHTS)
                size = sum(p.numel() for p in run.net.parameters())
                cost_file.write_text(json.dumps({"parameters": size, "minutes": run.minutes, "seconds": seconds}))
            costs_of_seeds.append(json.loads(cost_file.read_text()))
            rows += read_rows(scores_file)
        costs[name] = {key: float(np.mean([each[key] for each in costs_of_seeds])) for key in costs_of_seeds[0]}
    return rows, costs


def average_seeds(rows: list[Row], figures: tuple[str, ...], ours: str) -> list[Row]:
    """Return a row for each network and patient, the mean over seeds and images, as `method_table` takes them."""
    kept: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        kept.setdefault((row["patient"], row["group"]), []).append(row)
    out = []
    for (patient, group), several in kept.items():
        values_of = {f: [row[f] for row in several if row[f] is not None] for f in figures}
        means = {f: float(np.mean(values)) if values else None for f, values in values_of.items()}
        out.append({"patient": patient, "group": "ours" if group == ours else group, "condition": ""} | means)
    return out


def command_line(args: argparse.Namespace) -> str:
    """Return the command of this comparison, with placeholders for folders."""
    options = {name: getattr(args, name) for name in ("steps", "seeds", "share", "batch", "cases", "held", "rate")}
    words = [
        f"--{name} {' '.join(map(str, v)) if isinstance(v, list) else f'{v:g}'}" for name, v in options.items() if v
    ]
    return " ".join(
        ["python -m training.studies.compare", args.study, "--smoke" if args.smoke else "--data DATA", *words]
    )


def render_report(study: Study, study_data: StudyData, rows: list[Row], costs: dict, args: argparse.Namespace) -> str:
    """Return the comparison in Markdown: how it was made, costs, scores and differences."""
    ours = next(iter(study.candidates))
    seeds = ", ".join(map(str, args.seeds))
    lines = [
        f"## {study.title}\n",
        f"All alike: {args.steps} steps of {study_data.about}. AdamW at {args.rate:g} along a cosine, {args.share:g} "
        f"of the full widths, seed {seeds}, {args.device} with {torch.get_num_threads()} thread(s). Ours is {ours}.\n",
        f"By `{command_line(args)}`.\n",
        "| method | parameters | steps | minutes of training | seconds an image |\n|---|---|---|---|---|",
    ]
    for name, cost in costs.items():
        figures = f"{cost['parameters']:,.0f} | {args.steps} | {cost['minutes']:.1f} | {cost['seconds']:.2f}"
        lines.append(f"| {name} | {figures} |")
    table = method_table(average_seeds(rows, study.figures, ours), study.figures).replace(
        "| ours |", f"| {ours} (ours) |"
    )
    return "\n".join([*lines, "", table, ""])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--share", type=float, default=1.0, help="share of the full widths of all networks")
    parser.add_argument("--batch", type=int, help="the study's own by default, as are the next three")
    parser.add_argument("--cases", type=int, help="images to learn from")
    parser.add_argument("--held", type=int, help="images to score on")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true", help="two steps of tiny networks on phantoms")
    args = parser.parse_args(arguments)
    study = STUDIES[args.study]
    args.rate = args.rate or study.rate
    if args.smoke:
        args.steps, args.share, study_data = 2, 1 / 16, study.make_phantom()
    elif args.data is None:
        parser.error("--data is needed, or --smoke")
    else:
        size = Size(*(getattr(args, name) or own for name, own in study.size._asdict().items()))
        study_data = study.load_data(args.data, size)

    args.out.mkdir(parents=True, exist_ok=True)
    settings = {k: getattr(args, k) for k in ("study", "steps", "share", "rate", "smoke")} | {"bench": study_data.about}
    kept = args.out / "settings.json"
    if kept.exists() and json.loads(kept.read_text()) != settings:
        parser.error(f"{args.out} holds another comparison, see {kept.name}: take another folder")
    kept.write_text(json.dumps(settings, indent=1))

    rows, costs = compare_candidates(study, study_data, args)
    write_rows(args.out / "cases.csv", rows)
    (args.out / "comparison.md").write_text(text := render_report(study, study_data, rows, costs, args))
    print(text)


if __name__ == "__main__":
    main()
