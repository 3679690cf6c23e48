"""Trains RAT to enlarge H&E pictures: `python -m training.methods.restore_pathology_rat --data DATA --out OUT`.

DATA is the folder `path_monuseg`: pictures at 40 times, one a patient.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from medapp.imaging.index_maps import superpixels
from medapp.imaging.volume import Volume
from medapp.pipelines.restore_pathology_rat import CARD
from medapp.simulation.microscopy import degrade_picture
from training.core.case import Case
from training.core.restoration_training import SEED, Patch, orient_randomly, restoration_parser, train_restoration

SIDE = 128  # pixels a side of a training patch, at full resolution


def split_pictures(data: Path) -> dict[str, list[Path]]:
    """Split pictures: 6 for the test, 4 to choose by, the rest to train on; always the same way."""
    files = sorted(p for p in data.iterdir() if p.suffix in (".jpg", ".png", ".tif"))
    files = [files[i] for i in np.random.default_rng(SEED).permutation(len(files))]
    return {"test": files[:6], "validation": files[6:10], "train": files[10:]}


def enlarge(small: np.ndarray, scale: int) -> np.ndarray:
    """Return (3, scale·h, scale·w) of (h, w, 3), as the pipeline hands it to the network."""
    x = torch.from_numpy(small).permute(2, 0, 1)[None]
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)[0].numpy()


REDUCTIONS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


def reduce_by_filter(rgb: np.ndarray, scale: int, kind: str) -> np.ndarray:
    """Reduce (H, W, 3) float32 in 0..1 by a filter of picture software to (H // scale, W // scale, 3), 8 bits deep."""
    picture = Image.fromarray(np.round(rgb * 255).astype(np.uint8))
    small = picture.resize((rgb.shape[1] // scale, rgb.shape[0] // scale), REDUCTIONS[kind])
    return np.asarray(small, np.float32) / 255


def degrade_randomly(rgb: np.ndarray, scale: int, random: np.random.Generator) -> np.ndarray:
    """Degrade at random: mostly by nothing beyond the reduction itself."""
    if random.random() < 0.8:
        return reduce_picture(rgb, scale, str(random.choice(("area", "bicubic", "lanczos"), p=(0.4, 0.4, 0.2))))
    blur = 0.0 if random.random() < 0.4 else random.uniform(0.1, 0.5)
    noise = random.uniform(0, 0.012) if random.random() < 0.4 else 0.0
    jpeg = int(random.integers(85, 98)) if random.random() < 0.1 else None
    return degrade_picture(rgb, scale, blur=blur, noise=noise, jpeg=jpeg, seed=int(random.integers(2**31)))


def reduce_picture(rgb: np.ndarray, scale: int, kind: str) -> np.ndarray:
    """Reduce a picture without other harm, by "area" or a filter of picture software."""
    return degrade_picture(rgb, scale, blur=0.0, noise=0.0) if kind == "area" else reduce_by_filter(rgb, scale, kind)


def region_maps(rgb: np.ndarray, folder: Path, name: str) -> list[np.ndarray]:
    """Return region maps (H, W) of a picture: superpixels, one for all, and those of `folder` by Segment Anything."""
    maps = [superpixels(rgb, 400).astype(np.int16), np.zeros(rgb.shape[:2], np.int16)]
    return maps + [np.load(file)["labels"].astype(np.int16) for file in sorted(folder.glob(f"{name}*.npz"))]


LAYOUT = "TCGA-*.jpg"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """Fields of one part, made smaller in the two ways that picture software knows."""
    parts = split_pictures(data)
    for file in [f for name, files in parts.items() if part in (name, "all") for f in files]:
        sharp = np.asarray(Image.open(file).convert("RGB"))
        truth = Volume(sharp.swapaxes(0, 1)[:, :, None], np.diag([-0.00025, -0.00025, 1, 1]), name="H&E")
        for scale in (2, 4):
            for reduction in ("area", "bicubic"):
                small = reduce_picture(sharp.astype(np.float32) / 255, scale, reduction)
                small = np.round(small * 255).astype(np.uint8).swapaxes(0, 1)[:, :, None]
                image = Volume(small, np.diag([-0.00025 * scale, -0.00025 * scale, 1, 1]), name="H&E")
                condition = f"{scale} times, {reduction}"
                yield Case(
                    file.stem, file.stem, condition, (image,), truth, {"scale": str(scale), "regions": "superpixels"}
                )


def main(arguments: list[str] | None = None) -> None:
    own = restoration_parser(__doc__.splitlines()[0], 6000)
    own.add_argument("--double", type=float, default=0.5, help="share of patches at 2 times; the others are at 4")
    own.add_argument("--regions", default="runs/regions/pathology", help="folder of region maps of the pictures")
    args = own.parse_arguments(arguments)
    parts = split_pictures(Path(args.data))
    fields = [np.asarray(Image.open(f).convert("RGB"), np.float32) / 255 for f in parts["train"]]
    maps = [region_maps(rgb, Path(args.regions), f.stem) for f, rgb in zip(parts["train"], fields, strict=True)]

    def draw(random: np.random.Generator) -> Patch:
        number, scale = int(random.integers(len(fields))), 2 if random.random() < args.double else 4
        side = SIDE + 16  # so that the border, where the point spread function is cut, falls away
        at = [int(random.integers(n - side)) for n in fields[number].shape[:2]]
        box = tuple(slice(a, a + side) for a in at)
        y = fields[number][box]
        shade = np.float32(random.uniform(0.85, 1.1, 3) if random.random() < 0.5 else np.ones(3))
        y = (y * shade).clip(0, 1)
        x = enlarge(degrade_randomly(y, scale, random), scale)
        labels = maps[number][int(random.integers(len(maps[number])))][box]
        inner = (..., slice(8, -8), slice(8, -8))
        return orient_randomly(Patch(x[inner], labels[inner], y.transpose(2, 0, 1)[inner]), random)

    held = []
    for file in parts["validation"]:
        rgb = np.asarray(Image.open(file).convert("RGB"), np.float32)[300:556, 300:556] / 255
        for scale in (2, 4):
            for reduction in ("area", "bicubic"):
                x = enlarge(reduce_picture(rgb, scale, reduction), scale)
                labels = superpixels(x.transpose(1, 2, 0), 400).astype(np.int16)
                held.append(Patch(x, labels, np.ascontiguousarray(rgb.transpose(2, 0, 1))))
    train_restoration(CARD.build, draw, held, args)


if __name__ == "__main__":
    main()
