"""Baselines of the methods in `benchmarks.scaling`, on the same image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from medapp.card import Card
from medapp.imaging.geometry import resample, slice_axis
from medapp.imaging.volume import Volume
from training.evaluation import registration_peers
from training.evaluation.restoration_peers import DENOISERS

Job = Callable[[Sequence[Volume | None]], object]
BATCH = 8  # slices that the plain U-Net sees at once


class UNet(nn.Module):
    """A plain U-Net of four levels, (B, 1, ...) -> (B, 1, ...), sides multiples of 8; Ronneberger et al. 2015."""

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        conv, norm, up = (getattr(nn, f"{kind}{dims}d") for kind in ("Conv", "BatchNorm", "ConvTranspose"))
        self.pool = getattr(nn, f"MaxPool{dims}d")(2)
        widths = [width * 2**n for n in range(4)]

        def block(a: int, b: int) -> nn.Sequential:
            pairs = ((a, b), (b, b))
            return nn.Sequential(*(part for i, o in pairs for part in (conv(i, o, 3, padding=1), norm(o), nn.ReLU())))

        self.downs = nn.ModuleList(block(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.rises = nn.ModuleList(up(2 * w, w, 2, 2) for w in widths[:-1])
        self.ups = nn.ModuleList(block(2 * w, w) for w in widths[:-1])
        self.head = conv(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for down in self.downs:
            x = down(self.pool(x) if kept else x)
            kept.append(x)
        kept.pop()  # the coarsest, which is x itself
        for rise, up in zip(reversed(self.rises), reversed(self.ups), strict=True):
            x = up(torch.cat([kept.pop(), rise(x)], 1))
        return self.head(x)


def count_parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def matching_unet(net: nn.Module) -> UNet:
    """The plain U-Net, 2-D or 3-D as `net` is, with about as many parameters."""
    dims = 3 if any(isinstance(part, nn.Conv3d) for part in net.modules()) else 2
    width = (
        16 * (count_parameters(net) / count_parameters(UNet(dims, 16))) ** 0.5
    )  # they grow with the square of the width
    return UNet(dims, max(1, round(width)))


def baseline_name(card: Card, device: str) -> str:
    """The rival of a method on a device, "" if there is none."""
    if card.task == "segmentation" and card.build:
        return "plain U-Net"
    if device != "cpu":
        return ""
    if card.task == "registration":
        installed = registration_peers.choose_peers(("all",))
        return next((name for name in ("greedy", "demons") if name in installed), "")
    if card.task == "restoration":
        return "bicubic" if any(option.name == "scale" for option in card.options) else "non-local means"
    return ""


def make_baseline(card: Card, device: str, settings: Mapping[str, Any]) -> Job:
    """What the baseline of a method does on a device."""
    name = baseline_name(card, device)
    if name == "plain U-Net" and card.build:
        net = matching_unet(card.build()).eval().to(device)
        return lambda volumes: run_unet(net, first_volume(volumes), device)
    if name == "bicubic":
        return lambda volumes: run_enlargement(first_volume(volumes), int(settings.get("scale", 2)))
    if name == "non-local means":
        return lambda volumes: run_denoising(first_volume(volumes))
    return lambda volumes: run_registration(name, *(v for v in volumes if v is not None))


def first_volume(volumes: Sequence[Volume | None]) -> Volume:
    return next(volume for volume in volumes if volume is not None)


@torch.inference_mode()
def run_unet(net: UNet, volume: Volume, device: str) -> None:
    """The whole volume at once through a 3-D network, slices in batches through a 2-D one."""
    x = torch.from_numpy(np.moveaxis(np.asarray(volume.array, np.float32), slice_axis(volume.grid), 0).copy())
    x = (x - x.mean()) / (x.std() + 1e-6)
    flat = isinstance(net.head, nn.Conv2d)
    sides = x.shape[1:] if flat else x.shape
    x = nn.functional.pad(x, [n for side in reversed(sides) for n in (0, -side % 8)])
    for batch in x[:, None].split(BATCH) if flat else [x[None, None]]:
        net(batch.to(device)).cpu()


def run_registration(name: str, fixed: Volume, moving: Volume) -> None:
    """The deformable part alone, of whole heads on the fixed image's grid."""
    pair = (np.asarray(v.array, np.float32) for v in (fixed, resample(moving, fixed.grid)))
    registration_peers.PEERS[name].register(*(image / max(float(image.max()), 1e-6) for image in pair))


def run_denoising(volume: Volume) -> None:
    """Slice by slice."""
    image = np.asarray(volume.array, np.float32)
    for k in range(image.shape[2]):
        DENOISERS["non-local means"][0](image[:, :, k], 0.03 * float(np.ptp(image)))


def run_enlargement(volume: Volume, times: int) -> None:
    """Slice by slice, by the filter of every picture viewer."""
    for k in range(volume.shape[2]):
        picture = Image.fromarray(np.ascontiguousarray(volume.array[:, :, k]))
        picture.resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)
