"""CT slices at full dose, paired with simulated lower doses."""

from pathlib import Path

import numpy as np
import torch

from medapp.simulation import low_dose_ct as ct_physics
from training.data.restoration_sets import named_generator, part_of, read_ct_slice, read_index, write_npz

REALISATIONS = 4  # of each CT slice


def make_ct_pairs(data: Path, out: Path) -> None:
    """Write `<slice>.npz` for each full-dose slice, with REALISATIONS noisier versions; what is there already stays.

    Keys: `full` (H, W) and `low` (N, H, W) int16 HU, `dose` (N,), `cutoff` (N,) of the kernel in cycles per mm,
    `noise` at full dose in HU, `pixel_mm`, `patient`, `part`. The first half of the versions has the grain of the
    image, the others a softer or sharper one of the same strength.
    """
    out.mkdir(parents=True, exist_ok=True)
    for entry in read_index(data, "ct"):
        name = Path(entry["file"]).stem
        target = out / f"{name}.npz"
        if target.exists():
            continue
        rng = named_generator(name)
        hu = read_ct_slice(data / entry["file"])
        doses = np.where(rng.random(REALISATIONS) < 0.7, rng.normal(0.25, 0.03, REALISATIONS), 0.0)
        doses = np.where(doses > 0, doses, np.exp(rng.uniform(np.log(0.1), np.log(0.6), REALISATIONS))).clip(0.1, 0.6)
        scan = ct_physics.analyse_slice(hu, entry["pixel_mm"])
        other = ct_physics.analyse_slice(hu, entry["pixel_mm"], scan.cutoff * float(np.exp(rng.uniform(-0.35, 0.6))))
        half = REALISATIONS // 2
        random = torch.Generator().manual_seed(int(rng.integers(2**31)))
        noise = [
            ct_physics.simulate_noise(s, list(d), [s.cutoff] * len(d), random).numpy()
            for s, d in ((scan, doses[:half]), (other, doses[half:]))
        ]
        low = (hu + np.concatenate(noise)).round().clip(ct_physics.MIN_HU, 32767).astype(np.int16)
        write_npz(
            target,
            full=hu.astype(np.int16),
            low=low,
            dose=doses.astype(np.float32),
            cutoff=np.repeat(np.float32([scan.cutoff, other.cutoff]), half),
            noise=np.float32(scan.noise),
            pixel_mm=np.float32(entry["pixel_mm"]),
            patient=entry["patient"],
            part=part_of("ct", entry["patient"]),
        )
