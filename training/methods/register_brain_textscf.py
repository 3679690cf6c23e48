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
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medapp.algorithms.affine_registration import register_affine
from medapp.algorithms.conformed_space import CONFORMED_SHAPE, make_conformed_grid, scale_intensity
from medapp.algorithms.deformable_refinement import refine_field
from medapp.algorithms.region_prompts import PROMPT_TEMPLATES, REGION_NUMBERS, fill_template, list_phrases
from medapp.algorithms.text_encoder import EMBEDDING_DIM, build_text_encoder, encode_prompts, make_encoder
from medapp.imaging.brain_labels import MIRROR_CLASSES, translate_labels
from medapp.imaging.deformation import Deformation, folding_percent, sdlogj
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.networks.textscf import Flow, LargeKernel, TextSCF, integrate_velocity, make_background_embedding, warp
from training.core.case import PREDICTED, TRUE, Case
from training.core.data_cache import folder
from training.core.options import Options
from training.core.precision import autocast
from training.core.random_source import Luck
from training.core.run import Run, halves
from training.data.labelled_brains import RESCANS, TEST, learned, names_in, split

SEED = 20261123
TOWER = Path("weights/text_tower.safetensors")
SIZE = (80, 80, 96)  # voxels of 2 mm: what of SHAPE brains fill
WORDINGS = 120  # of every prompt
RADIUS = 2  # voxels of 2 mm: half the window of the correlation
HIDDEN = 256


class Scan(NamedTuple):
    """A scan on a grid of SHAPE, uint8: `image` (0 to 255), `regions` (36 classes), `parcels` (all labels).

    `smooth` is the image averaged over two voxels along each axis, half a voxel further on.
    """

    image: Tensor
    regions: Tensor
    parcels: Tensor
    smooth: Tensor


class Sample(NamedTuple):
    """A pair at 2 mm, all (D, H, W): images from 0 to 1, the fixed image's regions, and all labels of both."""

    moving: Tensor
    fixed: Tensor
    regions: Tensor
    moving_parcels: Tensor
    fixed_parcels: Tensor


def read(data: Path, name: str) -> tuple[Volume, Volume]:
    t1, labels = (files.read([data / f"{name}_{kind}.nii.gz"]) for kind in ("t1", "labels"))
    return t1, labels.new_like(labels.array, labels={1: "any"})


def prepare(data: Path, name: str, onto: str) -> Scan:
    """One scan aligned to another on the latter's grid, or what was kept of it."""
    kept = folder("registration", data) / f"{name}_{onto}.npz"
    if not kept.exists():
        t1, labels = read(data, name)
        target = t1 if name == onto else read(data, onto)[0]
        matrix = np.eye(4) if name == onto else register_affine(t1, target)
        still = Deformation.from_affine(np.eye(4), make_conformed_grid(target))
        image = 255 * scale_intensity(still.warp(t1, matrix).array)
        regions = labels.new_like(translate_labels(labels.array), labels=labels.labels)
        parcels = [still.warp(part, matrix).array.astype(np.uint8) for part in (regions, labels)]
        np.savez_compressed(kept, image=np.rint(image).astype(np.uint8), regions=parcels[0], parcels=parcels[1])
    arrays = np.load(kept)
    image, regions, parcels = (torch.from_numpy(arrays[field]) for field in ("image", "regions", "parcels"))
    smooth = F.avg_pool3d(F.pad(image[None].float(), [0, 1] * 3), 2, 1)[0]
    return Scan(image, regions, parcels, smooth.round().to(torch.uint8))


def turned(luck: Luck, degrees: float, shift: float, stretch: float) -> Tensor:
    """A small affine (3, 4), millimetres about the middle."""
    matrix = torch.linalg.matrix_exp(
        luck.normal(3, 3, scale=stretch / 2)
        + (lambda a: a - a.T)(luck.normal(3, 3, scale=math.radians(degrees) / math.sqrt(2)))
    )
    return torch.cat([matrix, luck.normal(3, 1, scale=shift)], 1)


