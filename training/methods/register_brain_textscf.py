"""Trains the registration of brains: `python -m training.methods.register_brain_textscf --data DATA --out OUT`.

DATA holds T1 scans without skull and their Neuromorphometrics labels, `ID_t1.nii.gz` and `ID_labels.nii.gz`; the text
tower is `weights/text_tower.safetensors`. The network learns at 2 mm, which is the same network at an eighth of the
cost, and is served so: its field is a start that refinement carries on. Its velocity is integrated, so that the start
does not fold. The loss is local cross-correlation, Dice of the labels (all that the set has, not the 36 alone) and the
squared gradient of the velocity. Prompts vary in their wording; the region map is bent a little, as a predicted one is
wrong. OUT gets `checkpoint.pt`, from which a killed run goes on, `best.safetensors` and `log.csv`; the scans, aligned,
are kept in `runs/data/registration`.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medapp.algorithms.conformed_space import CONFORMED_SHAPE
from medapp.algorithms.deformable_refinement import refine_field
from medapp.algorithms.region_prompts import PROMPT_TEMPLATES, REGION_NUMBERS, fill_template, list_phrases
from medapp.algorithms.text_encoder import EMBEDDING_DIM, build_text_encoder, encode_prompts, make_encoder
from medapp.imaging.deformation import Deformation, folding_percent, sdlogj
from medapp.networks.textscf import Flow, LargeKernel, TextSCF, integrate_velocity, make_background_embedding, warp
from training.core.case import PREDICTED_REGIONS, TRUE_REGIONS, Case
from training.core.options import TrainingParser
from training.core.precision import autocast
from training.core.random_source import RandomSource
from training.core.run import Run, half_precision_state
from training.data.labelled_brains import RESCANS, TEST_SCANS, list_scans, split_scans, training_scans
from training.data.registration_pairs import AlignedScan, draw_pair, load_aligned_scan, read_scan

SEED = 20261123
TEXT_TOWER = Path("weights/text_tower.safetensors")
WORDINGS = 120  # of every prompt
RADIUS = 2  # voxels of 2 mm: half the window of the correlation
HIDDEN = 256


def local_correlation(moved: Tensor, fixed: Tensor, inside: Tensor) -> Tensor:
    """Return the mean squared local cross-correlation of two images (1, 1, D, H, W) where `inside` (D, H, W)."""

    def mean(x: Tensor) -> Tensor:
        k = 2 * RADIUS + 1
        for kernel in ((k, 1, 1), (1, k, 1), (1, 1, k)):
            x = F.avg_pool3d(x, kernel, 1, [n // 2 for n in kernel])
        return x

    a, b, aa, bb, ab = mean(torch.cat([moved, fixed, moved * moved, fixed * fixed, moved * fixed], 1))[0]
    cross, first, second = ab - a * b, (aa - a * a).clamp(min=0), (bb - b * b).clamp(min=0)
    return (cross * cross / (first * second + 1e-5))[inside].mean()


def soft_label_dice(flow: Tensor, moving: Tensor, fixed: Tensor) -> Tensor:
    """Return the mean soft Dice of all labels of the fixed map; flow (3, D, H, W) in voxels, labels (D, H, W).

    The moving labels are sampled linearly, as weights of the eight voxels around each point, without a map for each.
    """
    size = torch.tensor(fixed.shape)
    index = fixed.nonzero()
    points = index + flow[:, index[:, 0], index[:, 1], index[:, 2]].T
    points = torch.minimum(points.clamp(min=0), size - 1.001)
    corner = points.detach().long()
    part = points - corner
    own, flat = fixed[fixed > 0].long(), moving.flatten().long()
    total, shared = torch.zeros(256), torch.zeros(256)
    for offset in torch.cartesian_prod(*[torch.arange(2)] * 3):
        x, y, z = (corner + offset).T
        moving_labels = flat[(x * size[1] + y) * size[2] + z]
        weight = torch.where(offset > 0, part, 1 - part).prod(1)
        total = total.index_add(0, moving_labels, weight)
        shared = shared.index_add(0, own, weight * (moving_labels == own))
    count = torch.bincount(own, minlength=256).float()
    present = count > 20
    return (2 * shared[present] / (total + count)[present]).mean()


def gradient_energy(velocity: Tensor) -> Tensor:
    """Return the mean squared gradient of (1, 3, D, H, W)."""
    return sum(velocity.diff(dim=axis).square().mean() for axis in (2, 3, 4)) / 3


class PromptEmbeddings:
    """Embeddings of many wordings of every prompt."""

    def __init__(self, rng: RandomSource) -> None:
        net = build_text_encoder()
        net.load_state_dict(load_file(TEXT_TOWER), strict=False)
        text_encoder = make_encoder(net.float())
        self.text = encode_prompts(text_encoder)  # (36, d)
        sentences = []
        for label in REGION_NUMBERS:
            ways = list_phrases(label)
            sentences += [
                fill_template(ways[rng.randint(len(ways))], PROMPT_TEMPLATES[rng.randint(len(PROMPT_TEMPLATES))])
                for _ in range(WORDINGS)
            ]
        self.ways = text_encoder.encode(sentences).view(len(REGION_NUMBERS), WORDINGS, -1)

    def draw(self, rng: RandomSource) -> Tensor:
        """Return embeddings (36, d) of the paper's prompts, or of random wordings."""
        if rng.bernoulli(0.3):
            return self.text
        pick = torch.randint(WORDINGS, (len(REGION_NUMBERS),), generator=rng.generator)
        text = self.ways[torch.arange(len(REGION_NUMBERS)), pick]
        return torch.cat([make_background_embedding(text)[None], text])


