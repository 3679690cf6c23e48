"""Trains AR2-UNet: `python -m training.methods.segment_glioma_ar2unet --data DATA --out OUT`.

DATA is the TCGA-LGG FLAIR abnormality set: a folder per patient with `NNN.jpg` (red, green, blue: pre-contrast, FLAIR,
post-contrast) and `NNN_mask.png` where slice NNN has an abnormality; or anyone's images and masks, see
`training.data.patient_folder`. OUT gets `checkpoint.pt`, from which a killed run goes on, `best.safetensors`,
`log.csv` and `split.json`, which tells who is learned from, who chooses the best, and who is left for the test.
"""

import argparse
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy import ndimage
from torch import Tensor, nn

from medapp.errors import UserError
from medapp.imaging.geometry import resample, respaced
from medapp.imaging.intensity import CLIP, standardize
from medapp.imaging.volume import Volume
from medapp.networks.ar2unet import AR2UNet
from medapp.pipelines.segment_glioma_ar2unet import CARD, slices, working_grid
from training.core.case import Case
from training.core.options import Options
from training.core.precision import autocast
from training.core.run import Run, halves
from training.data.patient_folder import cases as others

SIDE = 192  # pixels a side of a slice: 240 mm at the 1.25 mm that the pipeline works at
CROP = 144  # pixels a side of a training patch
SEED = 20261121


@dataclass
class Patient:
    """One study: `whole` and `stripped` are standardised (N, 3, SIDE, SIDE) fp16, `mask` is (N, SIDE, SIDE) bool."""

    name: str
    whole: np.ndarray
    stripped: np.ndarray
    mask: np.ndarray


def load(folder: Path) -> Patient:
    """Read one patient, standardise each sequence over the whole study, with the skull and without it."""
    files = sorted(folder.glob("[0-9][0-9][0-9].jpg"))
    image = np.stack([picture(f, "RGB") for f in files]).transpose(0, 3, 1, 2)  # (N, 3, SIDE, SIDE)
    masks = [f.with_name(f.stem + "_mask.png") for f in files]
    mask = np.stack([picture(m, "L") > 127 if m.exists() else np.zeros((SIDE, SIDE), bool) for m in masks])
    return both_ways(folder.name, image, mask)


