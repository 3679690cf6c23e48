"""Trains the brain parcellation: `python -m training.methods.segment_anatomy_unet --data DATA --out OUT`.

DATA holds T1 scans without skull and their Neuromorphometrics labels, `ID_t1.nii.gz` and `ID_labels.nii.gz`. Most of
the patches keep the scan's own contrast, strongly varied; after a while the others get one made up from the labels
(domain randomisation as in SynthSeg, Billot et al. 2023, doi:10.1016/j.media.2023.102789), or with `--flair` one like
FLAIR, with lesions and in thick slices too; most get a made-up skull, scalp and neck, or an average head round them.
OUT gets `checkpoint.pt`, from which a killed run goes on as if nothing had happened, `best.safetensors` and `log.csv`;
the scans, turned to RAS, are kept in `runs/data`. Of scans other than ours a few are held out, see `split_scans`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation
from torch import Tensor

from medapp.algorithms.parcellation import classify_voxels
from medapp.imaging.brain_labels import CLASS_NAMES, translate_labels
from medapp.imaging.geometry import resample
from medapp.imaging.intensity import MAX_MEDIAN_RATIO, clip_bright, standardize
from medapp.imaging.volume import Grid, Volume
from medapp.io import files
from medapp.networks.unet3d import UNet3D, split_blocks
from training.core.batch_norm import FREEZE_NORMS_AFTER, freeze_batch_norms, restore_weight_scale
from training.core.case import Case
from training.core.options import TrainingParser
from training.core.precision import autocast
from training.core.random_source import RandomSource
from training.core.run import Run, half_precision_weights
from training.data.brain_tissues import TISSUE_CLASS
from training.data.labelled_brains import (
    SEED,
    TEST_SCANS,
    LabelledScan,
    list_scans,
    load_average_head,
    load_scan,
    split_scans,
    training_scans,
)
from training.data.random_contrast import randomize_contrast, synthesize_flair, vary_contrast
from training.data.random_pose import draw_view
from training.data.random_skull import add_average_head, add_fixed_skull, add_skull
from training.data.scanner import resample_thick, simulate_scan, simulate_thick_slices

PATCH, WHOLE = (112, 128, 112), (144, 176, 160)  # voxels
MADE_UP_SHARE, EASY_SHARE = 0.3, 0.07  # share of the patches in a made-up contrast, and of the steps before the first


def draw_patch(
    scans: list[LabelledScan], rng: RandomSource, made_up: float = MADE_UP_SHARE, flair: float = 0
) -> tuple[Tensor, Tensor]:
    """Draw a patch: image (X, Y, Z) standardised, classes (X, Y, Z) uint8.

    `flair` is the share of patches like FLAIR, half of them in thick slices; of the rest `made_up` have random
    contrasts.
    """
    size = WHOLE if rng.bernoulli(0.08) else PATCH
    scan, around = scans[rng.randint(len(scans))], rng.uniform(0, 1)
    image, tissue, distance, below, pose = draw_view(scan, size, rng, around < 0.15)
    like_flair = rng.bernoulli(flair)
    change = synthesize_flair if like_flair else randomize_contrast if rng.bernoulli(made_up) else vary_contrast
    image = change(image, tissue, rng)
    if around < 0.45:
        image = add_average_head(image, scan, distance, pose, rng)
    elif around < 0.78:
        image = add_skull(image, distance, below, rng)
    if like_flair and rng.bernoulli(0.5):
        axis = 2 if rng.bernoulli(0.7) else rng.randint(3)
        image = simulate_thick_slices(image, rng.uniform(2, 7), axis)
    return simulate_scan(image, rng, MAX_MEDIAN_RATIO), TISSUE_CLASS[tissue.long()]


def choose_blocks(target: Tensor, rng: RandomSource, near: int = 40_000, far: int = 8_000) -> tuple[Tensor, Tensor]:
    """Choose blocks to learn from: those at a border between classes, and a few others.

    Classes (X, Y, Z) -> index (N,) of blocks of 2×2×2 voxels in C order, their classes (N, 8).
    """
    parts = split_blocks(target[None, None].float())  # (1, 8, X/2, Y/2, Z/2)
    high = F.max_pool3d(parts.amax(1, keepdim=True), 3, 1, 1)
    low = -F.max_pool3d(-parts.amin(1, keepdim=True), 3, 1, 1)
    border = (high != low).flatten()
    pieces = []
    for mask, most in ((border, near), (~border, far)):
        index = mask.nonzero()[:, 0]
        pieces.append(index[torch.randperm(len(index), generator=rng.generator)[:most]])
    index = torch.cat(pieces)
    return index, parts[0].flatten(1).T[index].long()


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy plus one minus the mean Dice of the classes that are present: (N, C) and (N,)."""
    log = logits.float().log_softmax(-1)
    own = log.gather(1, target[:, None])[:, 0]
    total = log.exp().sum(0)
    count = torch.bincount(target, minlength=logits.shape[1]).float()
    overlap = torch.zeros_like(total).index_add(0, target, own.exp())
    present = count > 30
    share = (2 * overlap + 1) / (total + count + 1)
    return 1 - share[present].mean() - own.mean()


