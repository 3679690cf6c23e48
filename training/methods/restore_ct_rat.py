"""Trains RAT to bring quarter-dose CT back to full dose.

`python -m training.methods.restore_ct_rat --data DATA --out OUT`.

DATA is what `python -m training.data.restoration_data ct` makes: a file per slice with the full dose and lower doses,
reconstructed with the grain of the image, a softer and a sharper one.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medapp.imaging.index_maps import superpixels
from medapp.imaging.volume import Volume
from medapp.pipelines.restore_ct_rat import CARD, scale_hu
from medapp.simulation.low_dose_ct import lower_dose
from training.core.case import Case
from training.core.restoration_training import SEED, Patch, orient_randomly, restoration_parser, train_restoration
from training.data.restoration_sets import part_of, read_ct_slice, read_index

SIDE = 128  # pixels a side of a training patch


class CtSlice:
    """One full-dose slice (H, W) in HU, lower doses (R, H, W), and region maps of those."""

    def __init__(self, file: Path, maps: Path) -> None:
        kept = np.load(file)
        self.part, self.full, self.low = str(kept["part"]), kept["full"], kept["low"]
        self.maps = [superpixels(low.clip(-200, 300)).astype(np.int16) for low in self.low[1:3]]
        self.maps += [np.load(m)["labels"].astype(np.int16) for m in sorted(maps.glob(f"{file.stem}*.npz"))] * 2
        self.maps.append(np.zeros(self.full.shape, np.int16))

    def patch(self, random: np.random.Generator, side: int) -> Patch:
        """Low and full dose in the network's units, somewhere in the slice; the noise is up to half as strong again."""
        at = [int(random.integers(max(n - side, 0) + 1)) for n in self.full.shape]
        box = tuple(slice(a, a + side) for a in at)
        full = self.full[box].astype(np.float32)
        low = self.low[int(random.integers(len(self.low)))][box].astype(np.float32)
        low = full + (low - full) * random.uniform(0.6, 1.5)
        labels = self.maps[int(random.integers(len(self.maps)))][box]
        return Patch(scale_hu(low), labels, scale_hu(full))


LAYOUT = "ct_fulldose/*.jp2"  # by which DATA of `read_cases` is known


def read_cases(data: Path, part: str) -> Iterator[Case]:
    """Full-dose slices of one part, four a patient at most, brought to a quarter of the dose; DATA as released."""
    slices_of: dict[str, list[dict]] = {}
    for entry in read_index(data, "ct"):
        if part in ("all", part_of("ct", entry["patient"])):
            slices_of.setdefault(entry["patient"], []).append(entry)
    for patient, slices in slices_of.items():
        for entry in slices[len(slices) // 8 :: max(len(slices) // 4, 1)][:4]:
            full = read_ct_slice(data / entry["file"])
            low = lower_dose(full, entry["pixel_mm"], 0.25, seed=zlib.crc32(entry["file"].encode()))
            affine = np.diag([-entry["pixel_mm"], -entry["pixel_mm"], entry["thickness_mm"] or 1.0, 1.0])
            image, truth = (Volume(hu.T[..., None], affine, name="CT", unit="HU") for hu in (low, full))
            for regions in ("mobilesam", "superpixels", "one"):
                condition, options = f"quarter dose, {regions}", {"regions": regions}
                yield Case(patient, patient, condition, (image,), truth, options, image=entry["file"])


def main(arguments: list[str] | None = None) -> None:
    own = restoration_parser(__doc__.splitlines()[0], 3000)
    own.add_argument("--regions", default="runs/regions/ct", help="folder of region maps by Segment Anything")
    args = own.parse_arguments(arguments)
    slices = [CtSlice(file, Path(args.regions)) for file in sorted(Path(args.data).glob("*.npz"))]
    fitted, held = ([s for s in slices if s.part == part] for part in ("train", "validation"))

    def draw(random: np.random.Generator) -> Patch:
        while True:  # mostly inside the body
            patch = fitted[int(random.integers(len(fitted)))].patch(random, SIDE)
            if patch.y.shape[1:] == (SIDE, SIDE) and (patch.y > -0.5).mean() > 0.2:
                return orient_randomly(patch, random)

    random = np.random.default_rng(SEED)
    train_restoration(CARD.build, draw, [each.patch(random, 224) for each in held], args)


if __name__ == "__main__":
    main()
