"""Trains RAT to bring low-count PET to full counts: `python -m training.methods.restore_pet_rat --data DATA --out OUT`.

DATA is what `python -m training.data.restoration_data pet` makes: stacks of slices of phantoms and of a real scan, with
counts thinned in the sinogram and reconstructed in many ways.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medapp.imaging.index_maps import superpixels
from medapp.imaging.volume import Volume
from medapp.pipelines.restore_pet_rat import (
    CARD,
    NEIGHBOUR_SLICES,
    encode_count_level,
    find_activity_scale,
    stack_channels,
)
from training.core.case import Case
from training.core.restoration_training import SEED, Patch, orient_randomly, restoration_parser, train_restoration
from training.data.pet_pairs import FRACTIONS

CASE_OPTIONS = {"regions": "superpixels"}
ALONE_SHARE = 0.3  # share of the patches in which the slice has no neighbours
SIDE = 80  # pixels a side of a training patch; the real slices are no higher
REAL_SHARE = 0.4  # share of the patches that come from the real scan
HOT_SPOT_SHARE = 0.5  # share of the patches that must hold a hot spot
KNOWN_LEVEL_SHARE = 0.4  # share of the patches in which the network is told the count level


class PetScan:
    """Slices of one scan, low and full counts (N, H, W) over the 99.5th percentile of the low ones, and region maps."""

    def __init__(self, file: Path, maps: Path) -> None:
        kept = np.load(file)
        self.part, self.fraction, self.stack = str(kept["part"]), kept["fraction"].astype(np.float32), kept["stack"]
        self.real = str(kept["kind"]) == "real"
        low, full = kept["low"].astype(np.float32), kept["full"].astype(np.float32)
        scale = find_activity_scale(low)
        self.low, self.full = (low / scale).astype(np.float16), (full / scale).astype(np.float16)
        region_file = maps / file.name
        self.maps = [np.stack([superpixels(each.clip(0, scale), 150) for each in low]).astype(np.int16)]
        self.maps += [np.load(region_file)["labels"].astype(np.int16)] * 2 if region_file.exists() else []

    def patch(self, random: np.random.Generator, side: int, known: bool, alone: float = 0.0) -> Patch:
        """Somewhere in a slice, without its neighbours in a share `alone` of the patches."""
        number = int(random.integers(len(self.low)))
        at = [int(random.integers(max(n - side, 0) + 1)) for n in self.low.shape[1:]]
        box = tuple(slice(a, a + side) for a in at)
        low, full = self.low[number][box].astype(np.float32), self.full[number][box].astype(np.float32)
        others, single = [], random.random() < alone
        linked = random.uniform(0, 0.7) if random.random() < 0.4 else 0.0
        for m in (number + a for a in NEIGHBOUR_SLICES):
            if single or not 0 <= m < len(self.low) or self.stack[m] != self.stack[number]:
                others.append(low)
                continue
            neighbour = self.full[m][box].astype(np.float32)
            noise = self.low[m][box].astype(np.float32) - neighbour
            others.append(neighbour + linked * (low - full) + (1 - linked**2) ** 0.5 * noise)
        kind = int(random.integers(len(self.maps) + 1)) if random.random() < 0.5 else 0
        labels = self.maps[kind][number][box] if kind < len(self.maps) else np.zeros(low.shape, np.int16)
        level = encode_count_level(self.fraction[number] if known else None)
        return Patch(stack_channels([low, *others], level), labels, full[None])


LAYOUT = "*.npz"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """Real slices and phantoms of one part at each count level, of DATA as for the training; no count level is told."""
    for file in sorted(data.glob("*.npz")):
        kept = np.load(file)
        if str(kept["part"]) != part and part != "all":
            continue
        kind, mm = str(kept["kind"]), float(kept["pixel_mm"])
        affine = np.diag([-mm, -mm, mm, 1])
        for fraction in FRACTIONS:
            indices = np.flatnonzero(np.isclose(kept["fraction"], fraction))
            indices = indices[kept["stack"][indices] == kept["stack"][indices[:1]]][: 6 if kind == "real" else 3]
            if len(indices):
                low, full = (
                    Volume(kept[name][indices].astype(np.float32).T, affine, name="PET") for name in ("low", "full")
                )
                yield Case(
                    f"{kind} {kept['patient']}", kind, f"1/{round(1 / fraction)}, {kind}", (low,), full, CASE_OPTIONS
                )


def main(arguments: list[str] | None = None) -> None:
    own = restoration_parser(__doc__.splitlines()[0], 3000)
    own.add_argument("--regions", default="runs/regions/pet", help="folder of region maps by Segment Anything")
    args = own.parse_arguments(arguments)
    scans = [PetScan(file, Path(args.regions)) for file in sorted(Path(args.data).glob("*.npz"))]
    fitted, held = ([s for s in scans if s.part == part] for part in ("train", "validation"))

    real = [scan for scan in fitted if scan.real]

    def draw(random: np.random.Generator) -> Patch:
        among = real if real and random.random() < REAL_SHARE else fitted
        least = 1.2 if random.random() < HOT_SPOT_SHARE else 0.2
        while True:
            patch = among[int(random.integers(len(among)))].patch(
                random, SIDE, random.random() < KNOWN_LEVEL_SHARE, ALONE_SHARE
            )
            if patch.y.shape[1:] == (SIDE, SIDE) and patch.y.max() > least:
                return orient_randomly(patch, random)

    random = np.random.default_rng(SEED)
    patches = [scan.patch(random, 10_000, known) for scan in held for known in (True, False, False)]
    train_restoration(CARD.build, draw, patches, args)


if __name__ == "__main__":
    main()
