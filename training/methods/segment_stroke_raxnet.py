"""Trains RAX-Net for one plane: `python -m training.methods.segment_stroke_raxnet --plane PLANE --data DATA --out OUT`.

DATA holds `brain_t1` and `stroke_masks`; the heads are painted by `training.data.stroke_heads`, old ones by
`training.data.aged_stroke_heads` (into real heads of DATA/heads, too), while the training goes on, kept in
`runs/data/stroke` and shared by the three planes. OUT gets `checkpoint.pt`, from which a killed run goes on as if
nothing had happened, `best.safetensors` (by this plane alone), `last.safetensors` and `log.csv`.
"""

import argparse
import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from nibabel.affines import from_matvec
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation
from torch import Tensor, nn

from medapp.algorithms.mni_template import load_template
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.networks.blocks import fuse_batchnorm
from medapp.networks.raxnet import RAXNet
from medapp.pipelines.segment_stroke_raxnet import INPUT_CHANNELS, PLANE_VIEWS, WIDTHS, predict_plane
from training.core.case import Case
from training.core.lesion_losses import LOSSES
from training.core.options import TrainingParser
from training.core.precision import autocast
from training.core.random_source import RandomSource
from training.core.run import Run, half_precision_state
from training.data.aged_stroke_heads import CONDITIONS, TRAINING, load_aged_head
from training.data.labelled_brains import SEED
from training.data.stroke_heads import SEEDS, StrokeHead, load_head
from training.data.stroke_lesions import LesionShapes
from training.data.stroke_slices import CROP, PLANES, SliceSampler, augment_slices, to_standardized

VALIDATION_HEADS = (0, 1, 2, 3, 4, 6, 7, 5, 11)  # the heads that validate; the last two have no lesion
AGED_VALIDATION = 2  # heads of each of CONDITIONS that validate besides
SCORED_HEADS = 60  # heads of a part, by `read_cases`
SCORED_AGED_HEADS = 16  # heads of a part and one of CONDITIONS
OBLIQUE_AXES = Rotation.from_euler("xyz", (15, -8, 10), degrees=True).as_matrix() @ np.diag([-1.0, -1, 3])
OBLIQUE = Grid(
    (220, 250, 70),
    from_matvec(OBLIQUE_AXES, np.array([0.0, -18, 8]) - OBLIQUE_AXES @ (np.array((220, 250, 70)) - 1) / 2),
)
LESION_PRIOR = -4.0  # logit of lesion, as rare as it is, from which the training sets out
HEADS_BEFORE, STEPS_PER_HEAD = 36, 10  # heads painted before the first step; then another after so many steps


def add_input_channels(state: Mapping[str, Tensor], channels: int) -> dict[str, Tensor]:
    """Return the state dict of a RAXNet with so many input channels, which ignores the new ones."""
    first = [name for name in state if name in ("stem.1.weight", "ups.3.skip.weight")]
    more = {name: F.pad(state[name], (0, 0, 0, 0, 0, channels - state[name].shape[1])) for name in first}
    return {**state, **more}


def validate(net: nn.Module, held: list[StrokeHead], plane: str) -> dict[str, float]:
    """Mean 3-D Dice over lesions of any size and those under 20 ml, and false millilitres in heads without."""
    net = fuse_batchnorm(copy.deepcopy(net).eval())
    scores, small, false = [], [], []
    for each in held:
        prediction = predict_plane(net, to_standardized(torch.from_numpy(each.image)).numpy(), PLANE_VIEWS[plane]) > 0.5
        size = int(each.mask.sum())
        if not size:
            false.append(prediction.sum() / 1000)
            continue
        scores.append(2 * (prediction & each.mask).sum() / (prediction.sum() + size))
        if size < 20_000:
            small.append(scores[-1])
    return {
        name: float(np.mean(v)) if v else 0.0 for name, v in (("dice", scores), ("small", small), ("false_ml", false))
    }


LAYOUT = "stroke_masks/*.npz"  # by which DATA of `read_cases` is known