def drawn(scan: Scan, affine: Tensor, bend: Tensor | None = None, mirrored: bool = False) -> list[Tensor]:
    """Image from 0 to 1, regions and parcels at 2 mm (SIZE), the scan seen through an affine (3, 4) and mirrored.

    `bend` (3, SIZE), millimetres, is added where the regions are taken.
    """
    along = torch.meshgrid(*(2 * (torch.arange(n) - (n - 1) / 2) for n in SIZE), indexing="ij")
    if mirrored:
        along = (-along[0], *along[1:])
    points = torch.stack([(m[0] * along[0] + m[1] * along[1] + m[2] * along[2] + m[3]) for m in affine])
    places = ((2 * points - 1) / torch.tensor(CONFORMED_SHAPE)[:, None, None, None]).movedim(0, -1).flip(-1)
    image = F.grid_sample(scan.smooth[None, None].float(), places[None], align_corners=False)[0, 0]
    taken = []
    for part, away in ((scan.regions, bend), (scan.parcels, None)):
        index = torch.zeros(SIZE, dtype=torch.int64)
        for axis, n in enumerate(CONFORMED_SHAPE):
            at = points[axis] if away is None else points[axis] + away[axis]
            index = index * n + (at + (n - 1) / 2).round_().long().clamp_(0, n - 1)
        taken.append(torch.take(part, index))
    regions = torch.tensor(MIRROR_CLASSES, dtype=torch.uint8)[taken[0].long()] if mirrored else taken[0]
    return [image / 255, regions, taken[1]]


def sample(fixed: Scan, moving: Scan, luck: Luck) -> Sample:
    """A pair moved, mirrored and recoloured by chance; the fixed image's regions bent, as a predicted map is wrong."""
    mirrored = luck.chance(0.5)
    both, own = turned(luck, 4, 3, 0.04), turned(luck, 1.5, 1.5, 0.015)
    other = both.clone()
    other[:, :3] = other[:, :3] @ own[:, :3]
    other[:, 3] += own[:, 3]
    bend = luck.field(SIZE, 5, 3) * luck.uniform(0, 1.2)
    target, regions, fixed_parcels = drawn(fixed, both, bend, mirrored)
    source, _, moving_parcels = drawn(moving, other, None, mirrored)
    source, target = (image ** math.exp(luck.one(0.15)) for image in (source, target))
    return Sample(source, target, regions, moving_parcels, fixed_parcels)


