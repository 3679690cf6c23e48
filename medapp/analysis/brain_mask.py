"""Volume of a brain mask, and its comparison with a reference mask."""

from dataclasses import replace

import numpy as np

from medapp.analysis.hand_correction import AUTOMATIC, CORRECTION, correct_mask, record_correction
from medapp.analysis.lesions import compare_masks
from medapp.imaging.background import strip_skull
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.result import Metric, Result


def measure_brain(result: Result, reference: Volume | None = None) -> Result:
    """Return the result with all that is derived from its mask `brain`: the volume in ml.

    A volume `correction` is laid on the mask that was found, and `stripped` follows; see `analysis.hand_correction`. A
    reference is any volume with values above 0 inside the brain; it is resampled by nearest voxel, and adds
    `reference`, Dice, HD95, volumes, and the ml in which the two masks differ: `excess` lies in the result alone,
    `missed` in the reference alone.
    """
    brain = automatic = result.volumes.get(AUTOMATIC) or result.volumes["brain"]
    volumes = {role: volume for role, volume in result.volumes.items() if role != "reference"}
    grid, mask = brain.grid, correct_mask(brain.array > 0, volumes.get(CORRECTION))
    if CORRECTION in volumes or AUTOMATIC in volumes:
        volumes["brain"] = brain = automatic.new_like(mask.astype(np.uint8), name="brain")
        volumes["stripped"] = strip_skull(volumes["image"], brain)
    metrics = {"brain": Metric(round(np.count_nonzero(mask) * grid.voxel_ml, 1), "ml")}
    if reference is not None:
        marked = (reference.array > 0).astype(np.uint8)
        volumes["reference"] = resample(reference.new_like(marked, labels={1: "reference"}, name="reference"), grid)
        truth = volumes["reference"].array > 0
        metrics |= compare_masks(mask, truth, grid)
        metrics["excess"] = Metric(round(np.count_nonzero(mask & ~truth) * grid.voxel_ml, 1), "ml")
        metrics["missed"] = Metric(round(np.count_nonzero(truth & ~mask) * grid.voxel_ml, 1), "ml")
    return record_correction(replace(result, volumes=volumes, metrics=metrics), automatic, mask)