def to_volumes(painted: StrokeHead) -> tuple[Volume, Volume]:
    """Return scan and mask of a painted head."""
    image = Volume(painted.image.astype(np.int16), load_template().affine, name="T1")
    return image, image.new_like(painted.mask.astype(np.uint8), labels={1: "painted"})


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """Heads of brains and with masks of that part alone, each as it is and as a scanner might store it; the first of
    them have a namesake in each of CONDITIONS.
    """
    for each in SEEDS if part == "all" else (part,):
        shapes = LesionShapes(data / "stroke_masks", each)
        for number in range(SCORED_HEADS):
            painted = load_head(data, each, number, shapes)
            image, truth = to_volumes(painted)
            patient, group = f"{each} {number:03d}", f"{painted.mask.sum() / 1000:.1f} ml"
            yield Case(patient, group, "1 mm", (image,), truth)
            resampled = [resample(volume, OBLIQUE) for volume in (image, truth)]
            yield Case(patient, group, "oblique, 3 mm slices", (resampled[0],), resampled[1])
            for condition in CONDITIONS if number < SCORED_AGED_HEADS else ():
                painted = load_aged_head(data, each, condition, number, shapes)
                image, truth = to_volumes(painted)
                yield Case(patient, f"{painted.mask.sum() / 1000:.1f} ml", condition, (image,), truth)


def load_training_head(data: Path, number: int, aged: float, shapes: LesionShapes) -> StrokeHead:
    """Return head `number` to learn from; the share `aged` of them are of `aged_stroke_heads`."""
    before, after = int(number * aged), int((number + 1) * aged)
    if after > before:
        return load_aged_head(data, "train", TRAINING, before, shapes)
    return load_head(data, "train", number - before, shapes)


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out = Path(args.data), Path(args.out)
    shapes = {part: LesionShapes(data / "stroke_masks", part) for part in ("train", "validation")}
    held = [
        load_head(data, "validation", n, shapes["validation"])
        for n in VALIDATION_HEADS[: args.held] + VALIDATION_HEADS[-1:]
    ]
    held += [
        load_aged_head(data, "validation", condition, n, shapes["validation"])
        for condition in CONDITIONS
        for n in range(AGED_VALIDATION if args.aged else 0)
    ]

    widths = tuple(args.width * n for n in (1, 2, 4, 8))
    net = RAXNet(1, widths, INPUT_CHANNELS).to(args.device, memory_format=torch.channels_last)
    nn.init.constant_(net.head.bias, LESION_PRIOR)
    if args.like:
        net.load_state_dict(add_input_channels(load_file(args.like), INPUT_CHANNELS))
    rng = RandomSource(SEED + PLANES.get(args.plane, len(PLANES)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=4e-3)
    run = Run(out, net, optimizer, rng.generator, args.steps, decay=0.997, use_buffers=True, best=-math.inf)

    sources = [SliceSampler(plane) for plane in (PLANES if args.plane == "every" else (args.plane,))]
    while not run.is_finished:
        for number in range(len(sources[0].heads), min(args.heads, args.before + run.step // STEPS_PER_HEAD)):
            new = load_training_head(data, number, args.aged, shapes["train"])
            for source in sources:
                source.add(new)
        source = sources[rng.randint(len(sources))]
        x, y = augment_slices(*source.draw(args.batch, rng), CROP[source.plane], source.plane != "sagittal", rng)
        net.train()
        with autocast(args.device, flat=True):
            logits = net(x.to(args.device, memory_format=torch.channels_last))
        run.optimize(LOSSES[args.loss](logits.float(), y.to(args.device)))

        late = run.is_over_time(args.minutes)
        if run.step % args.every == 0 or run.is_finished:
            run.log_scores(scores := validate(run.average.module, held, sources[0].plane))
            state = half_precision_state(run.average.module.state_dict())
            save_file(state, out / "last.safetensors")
            if run.update_best(scores["dice"] + 0.5 * scores["small"] - 0.02 * min(scores["false_ml"], 10)):
                save_file(state, out / "best.safetensors")
        else:
            run.print_progress()
        if run.step % args.every == 0 or run.is_finished or late or run.is_checkpoint_due(args.keep):
            run.save_checkpoint()
        if late:
            break


def main(arguments: list[str] | None = None) -> None:
    options = TrainingParser(__doc__.splitlines()[0], steps=4000, rate=2e-3, every=400)
    options.add_argument(
        "--plane",
        choices=(*PLANES, "every"),
        required=True,
        help="every: one network for all planes, from which the others start",
    )
    options.add_argument("--batch", type=int, default=16)
    options.add_argument("--width", type=int, default=WIDTHS[0])
    options.add_argument("--loss", choices=LOSSES, default="balanced")
    options.add_argument("--heads", type=int, default=300, help="number of painted heads")
    options.add_argument("--aged", type=float, default=0.0, help="share of them that are old and real heads")
    options.add_argument(
        "--before", type=int, default=HEADS_BEFORE, help="number of heads painted before the first step"
    )
    options.add_argument(
        "--held", type=int, default=len(VALIDATION_HEADS) - 1, help="validation heads, besides one without lesion"
    )
    options.run_training(train, arguments)


if __name__ == "__main__":
    main()
