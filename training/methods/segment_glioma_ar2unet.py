"""Trains AR2-UNet: `python -m training.methods.segment_glioma_ar2unet --data DATA --out OUT`.

DATA is the TCGA-LGG FLAIR abnormality set: a folder per patient with `NNN.jpg` (red, green, blue: pre-contrast, FLAIR,
post-contrast) and `NNN_mask.png` where slice NNN has an abnormality; or anyone's images and masks, see
`training.data.patient_folder`. OUT gets `checkpoint.pt`, from which a killed run goes on, `best.safetensors`,
`log.csv` and `split.json`, which tells who is learned from, who chooses the best, and who is left for the test.
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
from medapp.networks.ar2unet import AR2UNet
from medapp.pipelines.segment_glioma_ar2unet import CARD
from training.core.batch_norm import recalibrate_batch_norms
from training.core.case import Case
from training.core.options import TrainingParser
from training.core.precision import autocast
from training.core.run import Run, half_precision_state
from training.data.glioma_augmentation import augment_slices
from training.data.glioma_patients import (
    SEED,
    Patient,
    estimate_brain,
    load_patient,
    patient_from_case,
    read_slices,
    split_patients,
    study_site,
)
from training.data.patient_folder import read_cases as others


def load_parts(data: Path) -> tuple[dict[str, list[str]], list[Patient], list[Patient]]:
    """Return who is in which part, the patients to learn from, and those to choose the best weights by.

    Raises InputError for a folder without images and masks, UserError for fewer than three people.
    """
    exams: dict[str, list[Patient]] = {}
    if any(data.glob(LAYOUT)):
        parts = split_patients(sorted(folder.name for folder in data.iterdir() if folder.is_dir()))
        exams = {name: [load_patient(data / name)] for name in parts["train"] + parts["validation"]}
    else:
        for case in others(CARD, data):
            exams.setdefault(case.patient, []).append(patient_from_case(case))
        parts = split_patients(sorted(exams))
    if not all(parts.values()):
        raise UserError(f"{data} holds {len(exams)} people: three are needed to learn from, to choose and to test by.")
    fit, held = ([each for name in parts[part] for each in exams[name]] for part in ("train", "validation"))
    return parts, fit, held


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy plus soft Dice over the whole batch: an empty slice counts by its false positives."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum()
    dice = 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, target) + dice


@torch.inference_mode()
def predict_probability(net: nn.Module, image: np.ndarray, device: torch.device) -> np.ndarray:
    """Return the probability (N, H, W) of standardised slices (N, 3, H, W)."""
    out = []
    for piece in torch.from_numpy(image).split(8):
        x = piece.to(device).float().contiguous(memory_format=torch.channels_last)
        with autocast(device):
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
    parts, fit, held = load_parts(Path(args.data))
    (out / "split.json").write_text(json.dumps(parts, indent=1))

    whole = torch.from_numpy(np.concatenate([p.whole for p in fit])).to(device)
    stripped = torch.from_numpy(np.concatenate([p.stripped for p in fit])).to(device)
    masks = torch.from_numpy(np.concatenate([p.mask for p in fit])).to(device)
    per_patient = torch.tensor([1 / len(p.mask) ** 0.5 for p in fit for _ in p.mask])
    weight = per_patient * torch.where(masks.flatten(1).any(1).cpu(), 1.0, args.empty)

    net = AR2UNet(3, 1, args.width, args.gate).to(device, memory_format=torch.channels_last)
    if args.like:
        net.load_state_dict(load_file(args.like))
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-3)
    steps = math.ceil(len(masks) / args.batch)
    run = Run(out, net, optimizer, torch.Generator().manual_seed(SEED), steps * args.epochs, warmup=args.warmup)

    def drawn(batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of slices, each now and then without its skull, turned and spoilt."""
        order = torch.multinomial(weight, batches * args.batch, replacement=True, generator=run.generator)
        rng = torch.Generator(device).manual_seed(SEED + run.step)
        for index in order.to(device).split(args.batch):
            bare = (torch.rand(len(index), generator=rng, device=device) < 0.22)[:, None, None, None]
            x = torch.where(bare, stripped[index], whole[index]).float()
            x, y = augment_slices(x, masks[index][:, None].float(), rng)
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
            with autocast(device):
                logits = net(x)
            run.optimize(segmentation_loss(logits.float(), y))
            run.print_progress()
        if (epoch + 1) % args.every == 0 or run.is_finished:
            scores = validate(run.average.module, held, device)
            run.log_scores(scores)
            if run.update_best(sum(scores.values())):
                save_file(half_precision_state(run.average.module.state_dict()), out / "best.safetensors")
        if run.checkpoint(args.keep, args.minutes):
            break


LAYOUT = "TCGA_*/[0-9][0-9][0-9].jpg"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """The patients of one part of the split, as a user would upload them, in several conditions.

    The set gives neither voxel size nor position: 240 mm fields of view and 5 mm between slices are assumed, which
    scales the millilitres and leaves Dice as it is. Slices that the set leaves out leave a gap.
    """
    folders = sorted(p for p in data.iterdir() if p.is_dir())
    names = [f.name for f in folders]
    for folder in folders:
        if part != "all" and folder.name not in split_patients(names)[part]:
            continue
        image, mask = read_slices(sorted(folder.glob("[0-9][0-9][0-9].jpg")))
        brain = estimate_brain(image[..., 1].transpose(2, 0, 1)).transpose(1, 2, 0) | mask
        affine = np.diag([-240 / image.shape[1], -240 / image.shape[0], 5.0, 1.0])

        def volume(array: np.ndarray, affine: np.ndarray = affine, **more: Any) -> Volume:
            return Volume(array.swapaxes(0, 1), affine, **more)  # first axis: column

        pre, flair, post = (volume(image[..., c]) for c in range(3))
        truth = volume(mask.astype(np.uint8), labels={1: "abnormality"})
        site = study_site(folder.name)
        yield Case(folder.name, site, "three sequences", (pre, flair, post), truth)
        yield Case(folder.name, site, "FLAIR alone", (None, flair, None), truth)
        bare = tuple(volume(image[..., c] * brain) for c in range(3))
        yield Case(folder.name, site, "three sequences, skull removed", bare, truth)
        coarse = with_spacing(flair.grid, (1.6, 1.6, 5.0))
        yield Case(
            folder.name,
            site,
            "FLAIR alone, 1.6 mm pixels",
            (None, resample(flair, coarse), None),
            resample(truth, coarse),
        )
        turned = tuple(volume(np.rot90(image[..., c], 1).copy()) for c in range(3))
        yield Case(
            folder.name,
            site,
            "three sequences, wrong orientation in the file",
            turned,
            volume(np.rot90(mask).astype(np.uint8).copy(), labels={1: "abnormality"}),
        )


def main(arguments: list[str] | None = None) -> None:
    options = TrainingParser(__doc__.splitlines()[0], epochs=40, rate=2e-3, every=2)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--width", type=int, default=16)
    options.add_argument("--gate", choices=["decoder", "encoder"], default="encoder")
    options.add_argument("--warmup", type=int, default=200, help="steps")
    options.add_argument(
        "--freeze", type=float, default=0.7, help="share of the epochs after which batch norms are frozen"
    )
    options.add_argument(
        "--empty", type=float, default=1.2, help="weight of a slice without lesion, where others weigh 1"
    )
    options.run_training(train, arguments)


if __name__ == "__main__":
    main()
