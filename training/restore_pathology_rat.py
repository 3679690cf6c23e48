"""Trains RAT to enlarge H&E pictures: `python -m training.restore_pathology_rat --data DATA --out OUT`.

DATA is the folder `path_monuseg`: pictures at 40 times, one a patient.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from medapp.imaging.regions import superpixels
from medapp.networks.rat import RAT
from medapp.physics.optics import REDUCTIONS, degrade
from training.restoration import SEED, Patch, fit, parser, turned

SIDE = 128  # pixels a side of a training patch, at full resolution


def split(data: Path) -> dict[str, list[Path]]:
    """Two thirds to train on, 4 to choose by, 6 for the test; always the same."""
    files = sorted(p for p in data.iterdir() if p.suffix in (".jpg", ".png", ".tif"))
    files = [files[i] for i in np.random.default_rng(SEED).permutation(len(files))]
    return {"test": files[:6], "validation": files[6:10], "train": files[10:]}


def enlarged(small: np.ndarray, scale: int) -> np.ndarray:
    """(h, w, 3) -> (3, scale·h, scale·w), as the pipeline hands it to the network."""
    x = torch.from_numpy(small).permute(2, 0, 1)[None]
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)[0].numpy()


def worse(rgb: np.ndarray, scale: int, random: np.random.Generator) -> np.ndarray:
    """A degradation drawn at random: mostly little blur beyond that of the reduction itself."""
    blur = 0.0 if random.random() < 0.4 else random.uniform(0.1, 0.5)
    noise = random.uniform(0, 0.012) if random.random() < 0.3 else 0.0
    jpeg = int(random.integers(85, 98)) if random.random() < 0.1 else None
    reduction = REDUCTIONS[random.choice(3, p=(0.45, 0.45, 0.1))]
    return degrade(rgb, scale, blur=blur, noise=noise, reduction=reduction, jpeg=jpeg, seed=int(random.integers(2**31)))


def regions(rgb: np.ndarray, folder: Path, name: str) -> list[np.ndarray]:
    """Region maps (H, W) of one picture: superpixels, one for all, and those of `folder` (made by Segment Anything)."""
    maps = [superpixels(rgb, 400).astype(np.int16), np.zeros(rgb.shape[:2], np.int16)]
    return maps + [np.load(file)["labels"].astype(np.int16) for file in sorted(folder.glob(f"{name}*.npz"))]


def main() -> None:
    options = parser(__doc__.splitlines()[0], 6000)
    options.add_argument("--width", type=int, default=24)
    options.add_argument("--regions", default="runs/regions/pathology", help="folder of region maps of the pictures")
    args = options.parse_args()
    parts = split(Path(args.data))
    fields = [np.asarray(Image.open(f).convert("RGB"), np.float32) / 255 for f in parts["train"]]
    maps = [regions(rgb, Path(args.regions), f.stem) for f, rgb in zip(parts["train"], fields, strict=True)]

    def draw(random: np.random.Generator) -> Patch:
        number, scale = int(random.integers(len(fields))), int(random.choice((2, 4)))
        side = SIDE + 16  # so that the border, where the point spread function is cut, falls away
        at = [int(random.integers(n - side)) for n in fields[number].shape[:2]]
        box = tuple(slice(a, a + side) for a in at)
        y = fields[number][box]
        shade = np.float32(random.uniform(0.85, 1.1, 3) if random.random() < 0.5 else np.ones(3))
        y = (y * shade).clip(0, 1)
        x = enlarged(worse(y, scale, random), scale)
        labels = maps[number][int(random.integers(len(maps[number])))][box]
        inner = (..., slice(8, -8), slice(8, -8))
        return turned(Patch(x[inner], labels[inner], y.transpose(2, 0, 1)[inner]), random)

    held = []
    for file in parts["validation"]:
        rgb = np.asarray(Image.open(file).convert("RGB"), np.float32)[300:556, 300:556] / 255
        for scale in (2, 4):
            for reduction in ("area", "bicubic"):
                x = enlarged(degrade(rgb, scale, blur=0.0, reduction=reduction), scale)
                labels = superpixels(x.transpose(1, 2, 0), 400).astype(np.int16)
                held.append(Patch(x, labels, np.ascontiguousarray(rgb.transpose(2, 0, 1))))
    fit(RAT(img_channel=3, width=args.width, middle_blk_num=3), draw, held, args)


if __name__ == "__main__":
    main()
