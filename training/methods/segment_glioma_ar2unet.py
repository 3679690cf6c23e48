"""Trains AR2-UNet: `python -m training.methods.segment_glioma_ar2unet --data DATA --out OUT`.

DATA is the TCGA-LGG FLAIR abnormality set: a folder per patient with `NNN.jpg` (red, green, blue: pre-contrast, FLAIR,
post-contrast) and `NNN_mask.png` where slice NNN has an abnormality; or anyone's images and masks, see
`training.data.patient_folder`. OUT gets `checkpoint.pt`, from which a killed run goes on, `best.safetensors` and
`last.safetensors`, `log.csv` and `split.json`, which tells who is learned from, who chooses the best, and who is left
for the test. `--leave DU` leaves out the site DU: it is the test then, see `training.evaluation.glioma_sites`.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medapp.errors import UserError
from medapp.imaging.geometry import resample, with_spacing
from medapp.imaging.volume import Volume
from medapp.networks.ar2unet import AR2UNet, RecurrentResidual
from medapp.pipelines.segment_glioma_ar2unet import CARD
from training.core.batch_norm import recalibrate_batch_norms, restore_weight_scale
from training.core.case import Case
from training.core.options import TrainingParser
from training.core.precision import autocast
from training.core.run import Run, half_precision_weights
from training.data.glioma_augmentation import CROP
from training.data.glioma_patients import (
    SEED,
    Patient,
    change_scanner,
    estimate_brain,
    load_patient,
    patient_from_case,
    read_slices,
    split_patients,
    study_site,
)
from training.data.glioma_slices import EMPTY_WEIGHT, SliceBank
from training.data.patient_folder import read_cases as others

FIRST_SCALE = 0.2  # of the norms in the recurrent blocks
SMOOTHING = 20.0  # pixels added to both sides of a slice's Dice


def leave_sites(names: list[str], sites: list[str]) -> dict[str, list[str]]:
    """Split patients so that those of `sites` are the test; of the others, only those for validation do not train."""
    others = split_patients([name for name in names if study_site(name) not in sites])
    left = [name for name in names if study_site(name) in sites]
    return {"train": others["train"] + others["test"], "validation": others["validation"], "test": left}


def load_parts(data: Path, leave: list[str]) -> tuple[dict[str, list[str]], list[Patient], list[Patient]]:
    """Return who is in which part, the patients to learn from, and those to choose the best weights by.

    Those of the sites `leave` are the test. Raises InputError for a folder without images and masks, UserError for
    fewer than three people or an unknown site.
    """
    exams: dict[str, list[Patient]] = {}
    if any(data.glob(LAYOUT)):
        names = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
        if unknown := set(leave) - {study_site(name) for name in names}:
            raise UserError(f"{data} has nobody of the site {', '.join(sorted(unknown))}.")
        parts = leave_sites(names, leave) if leave else split_patients(names)
        exams = {name: [load_patient(data / name)] for name in parts["train"] + parts["validation"]}
    elif leave:
        raise UserError(f"{data} tells no sites that could be left out.")
    else:
        for case in others(CARD, data):
            exams.setdefault(case.patient, []).append(patient_from_case(case))
        parts = split_patients(sorted(exams))
    if not all(parts.values()):
        raise UserError(f"{data} holds {len(exams)} people: three are needed to learn from, to choose and to test by.")
    fit, held = ([each for name in parts[part] for each in exams[name]] for part in ("train", "validation"))
    return parts, fit, held


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy plus soft Dice, half over the batch, half slice by slice: small lesions count as large ones.

    A slice without lesion counts by its false positives.
    """
    probability = logits.sigmoid()
    axes = (1, 2, 3)
    overlap, total = (probability * target).sum(axes), probability.sum(axes) + target.sum(axes)
    batch = 1 - (2 * overlap.sum() + 1) / (total.sum() + 1)
    slices = 1 - (2 * overlap + SMOOTHING) / (total + SMOOTHING)
    return F.binary_cross_entropy_with_logits(logits, target) + (batch + slices.mean()) / 2


def calm_blocks(net: nn.Module) -> None:
    """Start the recurrent blocks of a fresh network near zero, beside the paths around them.

    Else gradients grow thirtyfold on their way back, and norms differ much between training and evaluation.
    """
    for part in net.modules():
        if isinstance(part, RecurrentResidual):
            for layer in part.RCNN.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    nn.init.constant_(layer.weight, FIRST_SCALE)


