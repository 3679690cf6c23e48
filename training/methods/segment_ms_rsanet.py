"""Trains RSANet on MS lesions.

`python -m training.methods.segment_ms_rsanet --data DATA --out OUT --leave PATIENT ...`.

DATA holds `brain_t1` (see `labelled_brains`), `lgg` (see `glioma_patients`), `ms`: a few patients in MNI space with
FLAIR, T1 and consensus mask, and the masks of 29 more; and perhaps `ms_thick`, people scanned in a clinic, to whom a
fifth of the patches goes. Of the others nearly half are of the patients of `ms`, a fifth of heads with a glioma and
painted lesions, the rest is made up, see `ms_patches`. A PATIENT (p07, p19, P14, P18, or one of `ms_thick`) is left out
altogether and looked at now and then; what is served is the latest state, `last.safetensors`, so that their scores
choose nothing. At the end the threshold is told at which brains without lesion hold hardly any. OUT also gets
`checkpoint.pt`, from which a killed run goes on as if nothing had happened, and `log.csv`.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from medapp.analysis.mask_metrics import compute_dice, compute_lesion_f1
from medapp.networks.rsanet import RSANet
from medapp.pipelines.segment_ms_rsanet import build_network, predict_lesions
from medapp.serving.inference_engine import Engine
from training.core.batch_norm import FREEZE_NORMS_AFTER, freeze_batch_norms, restore_weight_scale
from training.core.case import Case
from training.core.options import TrainingParser
from training.core.precision import autocast
from training.core.random_source import RandomSource
from training.core.run import Run, half_precision_weights
from training.data.clinical_flair import redraw_clinically
from training.data.labelled_brains import list_scans, split_scans
from training.data.ms_exams import Exam, clinical_exam, made_up_exams, make_up_patient, patient_exams
from training.data.ms_heads import WHOLE_BRAIN
from training.data.ms_patches import Patch, PatchSource
from training.data.ms_patients import list_clinical, list_patients, load_brain, person_of, read_clinical, read_patient
from training.data.scanner import resample_thick

SEED = 20261123
DICE_SMOOTHING = 30.0  # voxels of lesion below which overlap counts less and less
DICE_ALONE_UNTIL, FULL_WEIGHT_FROM, ENTROPY_WEIGHT = (
    600,
    2400,
    0.5,
)  # steps up to which overlap alone counts, and from which wrong voxels count so much
HARD_SHARE = (0.1, 0.01)  # share of the voxels that count as most wrong, at first and at last
WHOLE_BRAINS_AFTER, WHOLE_BRAIN_SHARE = (
    0.93,
    0.3,
)  # share of the steps after which so many are whole brains, one at a time
FALSE_ML = 0.5  # ml taken for lesion where there is none that are put up with
HELD_OUT = ("p07", "P14", "104252", "105911")  # people that the served weights have not seen
REDRAWN_MM = 6.5  # from slice to slice of the scans that are redrawn as in a clinic


def as_served(net: RSANet) -> Callable[[np.ndarray], np.ndarray]:
    """Return the network as the app serves it: maps (CHANNELS, X, Y, Z) -> probability (X, Y, Z)."""
    engine = Engine(copy.deepcopy(net), next(net.parameters()).device.type)
    return lambda x: predict_lesions(engine, x.astype(np.float32))[0]


def validate(net: RSANet, exams: list[Exam], threshold: float = 0.5) -> dict[str, float]:
    """Mean Dice and lesion-wise F1 of every kind of exam; millilitres found where there is nothing."""
    scores: dict[str, list[float]] = {}
    network = as_served(net)
    for exam in exams:
        mask, truth = exam.predict(network) >= threshold, exam.truth.array > 0
        if exam.kind == "free":
            scores.setdefault("free_ml", []).append(float(mask.sum()) * exam.truth.grid.voxel_ml)
        else:
            scores.setdefault(f"{exam.kind}_dice", []).append(compute_dice(mask, truth))
            scores.setdefault(f"{exam.kind}_f1", []).append(compute_lesion_f1(mask, truth))
    return {name: float(np.mean(values)) for name, values in scores.items()}


def choose_threshold(net: RSANet, exams: list[Exam]) -> float:
    """Return the lowest threshold, in steps of 0.05, at which brains without lesion hold at most FALSE_ML ml on
    average.
    """
    free = [exam for exam in exams if exam.kind == "free"]
    probabilities = [exam.predict(as_served(net)) for exam in free]

    def false_ml(threshold: float) -> list[float]:
        return [(p >= threshold).sum() * exam.truth.grid.voxel_ml for p, exam in zip(probabilities, free, strict=True)]

    return next((n / 20 for n in range(6, 19) if np.mean(false_ml(n / 20)) <= FALSE_ML), 0.95)


def segmentation_loss(
    logits: Tensor, target: Tensor, known: Tensor, hard: float = HARD_SHARE[1], weight: float = 1.0
) -> Tensor:
    """`weight` times the mean cross entropy of the share `hard` of the voxels, the most wrong ones, plus one minus the
    mean soft Dice of the patches, (B, X, Y, Z) each; where not `known`, nothing counts.

    A patch with one small lesion counts as much as one that is full of them: small ones are most of what there is to be
    found. Over all voxels the few that are taken for lesion in a patch without any would count for nothing beside
    Dice's push to find what there is in others. After the top-k loss of nnU-Net (Isensee 2021,
    doi:10.1038/s41592-020-01008-z). From the first step it teaches that there is nothing anywhere.
    """
    each = (1, 2, 3)
    p, truth = logits.sigmoid() * known, target * known
    overlap = (2 * (p * truth).sum(each) + DICE_SMOOTHING) / (p.sum(each) + truth.sum(each) + DICE_SMOOTHING)
    wrong = F.binary_cross_entropy_with_logits(logits[known], target[known], reduction="none")
    return weight * wrong.topk(max(1, int(hard * wrong.numel()))).values.mean() + 1 - overlap.mean()


LAYOUT = "ms/*_flair.nii.gz"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """Real patients, with T1 and without and in thick slices; people of a clinic; brains with made-up lesions, or none.

    The part "test" is HELD_OUT and brains not trained on, "train" the other patients, "validation" brains alone.
    """
    for name in list_patients(data):
        if part == "validation" or (part != "all" and (person_of(name) in HELD_OUT) != (part == "test")):
            continue
        source = name.split("_")[0]
        flair, t1, truth = read_patient(data, name)
        yield Case(name, source, "FLAIR alone", (flair,), truth)
        yield Case(name, source, "FLAIR and T1", (flair, t1), truth)
        yield Case(name, source, "FLAIR alone, 5 mm slices", (resample_thick(flair),), resample_thick(truth))
        redrawn = redraw_clinically(flair, truth, REDRAWN_MM, seed=0)
        yield Case(name, source, f"FLAIR alone, {REDRAWN_MM} mm slices, made-up head", (redrawn.flair,), redrawn.truth)
    for name in list_clinical(data):
        if part == "all" or (part != "validation" and (person_of(name) in HELD_OUT) == (part == "test")):
            flair, truth = read_clinical(data, name)
            yield Case(name, name.split("_")[0], "FLAIR alone, clinical", (flair,), truth)
    parts = split_scans(list_scans(data / "brain_t1"))
    brains = {**parts, "all": parts["validation"] + parts["test"], "train": []}[part]
    for seed, name in enumerate(brains, 100):
        for kind, (image, truth) in make_up_patient(load_brain(data, name), seed).items():
            condition = "lesions made up" if truth.array.any() else "no lesions"  # some are made up without any
            yield Case(name, "OASIS-1", condition, (image,), truth, image=kind)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out = Path(args.data), Path(args.out)
    brains = split_scans(list_scans(data / "brain_t1"))
    clinic = PatchSource(data, brains["train"][: args.brains], args.leave)
    held = [name for name in list_patients(data) if person_of(name) in args.leave]
    exams = [exam for name in held for exam in patient_exams(data, name)]
    exams += [clinical_exam(data, name) for name in list_clinical(data) if person_of(name) in args.leave]
    for seed, name in enumerate(brains["validation"]):
        exams += made_up_exams(load_brain(data, name), seed)

    net = build_network()
    if args.like:
        net.load_state_dict(load_file(args.like))
        restore_weight_scale(net)
    net = net.to(args.device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-2)
    run = Run(out, net, optimizer, RandomSource(SEED).generator, args.steps)

    def batch(step: int) -> list[Patch]:
        rngs = [RandomSource(SEED + step * args.batch + number) for number in range(args.batch)]
        if step > WHOLE_BRAINS_AFTER * args.steps and rngs[0].bernoulli(WHOLE_BRAIN_SHARE):
            return [clinic.sample(rngs[0], WHOLE_BRAIN)]
        return [clinic.sample(rng) for rng in rngs]

    ahead = ThreadPoolExecutor(1)  # draws the next patches while the network learns from these
    coming = ahead.submit(batch, run.step)
    while not run.is_finished:
        freeze_batch_norms(net.train(), bool(args.like) or run.step > FREEZE_NORMS_AFTER * args.steps)
        hard = HARD_SHARE[0] * (HARD_SHARE[1] / HARD_SHARE[0]) ** (run.step / args.steps)
        weight = ENTROPY_WEIGHT * (
            1
            if args.like
            else min(max((run.step - DICE_ALONE_UNTIL) / (FULL_WEIGHT_FROM - DICE_ALONE_UNTIL), 0.0), 1.0)
        )
        patches, coming = coming.result(), ahead.submit(batch, run.step + 1)
        x, target, known = (torch.stack(parts).to(args.device) for parts in zip(*patches, strict=True))
        with autocast(args.device):
            logits = net(x.contiguous(memory_format=torch.channels_last_3d))[:, 0]
        run.optimize(segmentation_loss(logits.float(), target, known, hard, weight))

        if run.step % args.every == 0 or run.is_finished:
            average = run.averaged_network()
            run.log_scores(validate(average, exams))
            save_file(half_precision_weights(average), out / "last.safetensors")
        else:
            run.print_progress()
        if run.checkpoint(args.keep, args.minutes):
            break
    if run.is_finished:
        print("threshold to be served at:", choose_threshold(run.average.module.eval(), exams))


def main(arguments: list[str] | None = None) -> None:
    options = TrainingParser(__doc__.splitlines()[0], steps=3500, rate=2e-3, every=250)
    options.add_argument("--leave", nargs="*", default=[], help="patients left out of training, to validate on")
    options.add_argument("--batch", type=int, default=4, help="patches a step")
    options.add_argument("--brains", type=int, help="number of brains, all by default")
    options.run_training(train, arguments)


if __name__ == "__main__":
    main()
