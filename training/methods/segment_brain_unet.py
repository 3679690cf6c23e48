"""Trains brain extraction, part by part.

`python -m training.methods.segment_brain_unet --part PART --data DATA --out OUT`.

PART is "coarse", which sees whole heads on 3 mm, or "fine", which is told roughly where the brain lies and sees the
millimetres. DATA holds `brain_t1` as for `labelled_brains`, and `heads`: `NAME_t1.nii.gz`, `NAME_brain.nii.gz`.
All that is learned from is made up of these, of Colin27 and of an average head, scan by scan (domain randomisation as
in SynthStrip, Hoopes et al. 2022, doi:10.1016/j.neuroimage.2022.119474). `--real` names the whole heads to learn from,
"colin" and those of `heads`, whose scores are logged in any case. OUT gets `checkpoint.pt`, from which a killed run
goes on, `best.safetensors` (by made-up scans of the validation people), `last.safetensors` and `log.csv`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from medapp.algorithms.brain_extraction import COARSE_SPACING, FINE_SPACING, extract_brain, predict_coarse_distance
from medapp.analysis import mask_metrics
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.networks.coarse_to_fine import COARSE_MM, FINE_MM, CoarseToFine
from medapp.networks.unet3d import UNet3D
from training.core.batch_norm import FREEZE_NORMS_AFTER, freeze_batch_norms, restore_weight_scale
from training.core.case import Case
from training.core.options import TrainingParser
from training.core.random_source import RandomSource
from training.core.run import Run, half_precision_weights
from training.data.brain_heads import close_mask, load_head
from training.data.brain_patches import TrainingPatch, draw_coarse_patch, draw_fine_patch
from training.data.brain_scans import draw_field_of_view, load_heads, simulate_head
from training.data.labelled_brains import list_scans, split_scans, training_scans

SEED = 20261129
REAL_SHARE = 0.06  # share of the scans that are of whole real heads, and for each of these as much again
CONDITIONS: dict[str, dict[str, Any]] = {
    "head": {"way": "made up"},
    "neck": {"way": "made up", "neck": 1.0, "cut": 0.0},
    "thick": {"coarse": 1.0},
    "cut": {"cut": 1.0},
    "average": {"way": "average"},
    "bare": {"way": "none"},
}
"""How the scans are made that are validated on."""


def extraction_loss(logits: Tensor, lesson: TrainingPatch, mm: float) -> Tensor:
    """Cross entropy against what the distance says, plus one minus a Dice of shares; logits (X, Y, Z)."""
    logits, far = logits[lesson.known].float(), lesson.far[lesson.known]
    target = torch.sigmoid(-far / mm)
    entropy = F.binary_cross_entropy_with_logits(logits, target)
    probability = logits.sigmoid()
    share = (2 * (probability * target).sum() + 1) / (probability.square().sum() + target.square().sum() + 1)
    return 2 * entropy + 1 - share


class WholeHead(NamedTuple):
    """A whole real head, and its brain, with sulci filled, on its grid."""

    name: str
    image: Volume
    brain: Volume


def read_whole_heads(data: Path) -> Iterator[WholeHead]:
    """Yield the heads in `heads`, if any; sulci are filled as by `brain_heads.close_mask`, in voxels of about 1 mm."""
    for file in sorted((data / "heads").glob("*_t1.nii.gz")):
        name = file.name.removesuffix("_t1.nii.gz")
        image = files.read([file])
        given = files.read([file.with_name(f"{name}_brain.nii.gz")])
        yield WholeHead(name, image, given.new_like(close_mask(given.array > 0).astype(np.uint8), labels={1: "brain"}))


def validate(part: str, net: UNet3D, lessons: dict[str, list[TrainingPatch]]) -> dict[str, float]:
    """Mean Dice of the made-up scans, and the most ml too much, in each condition."""
    scores, place = {}, next(net.parameters()).device
    ml = ({"coarse": COARSE_SPACING, "fine": FINE_SPACING}[part] ** 3) / 1000
    for condition, each in lessons.items():
        dice, over = [], []
        for lesson in each:
            with torch.inference_mode():
                prediction = (net(lesson.x[None].to(place))[0, 0].cpu() > 0) & lesson.known
            truth = (lesson.far < 0) & lesson.known
            dice.append(mask_metrics.compute_dice(prediction.numpy(), truth.numpy()))
            over.append(float((prediction & ~truth).sum()) * ml)
        scores[condition], scores[f"{condition}_over"] = float(np.mean(dice)), max(over)
    return scores


def score_mask(prediction: np.ndarray, truth: WholeHead) -> tuple[float, float]:
    """Return Dice, and the millilitres too many, of a mask on the truth's grid."""
    brain = truth.brain.array > 0
    return mask_metrics.compute_dice(prediction, brain), float((prediction & ~brain).sum()) * truth.brain.grid.voxel_ml