def exam(case: Case) -> Patient:
    """Anyone's: the slices that the pipeline would look at, in the middle of SIDE × SIDE pixels."""
    pre, flair, post = case.volumes
    grid, depth = working_grid(flair)

    def placed(volume: Volume) -> np.ndarray:
        """(N, SIDE, SIDE), nothing below 0."""
        array = slices(volume, grid, depth) - volume.array.min()
        short = [max(SIDE - n, 0) for n in array.shape[1:]]
        array = np.pad(array, [(0, 0), *((n // 2, n - n // 2) for n in short)])
        top, left = ((n - SIDE) // 2 for n in array.shape[1:])
        return array[:, top : top + SIDE, left : left + SIDE]

    image = np.stack([placed(volume or flair) for volume in (pre, flair, post)], 1)
    return both_ways(case.patient, image, placed(case.truth) > 0)


def both_ways(name: str, image: np.ndarray, mask: np.ndarray) -> Patient:
    """With the skull and without it: (N, 3, SIDE, SIDE) from 0 on, and (N, SIDE, SIDE) bool."""
    brain = rough_brain(image[:, 1]) | mask
    whole = np.stack([standardize(image[:, c]) for c in range(3)], 1)
    stripped = np.stack([standardize(image[:, c] * brain) for c in range(3)], 1)
    return Patient(name, whole.astype(np.float16), stripped.astype(np.float16), mask)


def learned(data: Path) -> tuple[dict[str, list[str]], list[Patient], list[Patient]]:
    """Who is in which part, whom to learn from, and whom to choose by.

    Raises InputError for a folder without images and masks, UserError where these are of fewer than three people.
    """
    exams: dict[str, list[Patient]] = {}
    if any(data.glob(LAYOUT)):
        parts = split(sorted(folder.name for folder in data.iterdir() if folder.is_dir()))
        exams = {name: [load(data / name)] for name in parts["train"] + parts["validation"]}
    else:
        for case in others(CARD, data):
            exams.setdefault(case.patient, []).append(exam(case))
        parts = split(sorted(exams))
    if not all(parts.values()):
        raise UserError(f"{data} holds {len(exams)} people: three are needed to learn from, to choose and to test by.")
    fit, held = ([each for name in parts[part] for each in exams[name]] for part in ("train", "validation"))
    return parts, fit, held


def picture(file: Path, mode: str) -> np.ndarray:
    return np.asarray(Image.open(file).convert(mode).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def rough_brain(flair: np.ndarray) -> np.ndarray:
    """A slice-wise guess at the brain in (N, H, W), good enough to show a network what a stripped head looks like."""
    threshold = 0.55 * np.median(flair[flair > flair.mean()])
    brain = np.zeros(flair.shape, bool)
    for index, piece in enumerate(flair):
        core = ndimage.binary_erosion(ndimage.gaussian_filter(piece.astype(np.float32), 1) > threshold, iterations=4)
        labels, count = ndimage.label(core)
        if count:
            largest = labels == 1 + np.argmax(ndimage.sum(core, labels, range(1, count + 1)))
            grown = ndimage.binary_dilation(largest, iterations=5)
            brain[index] = ndimage.binary_fill_holes(ndimage.binary_closing(grown, iterations=4))
    return brain


def site_of(name: str) -> str:
    """TCGA_DU_1234 is of DU; of others nothing is known."""
    return name.split("_")[1] if name.startswith("TCGA_") else ""


def split(names: list[str], validation: float = 0.12, test: float = 0.14) -> dict[str, list[str]]:
    """Divide patients into train, validation and test with every site in the same proportion; always the same way.

    Patients of no known site are all of one, and one of them at least is in each part, if there are three.
    """
    random = np.random.default_rng(SEED)
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for site in sorted({site_of(n) for n in names}):
        members = random.permutation(sorted(n for n in names if site_of(n) == site)).tolist()
        least = int(not site and len(members) > 2)
        v, t = (max(least, round(len(members) * share)) for share in (validation, test))
        parts["validation"] += members[:v]
        parts["test"] += members[v : v + t]
        parts["train"] += members[v + t :]
    return parts


def augment(image: Tensor, target: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random view of a batch: (B, 3, SIDE, SIDE) and (B, 1, SIDE, SIDE) -> the same, CROP pixels a side.

    Turned by any quarter and mirrored (uploads come in every orientation), rotated, scaled, bent; then contrast, coil
    shading, blur and noise, and in some cases only FLAIR is left, copied to the other channels as the data set does.
    """
    batch, device = len(image), image.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape or (batch,), generator=random, device=device) * (high - low) + low

    def chance(p: float) -> Tensor:
        return uniform(0, 1) < p

    angle = (torch.where(chance(0.35), (uniform(0, 4)).floor() * 90, 0) + uniform(-15, 15)) * math.pi / 180
    scale = torch.where(chance(0.7), torch.exp(uniform(-0.28, 0.28)), 1.0) * CROP / image.shape[-1]
    mirror = torch.where(chance(0.5), -1.0, 1.0)
    stretch = torch.exp(uniform(-0.08, 0.08))
    theta = torch.zeros(batch, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * scale * angle.cos() * stretch, -scale * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = mirror * scale * angle.sin() * stretch, scale * angle.cos()
    theta[:, :, 2] = uniform(-0.22, 0.22, batch, 2)
    grid = F.affine_grid(theta, [batch, 3, CROP, CROP], align_corners=False)
    bend = (torch.randn(batch, 2, 6, 6, generator=random, device=device) * 0.02) * chance(0.4).float()[
        :, None, None, None
    ]
    grid = grid + F.interpolate(bend, (CROP, CROP), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    air = image.amin((2, 3), keepdim=True)
    image = F.grid_sample(image - air, grid, align_corners=False) + air
    target = (F.grid_sample(target, grid, align_corners=False) > 0.5).float()

    flair = image[:, 1:2]
    only, pre, post = chance(0.4), chance(0.06), chance(0.06)
    image = torch.cat(
        [
            torch.where((only | pre)[:, None, None, None], flair, image[:, :1]),
            flair,
            torch.where((only | post)[:, None, None, None], flair, image[:, 2:]),
        ],
        dim=1,
    )

    same = (only | chance(0.3))[:, None]  # one contrast change for all sequences, or one each

    def per_sequence(low: float, high: float) -> Tensor:
        values = uniform(low, high, batch, 3)
        return torch.where(same, values[:, 1:2], values)[:, :, None, None]

    position = ((image - CLIP[0]) / (CLIP[1] - CLIP[0])).clamp(0, 1)
    image = position ** torch.exp(per_sequence(-0.25, 0.25)) * (CLIP[1] - CLIP[0]) + CLIP[0]
    image = image * torch.exp(per_sequence(-0.22, 0.22)) + per_sequence(-0.25, 0.25)
    shade = F.interpolate(
        torch.randn(batch, 1, 4, 4, generator=random, device=device) * 0.08,
        (CROP, CROP),
        mode="bicubic",
        align_corners=True,
    )
    image = image + shade * (image - CLIP[0]) / -CLIP[0] * chance(0.4).float()[:, None, None, None]
    if torch.rand((), generator=random, device=device) < 0.25:
        factor = float(torch.rand((), generator=random, device=device) * 1.5 + 1)
        small = F.interpolate(image, scale_factor=1 / factor, mode="bilinear", antialias=True)
        image = F.interpolate(small, (CROP, CROP), mode="bilinear")
    level = uniform(0, 0.25) * chance(0.3)
    noise = torch.randn(image.shape, generator=random, device=device)
    noise = torch.where(only[:, None, None, None], noise[:, :1], noise)
    image = image + level[:, None, None, None] * noise
    return image.clamp(*CLIP), target


def objective(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy plus soft Dice over the whole batch, so that an empty slice counts as what it adds wrongly."""
    probability = logits.sigmoid()
    overlap = (probability * target).sum()
    dice = 1 - (2 * overlap + 1) / (probability.sum() + target.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, target) + dice


@torch.no_grad()
def settle(net: nn.Module, norms: list[nn.BatchNorm2d], batches: Iterable[Tensor]) -> None:
    """Give the batch norms the mean statistics over many batches instead of those of the last ten."""
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative mean
    for x in batches:
        with autocast(x.device):
            net(x)
    for layer in norms:
        layer.momentum = 0.1


@torch.inference_mode()
def predict(net: nn.Module, image: np.ndarray, device: torch.device) -> np.ndarray:
    """Probability (N, H, W) of standardised slices (N, 3, H, W)."""
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
    three = [dice(predict(net, p.whole, device) > 0.5, p.mask) for p in patients]
    flair = [dice(predict(net, p.whole[:, [1, 1, 1]], device) > 0.5, p.mask) for p in patients]
    return {"three": float(np.mean(three)), "flair": float(np.mean(flair))}


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    device = torch.device(args.device)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    parts, fit, held = learned(Path(args.data))
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
    run = Run(out, net, optimizer, torch.Generator().manual_seed(SEED), steps * args.epochs, warm=args.warmup)

    def drawn(batches: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of slices, each now and then without its skull, turned and spoilt."""
        order = torch.multinomial(weight, batches * args.batch, replacement=True, generator=run.random)
        luck = torch.Generator(device).manual_seed(SEED + run.step)
        for index in order.to(device).split(args.batch):
            bare = (torch.rand(len(index), generator=luck, device=device) < 0.22)[:, None, None, None]
            x = torch.where(bare, stripped[index], whole[index]).float()
            x, y = augment(x, masks[index][:, None].float(), luck)
            yield x.contiguous(memory_format=torch.channels_last), y

    frozen = math.ceil(args.freeze * args.epochs)  # a norm shared by three applications must be trained as it is served
    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    for epoch in range(run.step // steps, args.epochs):
        net.train()
        if epoch == frozen:
            settle(net, norms, (x for x, _ in drawn(80)))
        if epoch >= frozen:
            for layer in norms:
                layer.eval()
        for x, y in drawn(steps):
            with autocast(device):
                logits = net(x)
            run.descend(objective(logits.float(), y))
            run.tell()
        if (epoch + 1) % args.every == 0 or run.ended:
            scores = validate(run.average.module, held, device)
            run.note(scores)
            if run.better(sum(scores.values())):
                save_file(halves(run.average.module.state_dict()), out / "best.safetensors")
        if (late := run.late(args.minutes)) or run.due(args.keep) or run.ended:
            run.keep()
        if late:
            break


def pictures(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """The slices (row, column, slice, channel) uint8, and what is outlined in them (row, column, slice) bool."""
    image = np.stack([np.asarray(Image.open(f).convert("RGB")) for f in files], 2)
    mask = np.zeros(image.shape[:3], bool)
    for number, file in enumerate(files):
        drawn = file.with_name(f"{file.stem}_mask.png")
        if drawn.exists():
            mask[..., number] = np.asarray(Image.open(drawn).convert("L")) > 127
    return image, mask


LAYOUT = "TCGA_*/[0-9][0-9][0-9].jpg"  # by which DATA of `cases` is known


def cases(data: Path, part: str) -> Iterator[Case]:
    """The patients of one part of the split, as a user would upload them, in several conditions.

    The set gives neither voxel size nor position: 240 mm fields of view and 5 mm between slices are assumed, which
    scales the millilitres and leaves Dice as it is. Slices that the set leaves out leave a gap.
    """
    folders = sorted(p for p in data.iterdir() if p.is_dir())
    names = [f.name for f in folders]
    for folder in folders:
        if part != "all" and folder.name not in split(names)[part]:
            continue
        image, mask = pictures(sorted(folder.glob("[0-9][0-9][0-9].jpg")))
        brain = rough_brain(image[..., 1].transpose(2, 0, 1)).transpose(1, 2, 0) | mask
        affine = np.diag([-240 / image.shape[1], -240 / image.shape[0], 5.0, 1.0])

        def volume(array: np.ndarray, affine: np.ndarray = affine, **more: object) -> Volume:
            return Volume(array.swapaxes(0, 1), affine, **more)  # first axis: column

        pre, flair, post = (volume(image[..., c]) for c in range(3))
        truth = volume(mask.astype(np.uint8), labels={1: "abnormality"})
        site = site_of(folder.name)
        yield Case(folder.name, site, "three sequences", (pre, flair, post), truth)
        yield Case(folder.name, site, "FLAIR alone", (None, flair, None), truth)
        bare = tuple(volume(image[..., c] * brain) for c in range(3))
        yield Case(folder.name, site, "three sequences, skull removed", bare, truth)
        coarse = respaced(flair.grid, (1.6, 1.6, 5.0))
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


def main(given: list[str] | None = None) -> None:
    options = Options(__doc__.splitlines()[0], epochs=40, rate=2e-3, every=2)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--width", type=int, default=16)
    options.add_argument("--gate", choices=["decoder", "encoder"], default="encoder")
    options.add_argument("--warmup", type=int, default=200, help="steps")
    options.add_argument(
        "--freeze", type=float, default=0.7, help="share of the epochs after which batch norms stand still"
    )
    options.add_argument(
        "--empty", type=float, default=1.2, help="how often a lesion-free slice is drawn, to 1 for others"
    )
    options.carry_out(train, given)


if __name__ == "__main__":
    main()
