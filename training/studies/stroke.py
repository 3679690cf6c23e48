"""Networks and losses for strokes in axial slices of painted heads."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medapp.algorithms.mni_template import load_template
from medapp.analysis.mask_metrics import compute_dice, compute_lesion_f1
from medapp.networks.blocks import fuse_batchnorm
from medapp.networks.raxnet import RAXNet
from medapp.pipelines.segment_stroke_raxnet import INPUT_CHANNELS, PLANE_VIEWS, predict_plane
from training.core.lesion_losses import LOSSES
from training.data.stroke_heads import StrokeHead, load_head
from training.data.stroke_lesions import LesionShapes
from training.data.stroke_slices import CROP, SliceSampler, augment_slices, to_standardized
from training.methods.segment_stroke_raxnet import LESION_PRIOR
from training.studies import Batch, Candidate, Size, Study, scale_width
from training.studies.networks.clcinet import CLCINet
from training.studies.networks.dunet import DUNet
from training.studies.networks.unet import UNet
from training.studies.networks.xnet import XNet

PLANE = "axial"
SLICE_ORDER = (1, 0, 2, 3, 4)  # of what is seen: the slice before, itself, the one behind, the other half, the template
FIGURES = ("dice", "precision", "recall", "lesion_f1", "false_ml")
LOSS_TITLES = {
    "balanced": "balanced",
    "dice": "Dice",
    "focal": "focal",
    "tversky": "Tversky",
    "focal_tversky": "focal Tversky",
}


class HeadData:
    """Slices of heads to learn from, and whole heads to be scored on, through the axial network alone."""

    def __init__(
        self, fitted: Iterable[StrokeHead], held: Sequence[StrokeHead], batch: int, crop: tuple[int, int] = CROP[PLANE]
    ) -> None:
        self.slices, self.held, self.batch, self.crop = SliceSampler(PLANE), held, batch, crop
        for each in fitted:
            self.slices.add(each)
        brains = len({each.brain for each in held})
        self.about = (
            f"{batch} slices of {len(self.slices.heads)} painted heads; scored on {len(held)} of {brains} other brains"
        )

    def draw(self, rng) -> Batch:
        return augment_slices(*self.slices.draw(self.batch, rng), self.crop, True, rng)

    def score(self, net: nn.Module) -> Iterator[dict[str, Any]]:
        net = fuse_batchnorm(copy.deepcopy(net).eval())
        for number, each in enumerate(self.held):
            image = to_standardized(torch.from_numpy(each.image)).numpy()
            prediction, truth = predict_plane(net, image, PLANE_VIEWS[PLANE]) > 0.5, each.mask
            row: dict[str, Any] = {"patient": f"{each.brain} {number:03d}"} | dict.fromkeys(FIGURES)
            if truth.any():
                hit = (prediction & truth).sum()
                row |= {"dice": compute_dice(prediction, truth), "lesion_f1": compute_lesion_f1(prediction, truth)}
                row |= {"precision": hit / max(prediction.sum(), 1), "recall": hit / truth.sum()}
            else:
                row["false_ml"] = prediction.sum() / 1000
            yield {k: v if v is None or k == "patient" else float(v) for k, v in row.items()}


def load_data(data: Path, size: Size) -> HeadData:
    """Return heads of the training part and of the test part; missing ones are painted and kept."""
    shapes = {part: LesionShapes(data / "stroke_masks", part) for part in ("train", "test")}
    fitted = (load_head(data, "train", number, shapes["train"]) for number in range(size.cases))
    return HeadData(
        fitted, [load_head(data, "test", number, shapes["test"]) for number in range(size.held)], size.batch
    )


def make_phantom() -> HeadData:
    """Return four slices with a box in two of them."""
    image, mask = np.zeros(load_template().shape, np.uint8), np.zeros(load_template().shape, bool)
    image[60:140, 60:170, 88:92] = 120
    mask[80:100, 90:120, 88:90] = True
    image[mask] = 60
    return HeadData(
        [StrokeHead(image, mask, "fitted", ())],
        [StrokeHead(image, mask, f"held {n}", ()) for n in range(2)],
        4,
        (32, 32),
    )


def loss_by(criterion: Callable[[Tensor, Tensor], Tensor]) -> Callable[[nn.Module, Batch], Tensor]:
    """Return a loss that applies `criterion` to the network's answer."""

    def loss(net: nn.Module, batch: Batch) -> Tensor:
        x, y = batch
        return criterion(net(x.contiguous(memory_format=torch.channels_last)).float(), y)

    return loss


def start_rare(build: Callable[[float], nn.Module]) -> Callable[[float], nn.Module]:
    """Return a builder whose networks start with lesion as rare as it is."""

    def made(share: float) -> nn.Module:
        net = build(share)
        nn.init.constant_(net.head.bias, LESION_PRIOR)
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.to(memory_format=torch.channels_last)
        return net

    return made


def build_raxnet(share: float) -> RAXNet:
    """Return RAX-Net at a share of its full widths."""
    return RAXNet(1, [scale_width(32 * n, share) for n in (1, 2, 4, 8)], INPUT_CHANNELS)


NETWORKS = Study(
    "Networks for stroke lesions, one plane",
    "segment_stroke_raxnet",
    {
        name: Candidate(start_rare(build), loss_by(LOSSES["balanced"]))
        for name, build in {
            "RAX-Net": build_raxnet,
            "X-Net": lambda share: XNet(INPUT_CHANNELS, scale_width(64, share)),
            "CLCI-Net": lambda share: CLCINet(INPUT_CHANNELS, scale_width(32, share)),
            "D-UNet": lambda share: DUNet(INPUT_CHANNELS, scale_width(32, share), SLICE_ORDER),
            "U-Net": lambda share: UNet(INPUT_CHANNELS, scale_width(32, share)),
        }.items()
    },
    load_data,
    make_phantom,
    FIGURES,
    Size(cases=80, held=24, batch=16),
    part=PLANE,
)
LOSS_FUNCTIONS = Study(
    "Losses for stroke lesions, RAX-Net in one plane",
    "segment_stroke_raxnet",
    {shown: Candidate(start_rare(build_raxnet), loss_by(LOSSES[name])) for name, shown in LOSS_TITLES.items()},
    load_data,
    make_phantom,
    FIGURES,
    NETWORKS.size,
    part=PLANE,
)