def class_dice(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return Dice (36,) of every class; NaN where the truth has none."""
    both = np.bincount(truth.ravel().astype(np.int64) * 36 + prediction.ravel(), minlength=36 * 36).reshape(36, 36)
    count = both.sum(1)
    return np.where(count, 2 * both.diagonal() / np.maximum(count + both.sum(0), 1), np.nan)


def validate(net: UNet3D, pictures: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> dict[str, float]:
    """Mean Dice over the regions for each kind of picture, and over the regions without vessels."""
    scores = {}
    vessel = [n for n, name in enumerate(CLASS_NAMES) if "Vessel" in name]
    for kind, cases in pictures.items():
        each = np.array([class_dice(classify_voxels(net, image), truth) for image, truth in cases])[:, 1:]
        scores[kind] = float(np.nanmean(each))
        scores[f"{kind}_no_vessel"] = float(np.nanmean(np.delete(each, [n - 1 for n in vessel], 1)))
    return scores


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out = Path(args.data), Path(args.out)
    names, held = training_scans(data)
    scans = [load_average_head(load_scan(data, name), data, name) for name in names]
    pictures: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"bare": [], "head": [], "flair": [], "thick": []}
    for number, scan in enumerate(load_scan(data, name) for name in held):
        truth = TISSUE_CLASS[scan.tissue.long()].numpy()
        pictures["bare"].append((standardize(clip_bright(scan.image.numpy())), truth))
        pictures["head"].append((standardize(clip_bright(add_fixed_skull(scan, number))), truth))
        flair = synthesize_flair(scan.image.float() / 255, scan.tissue, RandomSource(number))
        pictures["flair"].append((standardize(clip_bright(flair.numpy())), truth))
        pictures["thick"].append((standardize(clip_bright(simulate_thick_slices(flair, 5, 2).numpy())), truth))

    net = UNet3D(len(CLASS_NAMES), args.width)
    if args.like:
        net.load_state_dict(load_file(args.like))
        restore_weight_scale(net)
    net = net.to(args.device, memory_format=torch.channels_last_3d)
    rng = RandomSource(SEED)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-2)
    run = Run(out, net, optimizer, rng.generator, args.steps)
    while not run.is_finished:
        freeze_batch_norms(net, bool(args.like) or run.step > FREEZE_NORMS_AFTER * args.steps)
        made_up = MADE_UP_SHARE if args.like or run.step > EASY_SHARE * args.steps else 0
        image, target = draw_patch(scans, rng, made_up, args.flair)
        index, classes = choose_blocks(target, rng)
        image, index, classes = (part.to(args.device) for part in (image, index, classes))
        with autocast(args.device):
            features = net.extract_features(image[None, None])
            logits = net.predict_logits(features.flatten(0, 3)[index])
        run.optimize(segmentation_loss(logits.flatten(0, 1), classes.flatten()))

        if run.step % args.every == 0 or run.is_finished:
            served = run.averaged_network()
            run.log_scores(scores := validate(served, pictures))
            if run.update_best(sum(scores[kind] for kind in pictures)):
                save_file(half_precision_weights(served), out / "best.safetensors")
        else:
            run.print_progress()
        if run.checkpoint(args.keep, args.minutes):
            break


LAYOUT = f"{TEST_SCANS[0]}_labels.nii.gz"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """The scans of one part of the split in several conditions; the truth is numbered in our classes."""
    known = {n: name for n, name in enumerate(CLASS_NAMES) if n}
    names = list_scans(data)
    for name in names if part == "all" else split_scans(names)[part]:
        t1 = files.read([data / f"{name}_t1.nii.gz"])
        labels = files.read([data / f"{name}_labels.nii.gz"])
        truth = labels.new_like(translate_labels(labels.array), labels=known)
        yield Case(name, "OASIS-1", "no skull", (t1,), truth)
        scan = load_scan(data, name)
        image = Volume(add_fixed_skull(scan, int(name)), np.eye(4))
        classes = Volume(TISSUE_CLASS[scan.tissue.long()].numpy(), np.eye(4), labels=known)
        yield Case(name, "OASIS-1", "made-up head", (image,), classes)
        yield Case(
            name, "OASIS-1", "made-up head, 4 mm slices", (resample_thick(image, 4),), resample_thick(classes, 4)
        )
        turn = np.eye(4)
        turn[:3, :3] = Rotation.from_euler("xyz", (15, -10, 20), degrees=True).as_matrix()
        oblique = Grid(image.shape, image.affine @ rotate_about_centre(turn, image.shape))
        yield Case(
            name,
            "OASIS-1",
            "made-up head, turned",
            (Volume(resample(image, oblique).array, np.eye(4)),),
            Volume(resample(classes, oblique).array, np.eye(4), labels=known),
        )
        flair = Volume(
            synthesize_flair(scan.image.float() / 255, scan.tissue, RandomSource(int(name))).numpy(), np.eye(4)
        )
        yield Case(name, "OASIS-1", "made-up FLAIR, 5 mm slices", (resample_thick(flair),), resample_thick(classes))


def rotate_about_centre(turn: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return the rotation (4, 4) about the middle of a box of voxels."""
    middle = np.eye(4)
    middle[:3, 3] = (np.array(shape) - 1) / 2
    return middle @ turn @ np.linalg.inv(middle)


def main(arguments: list[str] | None = None) -> None:
    options = TrainingParser(__doc__.splitlines()[0], steps=7000, rate=4e-3, every=400)
    options.add_argument("--width", type=int, default=32)
    options.add_argument("--flair", type=float, default=0.0, help="share of the patches that look like FLAIR")
    options.run_training(train, arguments)


if __name__ == "__main__":
    main()