@torch.no_grad()
def initialize_weights(net: TextSCF) -> None:
    """Weights from which features keep their size through the layers, large kernels are near the identity, and there
    is hardly any displacement."""
    head = (net.flow.generate_flow_x, net.flow.generate_flow_y, net.flow.generate_flow_z)
    large = [part for block in net.modules() if isinstance(block, LargeKernel) for part in (block.regular, block.large)]
    for part in net.modules():
        if isinstance(part, nn.Conv3d) and part is not net.flow.flow:
            nn.init.kaiming_normal_(part.weight, 0.25)
            part.weight.mul_(0.4 if part in large or part.kernel_size == (1, 1, 1) else 1)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.ConvTranspose3d):
            nn.init.normal_(part.weight, 0, math.sqrt(2 / (1 + 0.25**2) / part.in_channels))
            nn.init.zeros_(part.bias)
    for part in head:
        part.mlp[-1].weight.mul_(0.3)
        nn.init.zeros_(part.mlp[-1].bias)


def predict_flow(net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor, filters: Tensor) -> Flow:
    """Return what `net.forward` does, with the backbone alone in 16 bits: squaring needs more."""
    with autocast(moving.device):
        feature = net.extract_features(moving, fixed)
    raw = net.flow(feature.float(), regions[:, ::2, ::2, ::2].long(), filters)
    half = 2 * integrate_velocity(raw / 2)
    return Flow(F.interpolate(half, fixed.shape[2:], mode="trilinear", align_corners=False), half, raw, feature)


@torch.inference_mode()
def predict_field(net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor) -> Tensor:
    """Return the field (3, D, H, W) in voxels of a pair at 1 mm, on the CPU; the network sees it at 2 mm."""
    device = net.text.device
    source, target = (F.avg_pool3d(image[None, None], 2).to(device) for image in (moving, fixed))
    flow = predict_flow(net, source, target, regions[None, ::2, ::2, ::2].to(device), net.make_filters()).flow.cpu()
    return 2 * F.interpolate(flow, fixed.shape, mode="trilinear", align_corners=False)[0]


def label_dice(moving: Tensor, fixed: Tensor, flow: Tensor) -> float:
    """Return the mean Dice of the fixed map's labels, the moving ones sampled at the nearest voxel."""
    moved = warp(moving[None, None].float(), flow[None], "nearest")[0, 0].long().flatten()
    own = fixed.long().flatten()
    a, b = torch.bincount(own, minlength=256), torch.bincount(moved, minlength=256)
    both = torch.bincount(own[own == moved], minlength=256)
    present = (a > 0) & (torch.arange(256) > 0)
    return float((2 * both / (a + b).clamp(min=1))[present].mean())