def correlated(moved: Tensor, fixed: Tensor, inside: Tensor) -> Tensor:
    """Mean squared local cross-correlation of two images (1, 1, D, H, W) where `inside` (D, H, W)."""

    def mean(x: Tensor) -> Tensor:
        k = 2 * RADIUS + 1
        for kernel in ((k, 1, 1), (1, k, 1), (1, 1, k)):
            x = F.avg_pool3d(x, kernel, 1, [n // 2 for n in kernel])
        return x

    a, b, aa, bb, ab = mean(torch.cat([moved, fixed, moved * moved, fixed * fixed, moved * fixed], 1))[0]
    cross, first, second = ab - a * b, (aa - a * a).clamp(min=0), (bb - b * b).clamp(min=0)
    return (cross * cross / (first * second + 1e-5))[inside].mean()


def overlap(flow: Tensor, moving: Tensor, fixed: Tensor) -> Tensor:
    """Mean Dice of all labels of the fixed map; (3, D, H, W) in voxels, labels (D, H, W).

    The moving labels are taken linearly, as weights of the eight voxels around each point, without a map for each.
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
        found = flat[(x * size[1] + y) * size[2] + z]
        weight = torch.where(offset > 0, part, 1 - part).prod(1)
        total = total.index_add(0, found, weight)
        shared = shared.index_add(0, own, weight * (found == own))
    count = torch.bincount(own, minlength=256).float()
    there = count > 20
    return (2 * shared[there] / (total + count)[there]).mean()


def rough(velocity: Tensor) -> Tensor:
    """Mean squared gradient of (1, 3, D, H, W)."""
    return sum(velocity.diff(dim=axis).square().mean() for axis in (2, 3, 4)) / 3


class Words:
    """Embeddings of many wordings of every prompt."""

    def __init__(self, luck: Luck) -> None:
        net = build_text_encoder()
        net.load_state_dict(load_file(TOWER), strict=False)
        by = make_encoder(net.float())
        self.text = encode_prompts(by)  # (36, d)
        said = []
        for label in REGION_NUMBERS:
            ways = list_phrases(label)
            said += [
                fill_template(ways[luck.below(len(ways))], PROMPT_TEMPLATES[luck.below(len(PROMPT_TEMPLATES))])
                for _ in range(WORDINGS)
            ]
        self.ways = by.encode(said).view(len(REGION_NUMBERS), WORDINGS, -1)

    def drawn(self, luck: Luck) -> Tensor:
        """(36, d): the paper's prompts, or others by chance."""
        if luck.chance(0.3):
            return self.text
        pick = torch.randint(WORDINGS, (len(REGION_NUMBERS),), generator=luck.generator)
        text = self.ways[torch.arange(len(REGION_NUMBERS)), pick]
        return torch.cat([make_background_embedding(text)[None], text])


@torch.no_grad()
def begin(net: TextSCF) -> None:
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


def displaced(net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor, filters: Tensor) -> Flow:
    """What `net.forward` does, the backbone alone in 16 bits: squaring needs more."""
    with autocast(moving.device):
        feature = net.backbone(moving, fixed)
    raw = net.flow(feature.float(), regions[:, ::2, ::2, ::2].long(), filters)
    half = 2 * integrate_velocity(raw / 2)
    return Flow(F.interpolate(half, fixed.shape[2:], mode="trilinear", align_corners=False), half, raw, feature)


@torch.inference_mode()
def start(net: TextSCF, moving: Tensor, fixed: Tensor, regions: Tensor) -> Tensor:
    """The field (3, D, H, W) of a pair at 1 mm, (D, H, W), in voxels, on the CPU; the network sees it at 2 mm."""
    device = net.text.device
    source, target = (F.avg_pool3d(image[None, None], 2).to(device) for image in (moving, fixed))
    flow = displaced(net, source, target, regions[None, ::2, ::2, ::2].to(device), net.filters()).flow.cpu()
    return 2 * F.interpolate(flow, fixed.shape, mode="trilinear", align_corners=False)[0]


def dice(moving: Tensor, fixed: Tensor, flow: Tensor) -> float:
    """Mean Dice of the fixed map's labels, the moving ones taken at the nearest voxel."""
    moved = warp(moving[None, None].float(), flow[None], "nearest")[0, 0].long().flatten()
    own = fixed.long().flatten()
    a, b = torch.bincount(own, minlength=256), torch.bincount(moved, minlength=256)
    both = torch.bincount(own[own == moved], minlength=256)
    there = (a > 0) & (torch.arange(256) > 0)
    return float((2 * both / (a + b).clamp(min=1))[there].mean())


def validate(net: TextSCF, pairs: Sequence[tuple[Scan, Scan]], refined: bool) -> dict[str, float]:
    """Means over pairs at 1 mm: Dice of all labels and of the regions, folding in %; `refined`, also afterwards."""
    rows = []
    for fixed, moving in pairs:
        images = moving.image.float() / 255, fixed.image.float() / 255
        luck = Luck(SEED)
        bend = luck.field(CONFORMED_SHAPE, 10, 3) * 0.4
        wrong = warp(fixed.regions[None, None].float(), bend[None], "nearest")[0, 0]
        flows = {"net": start(net, *images, wrong)}
        if refined:
            flows |= {"refined": refine_field(*images, flows["net"])}
        row = {}
        for kind, flow in flows.items():
            row[kind] = dice(moving.parcels, fixed.parcels, flow)
            row[f"{kind}_regions"] = dice(moving.regions, fixed.regions, flow)
            determinant = Deformation(flow.numpy(), np.eye(4)).jacobian_determinant()
            inside = fixed.image.numpy() > 0
            row[f"{kind}_folding"] = folding_percent(determinant, inside)
            row[f"{kind}_sdlogj"] = sdlogj(determinant, inside)
        rows.append(row)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def baseline(pairs: Sequence[tuple[Scan, Scan]]) -> dict[str, float]:
    """Dice of all labels after the affine alone, and after refinement from nothing."""
    rows = []
    for fixed, moving in pairs:
        images = moving.image.float() / 255, fixed.image.float() / 255
        flows = torch.zeros(3, *CONFORMED_SHAPE), refine_field(*images)
        rows.append([dice(moving.parcels, fixed.parcels, flow) for flow in flows])
    return dict(zip(("affine", "refined_from_nothing"), np.mean(rows, 0).round(4).tolist(), strict=True))


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out = Path(args.data), Path(args.out)
    names, held = learned(data, 2)
    scans = {name: prepare(data, name, names[0]) for name in names}
    circle = zip(held, held[1:] + held[:1], strict=True)
    pairs = [(prepare(data, fixed, fixed), prepare(data, moving, fixed)) for fixed, moving in circle]
    luck = Luck(SEED)
    words = Words(luck)
    if args.refined and not (out / "log.csv").exists():
        print(baseline(pairs), flush=True)

    net = TextSCF(args.width, EMBEDDING_DIM, HIDDEN, diffeomorphic=True)
    net.text.copy_(words.text)
    begin(net)
    if args.like:
        net.load_state_dict(load_file(args.like))
    net.to(args.device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    run = Run(out, net, optimizer, luck.generator, args.steps, warm=50)

    while not run.ended:
        fixed, moving = (names[luck.below(len(names))] for _ in range(2))
        if RESCANS.get(fixed, fixed) == RESCANS.get(moving, moving):
            continue
        pair = sample(scans[fixed], scans[moving], luck)
        source, target = (image[None, None].to(args.device) for image in (pair.moving, pair.fixed))
        filters = net.filters(words.drawn(luck).to(args.device))
        found = displaced(net, source, target, pair.regions[None].to(args.device), filters)
        similar = correlated(warp(source, found.flow), target, target[0, 0] > 0.02)
        shared = overlap(found.flow[0].cpu(), pair.moving_parcels, pair.fixed_parcels)
        bent = rough(found.raw)
        loss = 1 - similar + args.dice * (1 - shared.to(args.device)) + args.smooth * bent
        run.descend(loss, similar.item(), shared.item(), bent.item())

        late = run.late(args.minutes)
        if run.step % args.every == 0 or run.ended:
            means = dict(zip(("loss", "correlation", "dice", "rough"), np.mean(run.losses, 0), strict=True))
            row = {"step": run.step, "minutes": run.minutes} | means
            row |= validate(run.average.module, pairs, args.refined)
            run.log(row := {key: round(float(value), 5) for key, value in row.items()})
            if run.better(row["refined" if args.refined else "net"]):
                save_file(halves(run.average.module.state_dict()), out / "best.safetensors")
        else:
            run.tell(10)
        if run.due(args.keep) or run.ended or late:
            run.keep()
        if late:
            break


LAYOUT = f"{TEST[0]}_labels.nii.gz"  # by which DATA of `cases` is known


def cases(data: Path, part: str) -> Iterator[Case]:
    """Pairs of different people of one part of the split, fixed and moving, with predicted and with true regions.

    Everyone is fixed once, then everyone a second time with another moving image, and so on: the first pairs of a
    part are as varied as can be.
    """
    known = names_in(data)
    names = known if part == "all" else split(known)[part]
    for step in range(1, len(names)):
        for number, fixed in enumerate(names):
            moving = names[(number + step) % len(names)]
            if RESCANS.get(fixed, fixed) == RESCANS.get(moving, moving):
                continue
            (t1, truth), (other, moving_truth) = (read(data, name) for name in (fixed, moving))
            for condition, labels in ((PREDICTED, None), (TRUE, truth)):
                volumes = (t1, other, labels, None)
                yield Case(f"{fixed}-{moving}", "OASIS-1", condition, volumes, truth, moving_truth=moving_truth)


def main(given: list[str] | None = None) -> None:
    options = Options(__doc__.splitlines()[0], steps=2000, rate=1e-3, every=200)
    options.add_argument("--width", type=int, default=8)
    options.add_argument("--dice", type=float, default=1.0, help="weight of the labels' overlap")
    options.add_argument("--smooth", type=float, default=0.5, help="weight of the velocity's squared gradient")
    options.add_argument("--refined", action="store_true", help="validate, and choose the best, after refinement")
    options.carry_out(train, given)


if __name__ == "__main__":
    main()