@torch.inference_mode()
def predict_probability(net: nn.Module, image: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the probability (N, H, W) of standardised slices (N, 3, H, W)."""
    out = []
    for piece in torch.from_numpy(image).split(8):
        x = piece.to(device).float().contiguous(memory_format=torch.channels_last)
        with autocast(device, flat=True):
            out.append(net(x).sigmoid()[:, 0].float().cpu())
    return torch.cat(out).numpy()


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    return float(2 * (prediction & reference).sum() / max(prediction.sum() + reference.sum(), 1))


def validate(net: nn.Module, patients: list[Patient], device: torch.device) -> dict[str, float]:
    """Mean volumetric Dice with three sequences and with FLAIR alone."""
    net.eval()
    three = [dice(predict_probability(net, p.whole, device) > 0.5, p.mask) for p in patients]
    flair = [dice(predict_probability(net, p.whole[:, [1, 1, 1]], device) > 0.5, p.mask) for p in patients]
    return {"three": float(np.mean(three)), "flair": float(np.mean(flair))}


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    device = torch.device(args.device)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    parts, fit, held = load_parts(Path(args.data), args.leave)
    (out / "split.json").write_text(json.dumps(parts, indent=1))

    bank = SliceBank(fit, device, args.empty)
    net = AR2UNet(3, 1, args.width, args.gate).to(device, memory_format=torch.channels_last)
    if args.like:
        net.load_state_dict(load_file(args.like))
        restore_weight_scale(net)
    else:
        calm_blocks(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-3)
    steps = math.ceil(len(bank.weight) / args.batch)
    run = Run(out, net, optimizer, torch.Generator().manual_seed(SEED), steps * args.epochs, warmup=args.warmup)

    def drawn(batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of slices, drawn and spoilt."""
        order = torch.multinomial(bank.weight, batches * args.batch, replacement=True, generator=run.generator)
        rng = torch.Generator(device).manual_seed(SEED + run.step)
        for index in order.to(device).split(args.batch):
            x, y = bank.draw(index, rng, args.crop)
            yield x.contiguous(memory_format=torch.channels_last), y

    frozen = math.ceil(args.freeze * args.epochs)  # a norm shared by three applications must be trained as it is served
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    for epoch in range(run.step // steps, args.epochs):
        net.train()
        if epoch == frozen:
            recalibrate_batch_norms(net, norms, (x for x, _ in drawn(80)))
        if epoch >= frozen:
            for layer in norms:
                layer.eval()
        for x, y in drawn(steps):
            with autocast(device, flat=True):
                logits = net(x)
            run.optimize(segmentation_loss(logits.float(), y))
            run.print_progress()
        if (epoch + 1) % args.every == 0 or run.is_finished:
            scores = validate(run.average.module, held, device)
            run.log_scores(scores)
            state = half_precision_weights(run.average.module)
            save_file(state, out / "last.safetensors")
            if run.update_best(sum(scores.values())):
                save_file(state, out / "best.safetensors")
        if run.checkpoint(args.keep, args.minutes):
            break


LAYOUT = "TCGA_*/[0-9][0-9][0-9].jpg"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """The patients of one part of the split, as a user would upload them, in several conditions."""
    folders = sorted(p for p in data.iterdir() if p.is_dir())
    parts = split_patients([f.name for f in folders])
    for folder in folders:
        if part == "all" or folder.name in parts[part]:
            yield from read_conditions(folder)


def read_conditions(folder: Path) -> Iterator[Case]:
    """One patient in every condition.

    The set gives neither voxel size nor position: 240 mm fields of view and 5 mm between slices are assumed, which
    scales the millilitres and leaves Dice as it is. Slices that the set leaves out leave a gap.
    """
    image, mask = read_slices(sorted(folder.glob("[0-9][0-9][0-9].jpg")))
    brain = estimate_brain(image[..., 1].transpose(2, 0, 1)).transpose(1, 2, 0) | mask
    affine = np.diag([-240 / image.shape[1], -240 / image.shape[0], 5.0, 1.0])

    def volume(array: np.ndarray, **more: Any) -> Volume:
        return Volume(array.swapaxes(0, 1), affine, **more)  # first axis: column

    truth = volume(mask.astype(np.uint8), labels={1: "abnormality"})

    def case(condition: str, volumes: tuple[Volume | None, ...], truth: Volume = truth) -> Case:
        return Case(folder.name, study_site(folder.name), condition, volumes, truth)

    pre, flair, post = (volume(image[..., c]) for c in range(3))
    yield case("three sequences", (pre, flair, post))
    yield case("FLAIR alone", (None, flair, None))
    pre, bare, post = (volume(image[..., c] * brain) for c in range(3))
    yield case("three sequences, skull removed", (pre, bare, post))
    yield case("FLAIR alone, skull removed", (None, bare, None))
    changed = change_scanner(image, np.random.default_rng([SEED, *folder.name.encode()]))
    pre, other, post = (volume(changed[..., c]) for c in range(3))
    yield case("three sequences, contrast changed", (pre, other, post))
    yield case("FLAIR alone, contrast changed", (None, other, None))
    coarse = with_spacing(flair.grid, (1.6, 1.6, 5.0))
    yield case("FLAIR alone, 1.6 mm pixels", (None, resample(flair, coarse), None), resample(truth, coarse))
    turned = tuple(volume(np.rot90(image[..., c]).copy()) for c in range(3))
    turned_truth = volume(np.rot90(mask).astype(np.uint8).copy(), labels={1: "abnormality"})
    yield case("three sequences, wrong orientation in the file", turned, turned_truth)


def main(arguments: list[str] | None = None) -> None:
    options = TrainingParser(__doc__.splitlines()[0], epochs=40, rate=2e-3, every=2)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--crop", type=int, default=CROP, help="pixels a side of a patch, a multiple of 16")
    options.add_argument("--leave", nargs="+", default=[], metavar="SITE", help="sites that are the test")
    options.add_argument("--width", type=int, default=16)
    options.add_argument("--gate", choices=["decoder", "encoder"], default="encoder")
    options.add_argument("--warmup", type=int, default=200, help="steps")
    options.add_argument(
        "--freeze", type=float, default=0.7, help="share of the epochs after which batch norms are frozen"
    )
    options.add_argument(
        "--empty", type=float, default=EMPTY_WEIGHT, help="weight of a slice without lesion, where others weigh 1"
    )
    options.run_training(train, arguments)


if __name__ == "__main__":
    main()