def validate(net: TextSCF, pairs: Sequence[tuple[AlignedScan, AlignedScan]], refined: bool) -> dict[str, float]:
    """Return means over pairs at 1 mm: Dice of all labels and of the regions, folding in %; if `refined`, also after
    refinement.
    """
    rows = []
    for fixed, moving in pairs:
        images = moving.image.float() / 255, fixed.image.float() / 255
        rng = RandomSource(SEED)
        bend = rng.smooth_field(CONFORMED_SHAPE, 10, 3) * 0.4
        wrong = warp(fixed.regions[None, None].float(), bend[None], "nearest")[0, 0]
        flows = {"net": predict_field(net, *images, wrong)}
        if refined:
            flows |= {"refined": refine_field(*images, flows["net"])}
        row = {}
        for kind, flow in flows.items():
            row[kind] = label_dice(moving.parcels, fixed.parcels, flow)
            row[f"{kind}_regions"] = label_dice(moving.regions, fixed.regions, flow)
            determinant = Deformation(flow.numpy(), np.eye(4)).jacobian_determinant()
            inside = fixed.image.numpy() > 0
            row[f"{kind}_folding"] = folding_percent(determinant, inside)
            row[f"{kind}_sdlogj"] = sdlogj(determinant, inside)
        rows.append(row)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def score_baselines(pairs: Sequence[tuple[AlignedScan, AlignedScan]]) -> dict[str, float]:
    """Return Dice of all labels after the affine alone, and after refinement without a start."""
    rows = []
    for fixed, moving in pairs:
        images = moving.image.float() / 255, fixed.image.float() / 255
        flows = torch.zeros(3, *CONFORMED_SHAPE), refine_field(*images)
        rows.append([label_dice(moving.parcels, fixed.parcels, flow) for flow in flows])
    return dict(zip(("affine", "refined_from_nothing"), np.mean(rows, 0).round(4).tolist(), strict=True))


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out = Path(args.data), Path(args.out)
    names, held = training_scans(data, 2)
    scans = {name: load_aligned_scan(data, name, names[0]) for name in names}
    circle = zip(held, held[1:] + held[:1], strict=True)
    pairs = [
        (load_aligned_scan(data, fixed, fixed), load_aligned_scan(data, moving, fixed)) for fixed, moving in circle
    ]
    rng = RandomSource(SEED)
    words = PromptEmbeddings(rng)
    if args.refined and not (out / "log.csv").exists():
        print(score_baselines(pairs), flush=True)

    net = TextSCF(args.width, EMBEDDING_DIM, HIDDEN, diffeomorphic=True)
    net.text.copy_(words.text)
    initialize_weights(net)
    if args.like:
        net.load_state_dict(load_file(args.like))
    net.to(args.device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    run = Run(out, net, optimizer, rng.generator, args.steps, warmup=50)

    while not run.is_finished:
        fixed, moving = (names[rng.randint(len(names))] for _ in range(2))
        if RESCANS.get(fixed, fixed) == RESCANS.get(moving, moving):
            continue
        pair = draw_pair(scans[fixed], scans[moving], rng)
        source, target = (image[None, None].to(args.device) for image in (pair.moving, pair.fixed))
        filters = net.make_filters(words.draw(rng).to(args.device))
        flow = predict_flow(net, source, target, pair.regions[None].to(args.device), filters)
        similar = local_correlation(warp(source, flow.flow), target, target[0, 0] > 0.02)
        shared = soft_label_dice(flow.flow[0].cpu(), pair.moving_parcels, pair.fixed_parcels)
        bent = gradient_energy(flow.raw)
        loss = 1 - similar + args.dice * (1 - shared.to(args.device)) + args.smooth * bent
        run.optimize(loss, similar.item(), shared.item(), bent.item())

        if run.step % args.every == 0 or run.is_finished:
            means = dict(zip(("loss", "correlation", "dice", "rough"), np.mean(run.losses, 0), strict=True))
            row = {"step": run.step, "minutes": run.minutes} | means
            row |= validate(run.average.module, pairs, args.refined)
            run.log_row(row := {key: round(float(value), 5) for key, value in row.items()})
            if run.update_best(row["refined" if args.refined else "net"]):
                save_file(half_precision_state(run.average.module.state_dict()), out / "best.safetensors")
        else:
            run.print_progress(10)
        if run.checkpoint(args.keep, args.minutes):
            break


LAYOUT = f"{TEST_SCANS[0]}_labels.nii.gz"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """Pairs of different people of one part of the split, fixed and moving, with predicted and with true regions.

    Everyone is fixed once, then everyone a second time with another moving image, and so on: the first pairs of a
    part are as varied as can be.
    """
    known = list_scans(data)
    names = known if part == "all" else split_scans(known)[part]
    for step in range(1, len(names)):
        for number, fixed in enumerate(names):
            moving = names[(number + step) % len(names)]
            if RESCANS.get(fixed, fixed) == RESCANS.get(moving, moving):
                continue
            (t1, truth), (other, moving_truth) = (read_scan(data, name) for name in (fixed, moving))
            for condition, labels in ((PREDICTED_REGIONS, None), (TRUE_REGIONS, truth)):
                volumes = (t1, other, labels, None)
                yield Case(f"{fixed}-{moving}", "OASIS-1", condition, volumes, truth, moving_truth=moving_truth)


def main(arguments: list[str] | None = None) -> None:
    options = TrainingParser(__doc__.splitlines()[0], steps=2000, rate=1e-3, every=200)
    options.add_argument("--width", type=int, default=8)
    options.add_argument("--dice", type=float, default=1.0, help="weight of the labels' overlap")
    options.add_argument("--smooth", type=float, default=0.5, help="weight of the velocity's squared gradient")
    options.add_argument("--refined", action="store_true", help="validate, and choose the best, after refinement")
    options.run_training(train, arguments)


if __name__ == "__main__":
    main()