def score_whole_heads(part: str, net: CoarseToFine, real: list[WholeHead], refine: bool) -> dict[str, float]:
    """Return Dice and millilitres too many for each real head, from the coarse network alone or from both."""
    scores = {}
    for truth in real:
        if refine:
            prediction = extract_brain(net, truth.image).mask.array > 0
        else:
            coarse = predict_coarse_distance(net, truth.image).inwards
            prediction = resample(coarse, truth.image.grid, outside=-10).array > 0
        scores[truth.name], scores[f"{truth.name}_over"] = score_mask(prediction, truth)
    return scores


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out, part = Path(args.data), Path(args.out), args.part
    names, held = training_scans(data / "brain_t1")
    step = 2 if part == "coarse" else 1
    lesson = {"coarse": draw_coarse_patch, "fine": draw_fine_patch}[part]
    all_heads = load_heads(data, names, step, args.real)
    brains, real = all_heads[: len(names)], all_heads[len(names) :]
    others = load_heads(data, held, step, ())
    lessons = {
        condition: [lesson(head, RandomSource(100 * k + n), **how) for n, head in enumerate(2 * others)]
        for k, (condition, how) in enumerate(CONDITIONS.items())
    }
    tests = list(read_whole_heads(data))

    both = CoarseToFine(args.width or 20, args.width or 16)
    net = both.get_submodule(part)
    if args.like:
        net.load_state_dict(load_file(args.like))
        restore_weight_scale(net)
    if args.coarse and Path(args.coarse).exists():
        both.coarse.load_state_dict(load_file(args.coarse))
    net = net.to(args.device, memory_format=torch.channels_last_3d)
    rng = RandomSource(SEED)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-2)
    run = Run(out, net, optimizer, rng.generator, args.steps)
    mm = {"coarse": COARSE_MM, "fine": FINE_MM}[part]
    while not run.is_finished:
        freeze_batch_norms(net, bool(args.like) or run.step > FREEZE_NORMS_AFTER * args.steps)
        pool = real if real and rng.bernoulli(REAL_SHARE + REAL_SHARE * len(real)) else brains
        head = pool[rng.randint(len(pool))]
        patch = TrainingPatch(*(x.to(args.device) for x in lesson(head, rng)))
        run.optimize(extraction_loss(net(patch.x[None])[0, 0], patch, mm))

        if run.step % args.every == 0 or run.is_finished:
            served = run.averaged_network()
            scores = validate(part, served, lessons)
            better = run.update_best(sum(scores[condition] for condition in CONDITIONS))
            setattr(both, part, served)
            scores |= score_whole_heads(part, both.eval(), tests, part == "fine" and bool(args.coarse))
            run.log_scores(scores)
            save_file(half_precision_weights(served), out / "last.safetensors")
            if better:
                save_file(half_precision_weights(served), out / "best.safetensors")
        else:
            run.print_progress()
        if run.checkpoint(args.keep, args.minutes):
            break


LAYOUT = "heads/*_brain.nii.gz"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """Whole real heads, and made-up ones of the people of a part of the split in CONDITIONS; truth: the brain, 1."""
    for truth in read_whole_heads(data):
        yield Case(truth.name, "real", "whole head", (truth.image,), truth.brain)
    for name in split_scans(list_scans(data / "brain_t1"))[part]:
        head = load_head(data, name, 1, ("average",))
        for condition, how in CONDITIONS.items():
            rng = RandomSource(int(name))
            view = draw_field_of_view(head, FINE_SPACING, rng, how.get("cut", 0.0), how.get("neck", 0.6))
            image, far = simulate_head(head, view, rng, how.get("way", "made up"), how.get("coarse", 0.0))
            brain = Volume((far < 0).numpy().astype(np.uint8), np.eye(4), labels={1: "brain"})
            yield Case(name, "made up", condition, (Volume(image.numpy(), np.eye(4)),), brain)


def main(arguments: list[str] | None = None) -> None:
    options = TrainingParser(__doc__.splitlines()[0], steps=24000, rate=2e-3, every=500)
    options.add_argument("--part", choices=("coarse", "fine"), required=True)
    options.add_argument("--width", type=int, default=0, help="channels of the first level, that of the app by default")
    options.add_argument("--real", nargs="*", default=["colin"], help="whole heads to learn from, such as mass_T3")
    options.add_argument("--coarse", help="weights of the coarse part, for the validation of the fine one")
    options.run_training(train, arguments)


if __name__ == "__main__":
    main()
