"""Correction of a mask by hand: voxels that were painted or erased, which lie on top of the automatic mask.

What was decided by hand stays as it is; a threshold moves only the rest.
"""

from dataclasses import replace

import numpy as np

from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.result import Metric, Result

PAINTED, ERASED = 1, 2
CORRECTION_LABELS = {PAINTED: "painted by hand", ERASED: "erased by hand"}
CORRECTION, AUTOMATIC = "correction", "automatic_mask"  # roles of `Result.volumes`
NOTE_BEGINNING = "Corrected by hand: "


def correct_mask(automatic: np.ndarray, correction: Volume | None) -> np.ndarray:
    """Return the mask (I, J, K) bool with the correction, of CORRECTION_LABELS on the same grid, laid on it."""
    if correction is None:
        return automatic
    return (automatic | (correction.array == PAINTED)) & (correction.array != ERASED)


def decide_all(mask: Volume, like: Volume) -> Volume:
    """Return the correction that makes `mask` of any automatic mask, on the grid of `like`.

    `mask` is any volume with values above 0 inside; on another grid it is resampled by nearest voxel.
    """
    marked = mask.new_like((mask.array > 0).astype(np.uint8), labels={1: "mask"})
    inside = resample(marked, like.grid).array > 0
    return make_correction(np.where(inside, PAINTED, ERASED).astype(np.uint8), like)


def make_correction(array: np.ndarray, like: Volume) -> Volume:
    """Return a correction of uint8 voxels (I, J, K) on the grid of `like`."""
    return like.new_like(array, labels=CORRECTION_LABELS, name=CORRECTION, unit="", remarks=(), headers=())


def record_correction(result: Result, automatic: Volume, mask: np.ndarray) -> Result:
    """Return the result with what was changed by hand from the mask `automatic` to `mask` (I, J, K) bool.

    That is the volume `automatic_mask`, metrics in ml and a note, where there is a `correction`; else nothing of it.
    """
    volumes = {role: volume for role, volume in result.volumes.items() if role != AUTOMATIC}
    notes = tuple(note for note in result.notes if not note.startswith(NOTE_BEGINNING))
    if not result.is_corrected:
        return replace(result, volumes=volumes, notes=notes)
    before, ml = automatic.array > 0, automatic.grid.voxel_ml
    parts = {"automatic_volume": before, "hand_added": mask & ~before, "hand_removed": before & ~mask}
    metrics = {name: Metric(round(float(np.count_nonzero(part) * ml), 3), "ml") for name, part in parts.items()}
    (first, volume), *rest = result.metrics.items()
    note = (
        f"{NOTE_BEGINNING}{_format_ml(metrics['hand_added'])} added to the automatic mask of "
        f"{_format_ml(metrics['automatic_volume'])}, {_format_ml(metrics['hand_removed'])} removed from it."
    )
    return replace(
        result,
        volumes=volumes | {AUTOMATIC: automatic},
        metrics={first: volume, **metrics, **dict(rest)},  # below the corrected volume
        notes=(*notes, note),
    )


def describe_correction(result: Result) -> str:
    """Return a part of a headline: that and by how much the mask was corrected; "" if it was not."""
    if not result.is_corrected:
        return ""
    changes = {"+": result.metrics["hand_added"], "−": result.metrics["hand_removed"]}
    told = ", ".join(f"{sign}{_format_ml(change)}" for sign, change in changes.items() if change.value)
    return f", corrected by hand ({told or 'no change'})"


def _format_ml(metric: Metric) -> str:
    ml = metric.value or 0
    return f"{ml:.1f} ml" if ml >= 1 else f"{ml:.2g} ml"
